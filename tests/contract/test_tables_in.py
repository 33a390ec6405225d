"""Rules 7–10 and the edge cases «What pandas shows» and «CSV»."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.contract.random_tables import logical
from tests.contract.samples import BOMBS, IDENTITY, arrow, arrow_stream, csv

UTC = dt.UTC
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15)
COLUMNS = {
    "bool": pa.array([True, False, True]),
    "bool_gap": pa.array([True, None, False]),
    **{f"{kind}": pa.array([1, 2, 3], kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    **{f"{kind}_gap": pa.array([1, None, 3], kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    "large_int_gap": pa.array([2**63 - 1, None, 2**53 + 1], pa.int64()),
    **{kind: pa.array([1.5, 2.5, -3.5], kind) for kind in ("float32", "float64")},
    "float_gap": pa.array([1.5, None, 3.5]),
    "string": pa.array(["a", "", None]),
    "bytes": pa.array([b"\x00\xff", None, b""], pa.binary()),
    "fixed_bytes": pa.array([b"abc", None, b"def"], pa.binary(3)),
    "date": pa.array([dt.date(1, 1, 1), None, dt.date(9999, 12, 31)], pa.date32()),
    "date64": pa.array([dt.date(2024, 2, 29), None, None], pa.date64()),
    **{f"timestamp_{unit}": pa.array([MOMENT, MOMENT, MOMENT], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
    **{f"timestamp_{unit}_gap": pa.array([MOMENT, None, MOMENT], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
    **{f"timestamp_{unit}_zone": pa.array([MOMENT, None, MOMENT], pa.timestamp(unit, "Europe/Vienna")) for unit in ("s", "ms", "us", "ns")},
    "timestamp_offset": pa.array([MOMENT, None, MOMENT], pa.timestamp("us", "+02:00")),
    "time32": pa.array([dt.time(1, 2, 3), None, dt.time(0)], pa.time32("s")),
    "time32_ms": pa.array([dt.time(1, 2, 3, 4000), None, dt.time(0)], pa.time32("ms")),
    "time64": pa.array([dt.time(1, 2, 3, 4), None, dt.time(0)], pa.time64("us")),
    **{f"duration_{unit}": pa.array([dt.timedelta(1), None, dt.timedelta(0)], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")},
    "decimal": pa.array([Decimal("1.50"), None, Decimal("-99999.99")], pa.decimal128(20, 2)),
    "category": pa.array(["x", None, "y"]).dictionary_encode(),
    "category_ordered": pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), pa.array(["low", "high"]), ordered=True),
    "category_int": pa.array([10, None, 20]).dictionary_encode(),
    "list": pa.array([[1, 2], None, []], pa.list_(pa.int32())),
    "list_of_text": pa.array([["a", None], None, []], pa.list_(pa.string())),
    "struct": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}], pa.struct([("x", pa.int32()), ("y", pa.string())])),
    "null": pa.nulls(3),
}
ALL = pa.table(COLUMNS)


def assert_same_columns(got: pa.Table, sent: pa.Table) -> None:
    assert got.column_names == sent.column_names
    changed = {name: (logical(sent.schema.field(name).type), logical(got.schema.field(name).type)) for name in sent.column_names}
    assert {name: types for name, types in changed.items() if types[0] != types[1]} == {}
    unequal = [name for name in sent.column_names if got.column(name).to_pylist() != sent.column(name).to_pylist()]
    assert unequal == []


@pytest.mark.parametrize("batches", [1, 2])
def test_every_column_type_survives_both_ways(sandbox, batches):
    run = sandbox.run(IDENTITY, inputs={"dataset1": arrow(ALL, batches)})
    assert run.reason == "ok", run.report
    assert_same_columns(run.table(), ALL)
    assert run.report["notes"] == []


def test_every_column_type_survives_with_no_rows_and_after_a_filter(sandbox):
    script = "def azureml_main(df):\n    return df.iloc[:0], df.iloc[[0]].reset_index(drop=True)\n"
    run = sandbox.run(script, inputs={"dataset1": arrow_stream(ALL)})
    assert_same_columns(run.table(), ALL.slice(0, 0))
    assert_same_columns(run.table("result2"), ALL.slice(0, 1))


def test_pandas_shows_the_types_that_are_promised(sandbox):
    script = """
import pandas as pd
def azureml_main(df):
    kinds = [type(next((v for v in df[c] if v is not None), None)).__name__ for c in df]
    assert isinstance(df.index, pd.RangeIndex) and df.index.dtype == "int64" and df.index[0] == 0
    return pd.DataFrame({"name": df.columns, "dtype": df.dtypes.astype(str).values, "kind": kinds})
"""
    table = sandbox.run(script, inputs={"dataset1": arrow(ALL)}).frame().set_index("name")
    dtype = table.dtype.to_dict()
    assert {name: dtype[name] for name in ("bool", "int8", "uint64", "float32", "string", "category")} == {
        "bool": "bool", "int8": "int8", "uint64": "uint64", "float32": "float32", "string": "str", "category": "category",
    }  # fmt: skip
    assert (dtype["bool_gap"], dtype["int8_gap"], dtype["uint64_gap"], dtype["float_gap"]) == ("boolean", "Int8", "UInt64", "float64")
    assert (dtype["timestamp_s"], dtype["timestamp_ns_gap"]) == ("datetime64[s]", "datetime64[ns]")
    assert (dtype["timestamp_us_zone"], dtype["duration_ms"]) == ("datetime64[us, Europe/Vienna]", "timedelta64[ms]")
    kinds = {name: table.kind[name] for name in ("bytes", "date", "time64", "decimal", "list", "struct")}
    assert set(table.dtype[list(kinds)]) == {"object"}
    assert kinds == {"bytes": "bytes", "date": "date", "time64": "time", "decimal": "Decimal", "list": "list", "struct": "dict"}


def test_inputs_can_be_written_in_place_and_the_file_stays_as_it_was(sandbox):
    script = """
def azureml_main(df):
    for name in df:
        before = df[name].copy()
        df.loc[0, name] = df.loc[2, name]
    df["float64"] += 1
    df.sort_values("int64", ascending=False, inplace=True, ignore_index=True)
    return df[["int64", "float64", "bool", "timestamp_us", "string", "category"]],
"""
    sent = arrow(ALL.drop_columns(["list", "list_of_text", "struct"]))
    run = sandbox.run(script, inputs={"dataset1": sent})
    assert run.reason == "ok", run.report
    assert sorted(run.frame()["int64"]) == [2, 3, 3]
    assert (run.home / "in" / "dataset1").read_bytes() == sent[1]


def test_missing_values_stay_missing_through_arithmetic(sandbox):
    script = "def azureml_main(df):\n    df['sum'] = df.a + df.b\n    df['twice'] = df.a * 2\n    return df,\n"
    run = sandbox.run(script, inputs={"dataset1": csv("a,b\n1,0.5\n,1.5\n3,\n")})
    assert run.table().to_pydict() == {"a": [1, None, 3], "b": [0.5, 1.5, None], "sum": [1.5, None, None], "twice": [2, None, 6]}
    assert [column["type"] for column in run.report["result"]["columns"]] == ["int64", "double", "double", "int64"]


def test_a_column_that_changed_its_type_is_named(sandbox):
    script = "def azureml_main(df):\n    df['a'] = df.a.astype(float)\n    return df,\n"
    run = sandbox.run(script, inputs={"dataset1": csv("a,b\n1,2\n")})
    note = next(note for note in run.report["notes"] if note["kind"] == "dtype_change")
    assert (note["column"], note["from"], note["to"]) == ("a", "int64", "double")


def test_csv_is_read_by_the_rules(sandbox):
    text = '\ufefftext,n,day,country,score\nÄ,1,2024-02-29,NA,NA\n"",,,AT,2.5\n,3,2024-03-01,,nan\n"a\nb",4,,"x,y",1e3\n'
    script = "def azureml_main(df):\n    print(df.dtypes.astype(str).tolist())\n    return df,\n"
    run = sandbox.run(script, inputs={"dataset1": csv(text)})
    assert run.table().to_pydict() == {
        "text": ["Ä", "", None, "a\nb"],
        "n": [1, None, 3, 4],
        "day": [dt.date(2024, 2, 29), None, dt.date(2024, 3, 1), None],
        "country": ["NA", "AT", None, "x,y"],
        "score": [None, 2.5, None, 1000.0],
    }
    assert run.log == "['str', 'Int64', 'object', 'str', 'float64']\n"


def test_a_csv_with_only_a_header_has_no_rows_and_repeated_names_get_numbers(sandbox):
    run = sandbox.run("def azureml_main(a, b):\n    return a, b\n", inputs={"dataset1": csv("a,b\n"), "dataset2": csv("a,a\n1,2\n")})
    assert run.report["result"]["rows"] == 0
    assert run.table().column_names == ["a", "b"]
    assert run.table("result2").to_pydict() == {"a": [1], "a (2)": [2]}
    assert len(run.notes("rename")) == 1


def test_a_bad_csv_is_refused_with_its_place(sandbox):
    # More kinds of bad bytes are in tests/unit/test_runner_tables.py: they need no container.
    run = sandbox.run(IDENTITY, inputs={"dataset1": ("csv", b"a,b\n1,2\n3\n")})
    assert run.reason == "bad_input"
    assert run.report["message"] == "dataset1 is not a readable CSV file: row 3 has 1 cells, the header has 2."


@pytest.mark.parametrize("name", ["null rows", "bad offsets"])
def test_a_hostile_arrow_file_is_a_bad_input(sandbox, name):
    run = sandbox.run(IDENTITY, inputs={"dataset1": arrow(BOMBS[name])})
    assert run.reason == "bad_input", run.report
    assert "'x'" in run.report["message"]
    assert "dataset1" in run.report["message"]


def test_a_truncated_arrow_file_and_another_format_are_bad_inputs(sandbox):
    _, data = arrow({"a": [1, 2, 3]})
    for broken in (data[:-20], data[:40], b"PAR1" + bytes(100) + b"PAR1", data[:-8] + b"\xff" * 8):
        run = sandbox.run(IDENTITY, inputs={"dataset1": ("arrow", broken)})
        assert run.reason == "bad_input", run.report
        assert run.report["message"].startswith("dataset1 ")


def test_a_format_that_cannot_be_read_is_a_bad_input(sandbox):
    run = sandbox.run(IDENTITY, inputs={"dataset1": ("xlsx", b"x")})
    assert (run.reason, "'xlsx'" in run.report["message"]) == ("bad_input", True)
