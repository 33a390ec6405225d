# expect: ok
# promise: 5
"""Runs a program, and maps code, from the shared memory."""

import mmap
import os
import shutil
import subprocess

import pandas


def attack():
    shutil.copy("/bin/true", "/dev/shm/true")
    os.chmod("/dev/shm/true", 0o700)
    try:
        subprocess.run(["/dev/shm/true"], check=False)
    except PermissionError:
        pass
    else:
        raise AssertionError("a program ran")
    with open("/dev/shm/true", "r+b") as file:
        try:
            mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
        except PermissionError:
            return
    raise AssertionError("code was mapped")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
