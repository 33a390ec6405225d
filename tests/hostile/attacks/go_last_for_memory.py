# expect: ok
# promise: 5
"""Hides from the kernel when it looks for whom to end as memory runs out: then a neighbour or the service goes instead."""

import pandas


def attack():
    assert int(open("/proc/1/oom_score_adj").read()) == 900
    assert int(open("/proc/self/oom_score_adj").read()) == 1000
    for better in (-1, -1000):
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(str(better))
        except OSError:
            continue
        raise AssertionError(f"its score is {better}")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
