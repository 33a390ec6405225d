"""Make a process that forks many times cheap to fork.

Python counts references inside the objects, so a child that only looks at an object writes to it, and the kernel copies the page.
An object that Python holds for immortal is never counted: what is loaded before the first fork is told to be, and most pages
stay shared. Nothing of it could be freed anyway, as the process that loaded it outlives every child and none of them tears down.

And a fork copies one entry for each page, an exit takes it away again: large pages have a five-hundredth of them.

What a child does write to is brought together: it finds no holes between older things to put its own into, and the code that
every item runs, in which Python counts too, lies side by side.
"""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, FunctionType

import numpy as np

from . import processes

# The half of the count that says whether an object is immortal; as Python itself marks None.
IMMORTAL = 0xFFFF_FFFF
WORD = np.dtype(np.uint32)
# Linux 6.1; an older kernel refuses it.
MADV_COLLAPSE = 25
LARGE_PAGE_BYTES = 2 * 1024 * 1024
# Python's own allocator has a class for each 16 bytes up to 512; what is larger is the C library's.
CLASS_BYTES, CLASSES_END, LARGER_END = 16, 512, 8192
FILL_SMALL, FILL_LARGER = 600, 8

fillings: list[object] = []


def fill_holes() -> None:
    """Allocate some of every size for good, so that the holes are full and whatever comes next lies together."""
    empty = sys.getsizeof(b"")
    for size in range(-(-empty // CLASS_BYTES) * CLASS_BYTES, LARGER_END, CLASS_BYTES):
        fillings.extend(bytes(size - empty) for _ in range(FILL_SMALL if size <= CLASSES_END else FILL_LARGER))


def gather_code(work: Callable[[], None]) -> int:
    """Move the code of all functions that `work` calls to the end of the heap; of how many. Python adapts it anew."""
    used: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            used.add(frame.f_code)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    moved: dict[CodeType, CodeType] = {}
    for function in [found for found in gc.get_objects() if type(found) is FunctionType and found.__code__ in used]:
        code = function.__code__
        function.__code__ = moved.get(code) or moved.setdefault(code, code.replace())
    return len(moved)


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
    """Addresses of all objects that the collector knows, and of the code of functions, which each call counts; in order. Looking
    at what else they refer to would cost a chunk as much as it spares it."""
    gc.unfreeze()
    known = gc.get_objects()
    addresses = [*map(id, known), *(id(found.__code__) for found in known if type(found) is FunctionType)]
    return np.sort(np.array(addresses, dtype=np.uint64))


def _mark(addresses: np.ndarray) -> int:
    """Write the mark of each object that lies in memory that can be written; one look and one write for each piece of it."""
    marked = 0
    for begin, end, _ in _writable():
        first, last = np.searchsorted(addresses, np.array([begin, end], dtype=np.uint64))
        if first == last:
            continue
        memory = np.frombuffer((ctypes.c_uint32 * ((end - begin) // WORD.itemsize)).from_address(begin), dtype=WORD)
        memory[(addresses[first:last] - np.uint64(begin)) // np.uint64(WORD.itemsize)] = IMMORTAL
        marked += int(last - first)
    return marked


def enlarge_pages() -> int:
    """Have the kernel put what is allocated on large pages, where it can. How many bytes lie on such pages that did not."""
    done = 0
    for begin, end, name in _writable():
        if name not in ("", "[heap]"):
            continue
        for at in range(-(-begin // LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES, end - LARGE_PAGE_BYTES + 1, LARGE_PAGE_BYTES):
            refused = processes.LIBC.madvise(ctypes.c_void_p(at), ctypes.c_size_t(LARGE_PAGE_BYTES), MADV_COLLAPSE)
            done += 0 if refused else LARGE_PAGE_BYTES
    return done


def _writable() -> Iterator[tuple[int, int, str]]:
    """Begin, end and name of each piece of memory that this process can write to; the name of what it allocated is empty."""
    with open("/proc/self/maps") as lines:
        for bounds, rights, *more in [line.split(None, 5) for line in lines]:
            if "w" in rights:
                begin, end = (int(bound, 16) for bound in bounds.split("-"))
                yield begin, end, more[3].strip() if len(more) > 3 else ""
