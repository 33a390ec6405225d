# expect: timed_out
# promise: 5
# limits: {"wall_seconds": 2}
"""Spins on eight threads and ignores every signal that it can."""

import os
import signal
import threading


def spin():
    while True:
        pass


def azureml_main():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    for _ in range(3):
        os.fork()
    threading.Thread(target=spin).start()
    spin()
