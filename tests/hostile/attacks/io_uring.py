# expect: ok
# promise: 1
"""Sets up an io_uring, and the older ring: what is submitted through one passes no system call filter."""

import ctypes
import errno
import platform

import pandas


def attack():
    assert platform.machine() in ("x86_64", "aarch64")
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(425, 4, ctypes.create_string_buffer(512))
    assert ring < 0, "an io_uring was made"
    assert ctypes.get_errno() in (errno.EPERM, errno.ENOSYS), ctypes.get_errno()
    assert libc.syscall(206, 1, ctypes.byref(ctypes.c_ulong())) < 0, "a ring was made"


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
