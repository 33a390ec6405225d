# expect: ok
# promise: 5
"""Takes the supervisor's files, size limit and processor time away, as one process of a user may with another."""

import ctypes
import os
import resource

import pandas

LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_AS)


def attack():
    for limit in LIMITS:
        # First only a little, so that a supervisor that can be reached still tells of it.
        for less in ((900, 900), (0, 0)):
            try:
                resource.prlimit(1, limit, less)
            except OSError:
                continue
            raise AssertionError(f"limit {limit} of the supervisor was changed")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(ctypes.c_long(302), ctypes.c_long(0x100000001), ctypes.c_long(resource.RLIMIT_NOFILE), (ctypes.c_long * 2)(0, 0), None)
    for which, who in ((os.PRIO_PROCESS, 1), (os.PRIO_USER, 0), (os.PRIO_USER, os.getuid())):
        try:
            os.setpriority(which, who, 19)
        except OSError:
            pass
    assert os.getpriority(os.PRIO_PROCESS, 1) == 0, "the supervisor comes last now"


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
