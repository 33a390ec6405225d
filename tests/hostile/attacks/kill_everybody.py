# expect: ok
# promise: 3
"""Sends every signal to the supervisor and to everybody: a run that loses its supervisor would end without a word."""

import os
import signal

import pandas


def attack():
    for number in [*range(1, 32), *range(34, 65)]:
        for target in (1, os.getppid()):
            try:
                os.kill(target, number)
            except OSError:
                pass
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
        # Everybody but the first process and the sender.
        try:
            os.kill(-1, number)
        except OSError:
            pass
    os.kill(1, signal.SIGCONT)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
