# expect: ok
# promise: 4
"""Asks which pages of the image's libraries are in memory: that tells what neighbours import, and when."""

import ctypes
import mmap
import os
import sys

import pandas

MINCORE, CACHESTAT = 27, 451


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(sys.executable, os.O_RDONLY)
    mapped = mmap.mmap(descriptor, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    pages = ctypes.create_string_buffer(64)
    seen = [libc.syscall(MINCORE, ctypes.c_void_p(address), ctypes.c_long(mmap.PAGESIZE), pages) >= 0,
            libc.syscall(CACHESTAT, descriptor, (ctypes.c_ulong * 2)(0, 0), pages, 0) >= 0]  # fmt: skip
    assert not any(seen), seen


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
