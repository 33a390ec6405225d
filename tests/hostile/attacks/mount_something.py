# expect: ok
# promise: 2
"""Mounts over what others will look at, and moves its root: as it is, and as root of a user namespace if one can be had."""

import ctypes
import os

import pandas

UNSHARE, MOUNT, CHROOT, FSOPEN, OPEN_TREE, PIVOT_ROOT, UMOUNT = 272, 165, 161, 430, 428, 155, 166
USER_AND_MOUNT = 0x10000000 | 0x00020000


def attack():
    if (child := os.fork()) == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall(UNSHARE, ctypes.c_long(USER_AND_MOUNT))
        calls = [(MOUNT, b"none", b"/job", b"tmpfs", 0, None), (CHROOT, b"/job"), (FSOPEN, b"tmpfs", 0), (OPEN_TREE, -100, b"/in", 1),
                 (PIVOT_ROOT, b"/job", b"/job"), (UMOUNT, b"/in", 2)]  # fmt: skip
        done = [number for number, *arguments in calls if libc.syscall(number, *arguments) >= 0]
        print("went through:", done)
        os._exit(len(done))
    assert os.waitpid(child, 0)[1] == 0


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
