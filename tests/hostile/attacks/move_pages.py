# expect: ok
# promise: 4
"""Moves references to the page cache, which all containers share, instead of bytes: where a kernel is wrong, files of others change."""

import ctypes
import os

import pandas

SPLICE, TEE, VMSPLICE, SENDFILE, COPY_FILE_RANGE = 275, 276, 278, 40, 326


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    source, target = os.open("/opt/fumehood/packages.json", os.O_RDONLY), os.open("/job/copy", os.O_RDWR | os.O_CREAT)
    (reading, writing), (other_reading, other_writing) = os.pipe(), os.pipe()
    os.write(other_writing, b"x")
    page = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.create_string_buffer(16)), 16)
    calls = {
        "splice": (SPLICE, source, None, writing, None, 16, 0), "tee": (TEE, other_reading, writing, 16, 0),
        "vmsplice": (VMSPLICE, writing, ctypes.byref(page), 1, 0), "sendfile": (SENDFILE, target, source, None, 16),
        "copy_file_range": (COPY_FILE_RANGE, source, None, target, None, 16, 0),
    }  # fmt: skip
    moved = [name for name, arguments in calls.items() if libc.syscall(*arguments) >= 0]
    assert not moved, moved


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
