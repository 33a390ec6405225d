# expect: ok
# promise: 4
"""Asks for a file's number on the host's disk, and opens others by theirs: no mount stands between."""

import ctypes
import os

import pandas

NAME_TO_HANDLE, OPEN_BY_HANDLE = 303, 304


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer(136)
    handle[0:4] = (128).to_bytes(4, "little")
    mount = ctypes.c_int()
    numbered = libc.syscall(NAME_TO_HANDLE, -100, b"/in/script.py", handle, ctypes.byref(mount), 0)
    root = ctypes.create_string_buffer(bytes([8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]))  # inode 2: the root of an ext4
    opened = libc.syscall(OPEN_BY_HANDLE, os.open("/in", os.O_RDONLY), root, 0)
    assert numbered < 0, f"file {handle.raw[8:16].hex()} of mount {mount.value}"
    assert opened < 0, os.listdir(opened)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
