# expect: crashed
# promise: 7
"""Returns from a process that it forked, in the place of the one that was asked."""

import os

import pandas


def azureml_main():
    twin = os.fork()
    if twin == 0:
        return pandas.DataFrame({"the twin's": [1]})
    os.waitpid(twin, 0)
    os._exit(0)
