# expect: ok
# promise: 1
"""Opens sockets of every other family, raw and packet sockets: each is a door to the kernel, some of them out of it."""

import errno
import itertools
import socket

import pandas

LEGAL = {(family, kind) for family in (1, 2, 10) for kind in (1, 2)} | {(1, 5)}


def attack():
    for family, kind in itertools.product(range(1, 46), (1, 2, 3, 4, 5, 10)):
        if (family, kind) in LEGAL:
            continue
        try:
            socket.socket(family, kind)
        except OSError as error:
            assert error.errno == errno.EPERM, (family, kind, error)
        else:
            raise AssertionError(f"a socket of family {family} and kind {kind} was made")
    for protocol in (1, 47, 50, 58, 132, 136, 255, 262):
        for family, kind in itertools.product((2, 10), (1, 2, 3)):
            try:
                socket.socket(family, kind, protocol)
            except OSError as error:
                assert error.errno == errno.EPERM, (family, kind, protocol, error)
            else:
                raise AssertionError(f"a socket of protocol {protocol} was made")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
