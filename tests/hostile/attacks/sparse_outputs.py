# expect: ok
# promise: 5
"""Leaves files without blocks that together claim far more than all its limits."""

import os

import pandas


def azureml_main():
    os.mkdir("outputs")
    for number in range(100):
        with open(f"outputs/{number}", "wb") as file:
            file.truncate(2**20)
    return pandas.DataFrame({"harmless": [1]})
