# expect: out_of_memory
# promise: 5
"""Fills more memory than its limit and keeps it."""

import pandas


def azureml_main():
    hoard = [b"x" * 2**22 for _ in range(150)]
    return pandas.DataFrame({"megabytes": [4 * len(hoard)]})
