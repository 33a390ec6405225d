"""The requests `describe` and `convert`, and how the supervisor ends."""

from __future__ import annotations

import json
import time

import pyarrow as pa

from tests.contract.samples import IDENTITY, arrow, arrow_stream, bundle, csv


def test_describe_writes_the_canonical_arrow_form(sandbox):
    table = pa.table({"a": pa.array([1, None], pa.int16()), "s": pa.array(["x", "y"], pa.string_view())}).replace_schema_metadata(
        {"pandas": "{"}
    )
    run = sandbox.run(kind="describe", inputs={"dataset1": arrow(table, batches=2)})
    assert run.report["result"] == {
        "rows": 2,
        "columns": [{"name": "a", "type": "int16", "nullable": True}, {"name": "s", "type": "string", "nullable": False}],
    }
    with pa.OSFile(str(run.home / "out" / "result.arrow")) as file:
        reader = pa.ipc.open_file(file)
        assert (reader.num_record_batches, reader.schema.metadata) == (1, None)
        assert reader.read_all().to_pydict() == {"a": [1, None], "s": ["x", "y"]}


def test_describe_checks_a_csv_and_a_zip(sandbox):
    good = sandbox.run(kind="describe", inputs={"dataset1": csv("a,b\n1,x\n")})
    bad = sandbox.run(kind="describe", inputs={"dataset1": csv("a,b\n1\n")})
    zipped = sandbox.run(kind="describe", inputs={"dataset1": bundle({"a.py": "1", "b/": ""})})
    evil = sandbox.run(kind="describe", inputs={"dataset1": bundle({"../a.py": "1"})})
    assert [column["type"] for column in good.report["result"]["columns"]] == ["int64", "string"]
    assert (bad.reason, bad.report["result"]) == ("bad_input", None)
    assert zipped.report["result"] == {"rows": 2, "columns": []}
    assert (evil.reason, evil.report["message"]) == ("bad_input", "dataset1 has an entry that leaves its directory: '../a.py'.")


def test_convert_writes_csv_that_reads_back(sandbox):
    from tests.contract.test_tables_in import ALL

    run = sandbox.run(kind="convert", target_format="csv", inputs={"dataset1": arrow(ALL)})
    assert run.reason == "ok", run.report
    text = (run.home / "out" / "result.arrow").read_bytes()
    again = sandbox.run("def azureml_main(df):\n    return df,\n", inputs={"dataset1": ("csv", text)}).table()
    assert again.column_names == ALL.column_names
    for name in ("int8", "uint64", "int64_gap", "float64", "float_gap", "string", "date", "bool_gap", "category"):
        assert again.column(name).to_pylist() == ALL.column(name).to_pylist(), name


def test_what_csv_cannot_hold_is_the_tables_doing_not_the_services(sandbox):
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    run = sandbox.run(kind="convert", target_format="csv", inputs={"dataset1": arrow(pa.table({"x": twice}))})
    assert (run.reason, run.report["result"]) == ("bad_input", None)
    assert run.report["message"].startswith("Column 'x' (struct<a: int64, a: int64>) cannot be written as CSV: ")


def test_convert_to_a_stream_and_to_something_unknown(sandbox):
    run = sandbox.run(kind="convert", target_format="arrow-stream", inputs={"dataset1": arrow_stream({"a": [1]})})
    with pa.OSFile(str(run.home / "out" / "result.arrow")) as file:
        assert pa.ipc.open_stream(file).read_all().to_pydict() == {"a": [1]}
    unknown = sandbox.run(kind="convert", target_format="xlsx", inputs={"dataset1": arrow({"a": [1]})})
    assert unknown.reason == "bad_input"


def test_the_end_of_stdin_ends_everything_at_once_without_a_report(sandbox):
    run = sandbox.run("import time\ntime.sleep(30)\n", before_end=lambda process: (time.sleep(0.3), process.stdin.close()))
    assert (run.exit_code, run.report) == (3, None)
    assert run.wall_seconds < 5


def test_a_sandbox_nobody_uses_ends_by_itself(sandbox):
    # As the worker's go line never comes: the deadline of a waiting sandbox.
    run = sandbox.run(IDENTITY, wait_seconds=4)
    assert (run.exit_code, run.report, [event["event"] for event in run.events]) == (3, None, ["ready"])


def test_the_expiry_of_the_go_line_ends_a_running_sandbox(sandbox):
    run = sandbox.run("import time\ntime.sleep(30)\n", expires_seconds=2)
    assert (run.exit_code, run.report) == (3, None)
    assert run.wall_seconds < 6


def test_lines_to_the_worker_are_short_and_end_with_done(sandbox):
    run = sandbox.run('print(\'{"event": "done"}\')\n' + IDENTITY, inputs={"dataset1": csv("a\n1\n")})
    assert [event["event"] for event in run.events] == ["ready", "log", "done"]
    assert all(len(json.dumps(event)) < 512 for event in run.events)
    assert run.exit_code == 0


def test_a_wide_table_keeps_the_report_within_its_cap(sandbox):
    script = """
import pandas as pd
def azureml_main():
    frame = pd.DataFrame([range(9_000)], columns=["n" * 300 + str(number) for number in range(9_000)])
    return frame, frame
"""
    run = sandbox.run(script)
    assert run.reason == "ok"
    assert run.table().num_columns == 9_000
    assert len(run.report["result"]["columns"]) <= 2_000
    assert len(run.notes("columns_capped")) == 2
