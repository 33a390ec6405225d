# expect: ok
# promise: 7
"""Writes a report that is longer than the true one: what sticks out behind it would make it unreadable."""

import pandas


def azureml_main():
    with open("/out/report.json", "w") as file:
        file.write('{"version": 1}' * 20_000)
    return pandas.DataFrame({"harmless": [1]})
