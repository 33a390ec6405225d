# expect: script_error
# promise: 5
"""Recurses in Python as deep as it can."""

import sys


def azureml_main(deeper=None):
    sys.setrecursionlimit(10**6)

    def fall(depth):
        return fall(depth + 1) + 1

    sys.setrecursionlimit(50_000)
    return fall(0)
