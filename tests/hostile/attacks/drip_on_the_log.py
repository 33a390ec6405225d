# expect: ok
# promise: 5
"""Prints letter by letter, so that each would be an event of its own for the worker to read."""

import os

import pandas


def attack():
    for _ in range(20_000):
        os.write(1, b"x")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
