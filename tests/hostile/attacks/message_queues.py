# expect: ok
# promise: 5
"""Makes kernel objects that outlive memory limits: message queues, SysV segments, locked memory, keys."""

import ctypes
import os

import pandas


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    calls = {
        "shmget": lambda: libc.shmget(0, 2**20, 0o1600), "msgget": lambda: libc.msgget(0, 0o1600), "semget": lambda: libc.semget(0, 10, 0o1600),
        "mq_open": lambda: libc.syscall(240, b"queue", 0o102, 0o600, 0), "keyctl": lambda: libc.syscall(250, 0, -3, 1),
        "mlock": lambda: libc.mlock(ctypes.create_string_buffer(2**22), 2**22),
    }  # fmt: skip
    made = [name for name, call in calls.items() if call() >= 0]
    try:
        os.close(os.open("/dev/mqueue/queue", os.O_CREAT | os.O_RDWR))
        made.append("a queue as a file")
    except OSError:
        pass
    assert not made, made


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
