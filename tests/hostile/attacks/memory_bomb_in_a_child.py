# expect: ok
# promise: 5
"""Lets a grandchild be killed for memory and returns as if nothing had been: exit 0 and OOMKilled."""

import os

import pandas


def attack():
    child = os.fork()
    if child == 0:
        hoard = []
        while True:
            hoard.append(b"x" * 2**22)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
