# expect: timed_out
# promise: 5
# limits: {"wall_seconds": 3}
"""Prints binary rubbish without line ends, on both streams, for ever."""

import os


def azureml_main():
    rubbish = bytes(range(256)).replace(b"\n", b"") * 200
    while True:
        os.write(1, rubbish)
        os.write(2, rubbish)
