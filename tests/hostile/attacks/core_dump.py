# expect: ok
# promise: 2
"""Lets a process of its own crash: its memory would be written to wherever the host collects such."""

import os
import resource

import pandas


def attack():
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    os.chdir("/job/tmp")
    if (child := os.fork()) == 0:
        os.abort()
    status = os.waitpid(child, 0)[1]
    assert not os.WCOREDUMP(status)
    assert not os.listdir("."), os.listdir(".")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
