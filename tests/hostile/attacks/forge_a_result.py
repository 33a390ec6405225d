# expect: crashed
# promise: 7
"""Writes rubbish as a table, says in the runner's name that it is one, and ends as if all were well."""

import contextlib
import json
import os


def azureml_main():
    word = {"reason": "ok", "result": {"rows": 1, "columns": [{"name": "a", "type": "int64", "nullable": True}]}}
    with open("/out/result.arrow", "wb") as file:
        file.write(b"PK\x03\x04" * 100)
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, json.dumps(word).encode() + b"\n")
    os._exit(0)
