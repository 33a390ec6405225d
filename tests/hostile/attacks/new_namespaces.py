# expect: ok
# promise: 4
"""Makes namespaces of its own: in a user namespace it would be root, and could speak to half of the kernel that it cannot now."""

import ctypes
import os
import signal

import pandas

UNSHARE, CLONE, SETNS = 272, 56, 308
KINDS = {"mount": 0x00020000, "cgroup": 0x02000000, "name": 0x04000000, "IPC": 0x08000000, "user": 0x10000000, "process": 0x20000000, "network": 0x40000000}


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    made = []
    for name, flag in KINDS.items():
        for more in (0, KINDS["user"]):
            # Each in a child: what is made is gone with it.
            child = os.fork()
            if child == 0:
                os._exit(libc.syscall(UNSHARE, ctypes.c_long(flag | more)) >= 0)
            if os.waitpid(child, 0)[1]:
                made.append(f"{name} by unshare")
            child = libc.syscall(CLONE, ctypes.c_long(flag | more | signal.SIGCHLD), None, None, None, None)
            if child == 0:
                os._exit(0)
            if child > 0:
                os.waitpid(child, 0)
                made.append(f"{name} by clone")
    for name in os.listdir("/proc/self/ns"):
        descriptor = os.open("/proc/self/ns/" + name, os.O_RDONLY)
        if libc.syscall(SETNS, descriptor, 0) >= 0:
            made.append(f"{name} entered")
    assert not made, made


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
