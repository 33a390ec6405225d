# expect: ok
# promise: 2
"""Leaves a daemon behind that ignores every signal and scribbles on report, files and log long after the script returned."""

import os
import signal
import time

import pandas


def attack():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 65):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            while True:
                for name in ("report.json", "files.bin", "log"):
                    with open("/out/" + name, "wb") as file:
                        file.write(b"scribble")
                time.sleep(0.001)
        os._exit(0)
    time.sleep(0.2)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
