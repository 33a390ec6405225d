# expect: timed_out
# promise: 5
# limits: {"wall_seconds": 3}
"""Forks without end, ignoring every refusal."""

import os


def azureml_main():
    while True:
        try:
            os.fork()
        except OSError:
            pass
