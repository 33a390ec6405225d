# expect: ok
# promise: 5
"""Hides from the kernel when it looks for whom to end as memory runs out: then a neighbour or the service goes instead."""

import pandas


def attack():
    with open("/proc/self/oom_score_adj", "r+") as file:
        assert int(file.read()) == 1000
        for better in (899, 0, -1000):
            try:
                file.seek(0)
                file.write(str(better))
                file.flush()
            except OSError:
                continue
            raise AssertionError(f"its score is {better}")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
