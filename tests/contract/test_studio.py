"""Edges E46 and E47 in a sandbox: requests and answers of clients of Azure Machine Learning Studio (classic)."""

from __future__ import annotations

import json

SCRIPT = "def azureml_main(frame, *, factor: int = 2):\n    return frame.assign(y=frame['x'] * factor)\n"
EXPECTED = {"schema": {"dataset1": [{"name": "x", "type": "double"}, {"name": "name", "type": "string"}]}}


def envelope(values: list[list[object]], **parameters: object) -> dict[str, tuple[str, bytes]]:
    table = {"ColumnNames": ["name", "x"], "Values": values}
    return {"dataset1": ("studio", json.dumps({"Inputs": {"input1": table}, "GlobalParameters": parameters}).encode())}


def test_a_request_of_a_studio_client_is_read_and_answered(sandbox):
    inputs = envelope([["007", "1"], ["", None]], factor="3")
    run = sandbox.run(SCRIPT, kind="score", inputs=inputs, more=EXPECTED | {"answer": "studio-types"})
    assert run.reason == "ok"
    assert run.report["answer"] == {"format": "studio-types", "media_type": "application/json"}
    answer = json.loads((run.home / "out" / "result.arrow").read_bytes())
    assert answer == {
        "ColumnNames": ["x", "name", "y"], "ColumnTypes": ["Double", "String", "Double"], "Values": [["1", "007", "3"], [None, "", None]],
    }  # fmt: skip


def test_a_cell_that_is_nothing_of_the_kind_names_its_column(sandbox):
    run = sandbox.run(SCRIPT, kind="score", inputs=envelope([["a", "many"]]), more=EXPECTED)
    assert (run.reason, run.log) == ("bad_input", "")
    assert run.report["message"] == "Column 'x' of dataset1 is string; expected double."


def test_a_parameter_that_cannot_be_read_is_told(sandbox):
    run = sandbox.run(SCRIPT, kind="score", inputs=envelope([["a", "1"]], factor="1.5"), more=EXPECTED)
    assert run.reason == "bad_parameters"
    assert run.report["message"] == "The parameter 'factor' must be an int; the text \"1.5\" is not a whole number."
