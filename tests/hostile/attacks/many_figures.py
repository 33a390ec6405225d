# expect: ok
# promise: 5
"""Leaves more figures and files than are kept, with names as long as can be, files deep down, and a path that is too long."""

import os

import pandas

PNG = b"\x89PNG\r\n\x1a\n"


def attack():
    for number in range(60):
        with open(f"{number}.png", "wb") as file:
            file.write(PNG)
    os.makedirs("outputs/" + "d/" * 60)
    open("outputs/" + "d/" * 60 + "deep", "w").close()
    long = "outputs/" + ("l" * 200 + "/") * 3
    os.makedirs(long)
    open(long + "long", "w").close()
    os.mkdir("outputs/z")
    for number in range(1500):
        with open(f"outputs/z/{number:04}" + "n" * 230, "wb") as file:
            file.write(b"x")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
