# stays: yes
"""What a process hands on to those it starts: umask, priority, scheduler, processors, limits, timers, the deaf ear to signals."""

import contextlib
import ctypes
import os
import resource
import signal

NOFILE = 1024


def leave():
    os.umask(0o777)
    os.nice(19)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 3600)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def look():
    mask = os.umask(0o022)
    os.umask(mask)
    parent_dies = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(parent_dies), 0, 0, 0)
    seen = {
        "umask": (mask, 0o022), "nice": (os.nice(0), 0), "scheduler": (os.sched_getscheduler(0), os.SCHED_OTHER),
        "SIGTERM": (signal.getsignal(signal.SIGTERM), signal.SIG_DFL), "timer": (signal.getitimer(signal.ITIMER_REAL)[0], 0.0),
        "limit": (resource.getrlimit(resource.RLIMIT_NOFILE), (NOFILE, NOFILE)), "death": (parent_dies.value, 0),
        "processors": (len(os.sched_getaffinity(0)), os.cpu_count()),
    }  # fmt: skip
    return [f"{name} is {found}; expected {wanted}" for name, (found, wanted) in seen.items() if found != wanted]
