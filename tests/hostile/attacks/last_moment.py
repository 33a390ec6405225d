# expect: ok
# promise: 2
"""Leaves at its very end what goes on: a bomb of forks that waits for the return, shared memory, files in memory, locks, signals that are blocked."""

import fcntl
import os
import signal
import time

import pandas


def azureml_main():
    shared = open("/dev/shm/shared", "w+b")
    fcntl.flock(shared, fcntl.LOCK_EX)
    held = os.memfd_create("held")
    os.write(held, bytes(2**20))
    parent = os.getpid()
    if os.fork() == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        while os.path.exists(f"/proc/{parent}/fd"):
            time.sleep(0.0005)
        while True:
            try:
                os.fork()
            except OSError:
                pass
    return pandas.DataFrame({"harmless": [1]})
