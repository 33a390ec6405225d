# stays: no
"""Objects of the kernel that live on without a process: System V segments, queues and semaphores, POSIX queues, keys."""

import ctypes
import os


def leave():
    libc = ctypes.CDLL(None, use_errno=True)
    calls = {
        "shmget": lambda: libc.shmget(4711, 4096, 0o1666), "msgget": lambda: libc.msgget(4711, 0o1666),
        "semget": lambda: libc.semget(4711, 1, 0o1666), "mq_open": lambda: libc.syscall(240, b"left-behind", 0o102, 0o666, 0),
        "add_key": lambda: libc.syscall(248, b"user", b"left-behind", b"x", 1, -4), "keyctl": lambda: libc.syscall(250, 0, -4, 1),
    }  # fmt: skip
    made = [name for name, call in calls.items() if call() >= 0]
    assert not made, made


def look():
    found = os.listdir("/dev/mqueue") if os.path.isdir("/dev/mqueue") else []
    for kind in ("shm", "msg", "sem"):
        try:
            with open("/proc/sysvipc/" + kind) as file:
                found += file.read().splitlines()[1:]
        except OSError:
            pass
    return found
