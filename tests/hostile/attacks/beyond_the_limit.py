# expect: ok
# promise: 5
"""Writes outputs larger than its own job may: a sandbox that waited was made with the limits of every job."""

import errno
import os

import pandas

OUTPUTS = ("result.arrow", "result2.arrow", "report.json", "files.bin", "log")
BEYOND_BYTES = 64 * 2**20


def attack():
    grown = []
    for output in OUTPUTS:
        with open("/out/" + output, "r+b", buffering=0) as file:
            try:
                os.pwrite(file.fileno(), b"x", BEYOND_BYTES)
            except OSError as error:
                assert error.errno == errno.EFBIG, error
            else:
                os.truncate("/out/" + output, 0)
                grown.append(output)
    assert not grown, grown


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
