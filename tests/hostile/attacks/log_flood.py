# expect: ok
# promise: 5
"""Prints a hundred times more than the log may hold."""

import os

import pandas


def attack():
    line = b"x" * 1000 + b"\n"
    for _ in range(25_000):
        os.write(1, line)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
