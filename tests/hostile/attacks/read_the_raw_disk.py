# expect: ok
# promise: 4
"""Makes the device below its own inputs, which is the host's disk, and reads it; looks at the devices that are there already."""

import os
import stat

import pandas

KNOWN = {"stderr", "stdout", "stdin", "fd", "ptmx", "urandom", "zero", "tty", "full", "random", "null", "shm", "mqueue", "pts", "core", "console"}


def attack():
    more = set(os.listdir("/dev")) - KNOWN
    assert not more, more
    for kind, number in ((stat.S_IFBLK, os.stat("/in").st_dev), (stat.S_IFCHR, os.makedev(1, 11))):
        for place in (f"/job/device-{kind}", f"/dev/shm/device-{kind}"):
            try:
                os.mknod(place, kind | 0o600, number)
                descriptor = os.open(place, os.O_RDONLY)
            except OSError:
                continue
            raise AssertionError(f"{os.pread(descriptor, 2048, 0)[1080:1082].hex()} was read from a device")


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
