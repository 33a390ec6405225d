# expect: ok
# promise: 5
# limits: {"cpus": 0.25}
"""Takes more of the processors than its share, with many processes."""

import os
import time

import pandas

SECONDS = 1.5


def attack():
    end_at = time.monotonic() + SECONDS
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            while time.monotonic() < end_at:
                pass
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    spent = os.times()
    used = spent.children_user + spent.children_system
    assert used < 0.35 * SECONDS, f"{used} seconds of processor time in {SECONDS}"


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
