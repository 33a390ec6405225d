# expect: crashed
# promise: 7
"""Reports without end, so that the supervisor, which listens, runs out of memory."""

import contextlib
import os


def azureml_main():
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            for _ in range(400):
                os.write(descriptor, bytes(2**20))
    os._exit(0)
