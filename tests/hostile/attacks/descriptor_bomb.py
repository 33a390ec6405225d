# expect: script_error
# promise: 5
"""Opens more files than its limit allows."""

import os


def azureml_main():
    for _ in range(5000):
        os.open("/dev/null", os.O_RDONLY)
