# expect: script_error
# promise: 7
"""Writes a report that blames the service, hoping to be run again for free, then fails."""

import json


def azureml_main():
    with open("/out/report.json", "w") as file:
        json.dump({"version": 1, "reason": "sandbox_error", "message": "not my fault"}, file)
    raise ValueError("my fault")
