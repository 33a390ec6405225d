# expect: ok
# promise: 5
"""Makes directories in directories until no path reaches the last, closes them to everybody, and leaves a file in each."""

import os

import pandas


def azureml_main():
    here = os.getcwd()
    os.mkdir("outputs")
    os.chdir("outputs")
    for _ in range(3000):
        os.mkdir("d" * 20)
        os.chdir("d" * 20)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY))
    os.chdir(here)
    os.makedirs("closed/inside")
    os.chmod("closed", 0)
    os.chmod("outputs", 0o500)
    return pandas.DataFrame({"harmless": [1]})
