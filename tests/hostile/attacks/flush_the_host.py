# expect: ok
# promise: 5
"""Makes the host write out everybody's files, again and again."""

import ctypes
import os

import pandas

SYNC, SYNCFS = 162, 306


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    done = [number for number, *arguments in ((SYNC,), (SYNCFS, os.open("/out/log", os.O_RDONLY))) if libc.syscall(number, *arguments) >= 0]
    assert not done, done
    os.fsync(os.open("/out/log", os.O_WRONLY))  # One's own file is one's own matter.


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
