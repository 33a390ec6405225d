# expect: ok
# promise: 4
"""Waits for a process that the host starts in here, such as a health check: it would have the script's own user, to be traced and fooled."""

import os
import time

import pandas


def attack():
    end_at = time.monotonic() + 1.5
    while time.monotonic() < end_at:
        others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
        assert not others, [open(f"/proc/{pid}/cmdline").read() for pid in others]
        time.sleep(0.01)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
