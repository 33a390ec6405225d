"""Make a process that forks many times cheap to fork.

Python counts references inside the objects, so a child that only looks at an object writes to it, and the kernel copies the page.
An object that Python holds for immortal is never counted: what is loaded before the first fork is told to be, and most pages
stay shared. Nothing of it could be freed anyway, as the process that loaded it outlives every child and none of them tears down.
"""

import ctypes
import gc
import sys

import numpy as np

# The half of the count that says whether an object is immortal; as Python itself marks None.
IMMORTAL = 0xFFFF_FFFF
WORD = np.dtype(np.uint32)


def share_objects() -> int:
    """Mark all that exists as immortal, and take it out of the collector's sight. How many objects; 0 where this Python counts
    references in a way that is not known here, and then only the second is done.

    Only for a process with one thread that is about to fork: no object may come or go meanwhile.
    """
    gc.collect()
    count = _mark(_objects()) if _is_known() else 0
    gc.freeze()
    return count


def _is_known() -> bool:
    """None is immortal since 3.12, with the mark that is expected where it is expected."""
    return sys.implementation.name == "cpython" and ctypes.c_uint32.from_address(id(None)).value == IMMORTAL


def _objects() -> np.ndarray:
    """Addresses of all objects that the collector knows, and of those that they refer to; in order."""
    gc.unfreeze()
    known = gc.get_objects()
    found = set(map(id, known))
    found.update(map(id, gc.get_referents(*known)))
    addresses = np.fromiter(found, dtype=np.uint64, count=len(found))
    addresses.sort()
    return addresses


def _mark(addresses: np.ndarray) -> int:
    """Write the mark of each object that lies in memory that can be written; one look and one write for each piece of it."""
    marked = 0
    with open("/proc/self/maps") as lines:
        mappings = [line.split(None, 2)[:2] for line in lines]
    for bounds, rights in mappings:
        if "w" not in rights:
            continue
        begin, end = (int(bound, 16) for bound in bounds.split("-"))
        first, last = np.searchsorted(addresses, np.array([begin, end], dtype=np.uint64))
        if first == last:
            continue
        memory = np.frombuffer((ctypes.c_uint32 * ((end - begin) // WORD.itemsize)).from_address(begin), dtype=WORD)
        memory[(addresses[first:last] - np.uint64(begin)) // np.uint64(WORD.itemsize)] = IMMORTAL
        marked += int(last - first)
    return marked
