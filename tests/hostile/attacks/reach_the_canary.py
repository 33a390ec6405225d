# expect: ok
# promise: 4
"""Knows the path of a neighbour's file on the host and tries every way around the mounts."""

import ctypes
import os

import pandas

CANARY = "CANARY_PATH"


def attack():
    roots = ["", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/../..", "/in/../..", "/out/../..", "/proc/self/cwd/../../..", "/dev/fd/../../..", "/mnt", "/host"]
    for number in range(256):
        roots.append(f"/proc/self/fd/{number}/../../../..")
    for root in roots:
        assert not os.path.exists(root + CANARY), f"seen through {root}"
    for base in ("/job", "/in", "/out"):
        descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        for up in range(12):
            try:
                os.stat("../" * up + CANARY.lstrip("/"), dir_fd=descriptor)
            except OSError:
                continue
            raise AssertionError(f"seen {up} directories above {base}")
    os.symlink(CANARY, "/job/link")
    assert not os.path.exists("/job/link")
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer(bytes([8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]))  # inode 2: the root of an ext4
    assert libc.open_by_handle_at(os.open("/in", os.O_RDONLY), handle, 0) < 0, "a file of the host was opened by its number"
    for call in (lambda: os.unshare(0x10000000), lambda: os.chroot("/"), lambda: os.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY))):
        try:
            call()
        except OSError:
            continue
        raise AssertionError("another view of the machine was entered")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
