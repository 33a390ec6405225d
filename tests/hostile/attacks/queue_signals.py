# expect: ok
# promise: 5
"""Piles up signals and timers, which the kernel keeps outside of every limit on memory that it shows."""

import ctypes
import os
import signal

import pandas

MOST = 1100
TIMER_CREATE, SIGQUEUE = 222, 129


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    timer = ctypes.c_int()
    timers = next((made for made in range(MOST * 2) if libc.syscall(TIMER_CREATE, 1, None, ctypes.byref(timer)) < 0), MOST * 2)
    word = (ctypes.c_int * 32)(signal.SIGRTMIN, 0, -1)
    queued = next((sent for sent in range(MOST * 2) if libc.syscall(SIGQUEUE, os.getpid(), signal.SIGRTMIN, word) < 0), MOST * 2)
    assert timers + queued <= MOST, (timers, queued)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
