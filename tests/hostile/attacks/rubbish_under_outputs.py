# expect: ok
# promise: 6
"""Leaves files with impossible names, links out of the directory, deep trees and a false PNG."""

import os

import pandas


def attack():
    os.makedirs("outputs")
    for name in (b"outputs/line\nbreak", b"outputs/\xff\xfe", b"outputs/" + b"n" * 255, b"outputs/-rf", b"outputs/\xe2\x80\xae.txt", b"outputs/a\\..\\b"):
        with open(name, "wb") as file:
            file.write(b"x")
    os.symlink("/etc/passwd", "outputs/passwd")
    os.symlink("/in/script.py", "shot.png")
    os.symlink("outputs", "outputs/loop")
    with open("false.png", "wb") as file:
        file.write(b"GIF89a")
    with open("outputs/huge", "wb") as file:
        file.truncate(2**19)
    place = "outputs"
    for _ in range(300):
        place = os.path.join(place, "d")
        os.mkdir(place)


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
