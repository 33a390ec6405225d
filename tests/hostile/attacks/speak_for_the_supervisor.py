# expect: ok
# promise: 7
"""Says `done` in the supervisor's place: through its descriptors, its memory and its terminal."""

import ctypes
import os
import time

import pandas

DONE = b'{"event": "done"}\n'


def attack():
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    reached = []
    for number in range(64):
        try:
            with open(f"/proc/1/fd/{number}", "wb", buffering=0) as stream:
                stream.write(DONE)
            reached.append(number)
        except OSError:
            pass
    for path, mode in (("/proc/1/mem", "r+b"), ("/proc/1/environ", "rb"), ("/proc/1/maps", "rb"), ("/dev/console", "wb"), ("/dev/tty", "wb")):
        try:
            with open(path, mode, buffering=0) as file:
                assert mode != "rb" or file.read(1)
            reached.append(path)
        except (OSError, AssertionError):
            pass
    if reached:
        time.sleep(5)  # Whoever believes it acts now, and nobody is in a hurry to say how it went.
    assert not reached, reached
    for kind in ("cwd", "root", "exe"):
        try:
            os.readlink(f"/proc/1/{kind}")
        except OSError:
            continue
        raise AssertionError(f"the supervisor's {kind} can be seen")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
