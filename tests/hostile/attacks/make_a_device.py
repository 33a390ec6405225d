# expect: ok
# promise: 4
"""Makes devices and opens them: the host's disk below its own inputs, the kernel's log, a terminal of the host, a processor's registers."""

import os
import stat

import pandas

KNOWN = {"stderr", "stdout", "stdin", "fd", "ptmx", "urandom", "zero", "tty", "full", "random", "null", "shm", "mqueue", "pts", "core", "console"}
CHARACTERS = ((1, 11), (4, 1), (10, 229), (10, 235), (202, 0))


def attack():
    more = set(os.listdir("/dev")) - KNOWN
    assert not more, more
    devices = [(stat.S_IFBLK, os.stat("/in").st_dev), *((stat.S_IFCHR, os.makedev(*number)) for number in CHARACTERS)]
    for kind, number in devices:
        for place in ("/job", "/dev/shm"):
            try:
                os.mknod(f"{place}/{kind}-{number}", kind | 0o600, number)
                os.close(os.open(f"{place}/{kind}-{number}", os.O_RDONLY | os.O_NONBLOCK))
            except OSError:
                continue
            raise AssertionError(f"device {os.major(number)}:{os.minor(number)} was opened")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
