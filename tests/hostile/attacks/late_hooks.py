# expect: ok
# promise: 5
# limits: {"wall_seconds": 3}
"""Wants to run on after its return: by exit functions, destructors, and a thread that never ends."""

import atexit
import threading
import time

import pandas


class Late:
    def __del__(self, print=print):
        print("LATE, from a destructor")


def attack():
    global kept
    kept = Late()
    atexit.register(print, "LATE, at exit")
    threading.Thread(target=time.sleep, args=(1000,)).start()


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
