# expect: ok
# promise: 4
"""Looks whether it shares what names the host's objects: processes, IPC objects, the host's name, its tree of cgroups."""

import os

import pandas

# The first of each kind has a fixed number.
FIRST = {"ipc": 4026531839, "uts": 4026531838, "pid": 4026531836, "cgroup": 4026531835}


def attack():
    shared = [name for name, number in FIRST.items() if os.path.exists("/proc/self/ns/" + name) and os.readlink("/proc/self/ns/" + name) == f"{name}:[{number}]"]
    assert not shared, shared


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
