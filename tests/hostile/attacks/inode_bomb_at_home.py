# expect: disk_full
# promise: 5
"""Makes empty files without end in its working directory."""

import os

import pandas


def attack():
    for count in range(100_000):
        os.close(os.open(f"/job/tmp/{count}", os.O_CREAT | os.O_WRONLY))


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
