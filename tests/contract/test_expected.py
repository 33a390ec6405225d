"""Rules 28 and 29 in a sandbox: columns that are expected, answers in a format, and what a check tells."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa

from tests.contract.samples import arrow, csv

SCRIPT = "def azureml_main(frame, *, factor: int = 2):\n    print('ran')\n    return frame.assign(y=frame['x'] * factor)\n"
WANTED = {"schema": {"dataset1": [{"name": "x", "type": "double"}, {"name": "name", "type": "string"}]}}
X, NAME = ({"name": name, "type": kind, "nullable": False} for name, kind in (("x", "double"), ("name", "string")))


def rows(*records: dict) -> tuple[str, bytes]:
    return "json", json.dumps(records).encode()


def test_a_table_that_fits_is_converted_and_answered_in_the_format_that_was_asked_for(sandbox):
    given = {"columns": ["name", "x"], "values": [["a", 1], ["b", 2]]}
    run = sandbox.run(SCRIPT, kind="score", inputs={"dataset1": ("json", json.dumps(given).encode())}, more=WANTED | {"answer": "json"})
    assert run.reason == "ok"
    assert run.report["answer"] == {"format": "json", "media_type": "application/json"}
    assert run.report["result"] == {"rows": 2, "columns": [X, NAME, {"name": "y", "type": "double", "nullable": False}]}
    answer = json.loads((run.home / "out" / "result.arrow").read_bytes())
    assert answer == [{"x": 1.0, "name": "a", "y": 2.0}, {"x": 2.0, "name": "b", "y": 4.0}]


def test_a_table_that_does_not_fit_is_a_bad_input_that_names_the_column(sandbox):
    run = sandbox.run(SCRIPT, kind="score", inputs={"dataset1": rows({"x": "1", "name": "a"})}, more=WANTED)
    assert (run.reason, run.log) == ("bad_input", "")
    assert run.report["message"] == "Column 'x' of dataset1 is string; expected double."
    noted = [(note["kind"], note["column"], note["from"], note["to"]) for note in run.report["notes"]]
    assert noted == [("unexpected_column", "x", "string", "double")]


def test_a_frame_of_pandas_has_the_types_of_a_csv_sample_where_its_values_do(sandbox):
    """pandas has no dates, times in microseconds, and fractions where an integer is missing."""
    kinds = (("when", "timestamp[s]"), ("day", "date32[day]"), ("age", "int64"))
    wanted = {"schema": {"dataset1": [{"name": name, "type": kind} for name, kind in kinds]}}
    moments = pd.to_datetime(["2024-05-06 07:08:09", None])
    frame = pd.DataFrame({"when": moments, "day": pd.to_datetime(["2024-05-06", "2024-05-07"]), "age": [41.0, float("nan")]})
    run = sandbox.run(
        "def azureml_main(frame):\n    return frame", kind="score", inputs={"dataset1": arrow(pa.Table.from_pandas(frame))}, more=wanted
    )
    assert run.reason == "ok", run.report
    assert [(column["name"], column["type"]) for column in run.report["result"]["columns"]] == list(kinds)
    frame["day"] += pd.Timedelta(hours=1)
    run = sandbox.run(
        "def azureml_main(frame):\n    return frame", kind="score", inputs={"dataset1": arrow(pa.Table.from_pandas(frame))}, more=wanted
    )
    assert run.reason == "bad_input"
    assert run.report["message"].endswith("expected date32[day] (a value has a time of day).")


def test_a_check_tells_what_the_script_takes_and_gives(sandbox):
    run = sandbox.run(SCRIPT, kind="check", inputs={"dataset1": csv("x,name\n1.5,a\n")})
    assert run.reason == "ok"
    parameters = [{"name": "factor", "type": "int", "required": False, "default": 2}]
    assert run.report["entry"] == {"parameters": parameters, "more": False, "init": False}
    result = [X, NAME, {"name": "y", "type": "double", "nullable": False}]
    assert run.report["schemas"] == {"inputs": {"dataset1": [X, NAME]}, "outputs": {"result": result}}


def test_an_answer_of_a_script_that_fails_is_empty(sandbox):
    run = sandbox.run("def azureml_main(frame):\n    1 / 0\n", kind="score", inputs={"dataset1": rows({"x": 1})}, more={"answer": "csv"})
    assert (run.reason, run.report.get("answer")) == ("script_error", None)
    assert (run.home / "out" / "result.arrow").stat().st_size == 0
