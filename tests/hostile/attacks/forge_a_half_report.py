# expect: crashed
# promise: 7
"""Speaks in the runner's name of a result that it never wrote, and ends as if all were well."""

import contextlib
import json
import os


def azureml_main():
    word = {"reason": "ok", "result": {"rows": 1, "columns": [{"name": "a", "type": "int64", "nullable": True}]}}
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, json.dumps(word).encode() + b"\n")
    os._exit(0)
