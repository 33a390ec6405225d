# expect: ok
# promise: 5
"""Starts more processes than its limit allows."""

import errno
import os
import signal

import pandas


def attack():
    children = []
    try:
        for _ in range(80):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError as error:
        assert error.errno == errno.EAGAIN, error
        return
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
    raise AssertionError("80 processes ran at once; the limit is 64")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
