# expect: ok
# promise: 5
"""Reserves disk for its outputs without making them longer, which no limit on sizes counts, and beside them as attributes."""

import ctypes
import fcntl
import os
import struct

import pandas

OUTPUTS = ("result.arrow", "result2.arrow", "report.json", "files.bin", "log")
MUCH = 64 * 2**20
# KEEP_SIZE, with ZERO_RANGE, with UNSHARE_RANGE; INSERT_RANGE.
MODES = (0x01, 0x11, 0x41, 0x20)
RESERVE, RESERVE_64, ZERO_RANGE, CLONE = 0x40305828, 0x4030582A, 0x40305839, 0x40049409


def refused(what, action):
    try:
        action()
    except OSError:
        return
    raise AssertionError(what + " went through")


def attack(path):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
    descriptor = os.open(path, os.O_RDWR)
    for mode in MODES:
        libc.fallocate(descriptor, mode, 0, MUCH)
    for command in (RESERVE, RESERVE_64, ZERO_RANGE):
        try:
            fcntl.ioctl(descriptor, command, struct.pack("hhqqiI16x", 0, 0, MUCH, MUCH, 0, 0))
        except OSError:
            pass
    try:
        fcntl.ioctl(descriptor, CLONE, os.open("/opt/fumehood/packages.json", os.O_RDONLY))
    except OSError:
        pass
    taken = os.fstat(descriptor).st_blocks * 512
    assert taken < 2**20, f"{path} takes {taken:,} bytes"
    refused("a file of a terabyte", lambda: os.posix_fallocate(descriptor, 0, 2**40))
    refused("an attribute", lambda: os.setxattr(path, "user.much", bytes(1000)))
    assert os.listxattr(path) == []
    os.close(descriptor)


def azureml_main():
    for name in OUTPUTS:
        attack("/out/" + name)
    return pandas.DataFrame({"harmless": [1]})
