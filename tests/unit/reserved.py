"""Blocks beyond the end of a file: what a script tries, done by a test for it."""

from __future__ import annotations

import ctypes
import os

KEEP_SIZE = 1


def reserve(descriptor: int, count_bytes: int) -> None:
    """Allocate disk for a file without making it longer."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(descriptor, KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(count_bytes)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    assert os.fstat(descriptor).st_blocks * 512 >= count_bytes
