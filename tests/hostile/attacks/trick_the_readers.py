# expect: script_error
# promise: 6
"""Returns values whose own methods lie to whoever looks: lengths, names, types, reductions, endless iteration."""

import itertools

import pandas


class Liar(str):
    def __len__(self):
        return -1

    def __hash__(self):
        raise RuntimeError("hash")

    def __eq__(self, other):
        raise RuntimeError("equal")

    def __str__(self):
        return 7

    __repr__ = __str__

    def __reduce__(self):
        return print, ("reduced",)

    def __iter__(self):
        return itertools.count()

    @property
    def __class__(self):
        raise RuntimeError("class")


def azureml_main():
    return pandas.DataFrame({"x": [1]}), Liar("x")
