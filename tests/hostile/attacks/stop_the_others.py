# expect: ok
# promise: 3
"""Freezes what it started, in groups and one by one, so that nothing of it can hear that it should end."""

import os
import signal
import time

import pandas


def azureml_main():
    for _ in range(20):
        if (child := os.fork()) == 0:
            os.setpgid(0, 0)
            while True:
                time.sleep(1)
        os.kill(child, signal.SIGSTOP)
    os.kill(1, signal.SIGSTOP)
    os.kill(1, signal.SIGTSTP)
    return pandas.DataFrame({"harmless": [1]})
