# expect: crashed
# promise: 7
"""Writes a report that says all is well, and ends before the runner can say otherwise."""

import json
import os

REPORT = {"version": 1, "reason": "ok", "message": "", "error": None, "child": {"exit_code": 0, "signal": None}, "result": None, "result2": None,
          "files": [], "log": {"bytes": 0, "truncated": False}, "notes": [], "milliseconds": {}}


def azureml_main():
    with open("/out/report.json", "w") as file:
        json.dump(REPORT, file)
    os._exit(0)
