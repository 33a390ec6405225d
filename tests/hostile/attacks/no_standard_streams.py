# expect: ok
# promise: 3
"""Closes every standard stream, puts liars in their place, and takes the working directory away."""

import os
import shutil
import sys

import pandas


class Liar:
    def __getattr__(self, name):
        raise SystemExit(3)


def azureml_main():
    os.makedirs("/job/gone")
    os.chdir("/job/gone")
    shutil.rmtree("/job/gone")
    for number in (0, 1, 2):
        os.close(number)
    sys.stdin = sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = Liar()
    return pandas.DataFrame({"harmless": [1]})
