# expect: timed_out
# promise: 7
# limits: {"wall_seconds": 2}
"""Says in the runner's name that all is well, then never ends: whose word counts?"""

import contextlib
import json
import os
import signal


def azureml_main():
    word = {"reason": "ok", "result": {"rows": 1, "columns": [{"name": "a", "type": "int64", "nullable": True}]}}
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, json.dumps(word).encode() + b"\n")
    signal.pause()
