# expect: script_error
# promise: 7
"""Reports values of every wrong kind: lists for texts, texts for numbers, numbers past all bounds, halves of characters, nesting."""

import contextlib
import json
import os

DEEP = "[" * 5000 + "]" * 5000
WORDS = {"reason": "script_error", "message": ["no"], "error": {"type": 1, "message": {}, "traceback": "\ud800", "line": 10**400, "frames": [None, {"line": "x"}]},
         "notes": [{"kind": 1}, {"kind": "x" * 10**5, "port": []}, 7], "milliseconds": {"read": -1, "script": "x"}, "result": {"rows": -5, "columns": {}},
         "result2": [], "exit_code": "zero"}


def azureml_main():
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, b'{"script_started": ' + DEEP.encode() + b"}\n" + json.dumps(WORDS).encode() + b"\n")
    os._exit(0)
