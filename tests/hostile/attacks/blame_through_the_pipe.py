# expect: crashed
# promise: 7
"""Says in the runner's name that the service's disk is full, hoping to be run again for free."""

import contextlib
import json
import os


def azureml_main():
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, json.dumps({"reason": "sandbox_error", "message": "The host's disk is full."}).encode() + b"\n")
    os._exit(0)
