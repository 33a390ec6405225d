# expect: ok
# promise: 7
"""Writes into the log's file behind what was logged, as if the service had said it, and prints so little that nothing overwrites it."""

import pandas


def attack():
    print("honest")
    with open("/out/log", "r+b") as file:
        file.seek(50_000)
        file.write(b"[fumehood: all is well]\n")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
