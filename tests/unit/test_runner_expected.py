"""Columns that a table must have (rule 28): what fits is converted, what does not is refused by its column's name. No container."""

from __future__ import annotations

import datetime as dt
import io
import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.loading import runner
from tests.unit.runner_desk import Desk, Progress, desk

__all__ = ["desk"]

expected = runner("expected")
places = runner("places")
tables_in = runner("tables_in")
type_words = runner("type_words")
Refused = runner("refused").Refused

Columns = list[tuple[str, str]]
Read = Callable[[str, bytes, Columns], Any]


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progress: Progress) -> Read:
    """`read(form, bytes, [(name, type), …])`: the table of dataset1 as the script gets it."""
    monkeypatch.setattr(places, "INPUTS", {"dataset1": str(tmp_path / "dataset1")})

    def read(form: str, data: bytes, columns: Columns) -> Any:
        (tmp_path / "dataset1").write_bytes(data)
        wanted = [{"name": name, "type": kind, "nullable": True} for name, kind in columns]
        return tables_in.read("dataset1", form, {"memory_bytes": 10**9}, progress, wanted)

    return read


def one(value: Any) -> bytes:
    return json.dumps([{"a": value}]).encode()


MOMENT = dt.datetime(2024, 1, 2, 10, 0, 0)
FITS = [
    # Format, a column `a` in it, the type that is expected, and its first value.
    ("json", one(1), "int64", 1),
    ("json", one(1), "int8", 1),
    ("json", one(1), "uint64", 1),
    ("json", one(1), "double", 1.0),
    ("json", one(1), "float", 1.0),
    ("json", one(1), "decimal128(5, 2)", Decimal("1.00")),
    ("json", one(1.25), "decimal128(5, 2)", Decimal("1.25")),
    ("json", one("1.25"), "decimal128(5, 2)", Decimal("1.25")),
    ("json", one(2.0), "int64", 2),
    ("json", one("2024-01-02"), "date32[day]", dt.date(2024, 1, 2)),
    ("json", one("2024-01-02"), "timestamp[ns]", dt.datetime(2024, 1, 2)),
    ("json", one("2024-01-02T10:00:00"), "timestamp[ms]", MOMENT),
    ("json", one("2024-01-02 10:00:00"), "timestamp[us]", MOMENT),
    ("json", one("2024-01-02T11:00:00+01:00"), "timestamp[us, tz=UTC]", MOMENT.replace(tzinfo=dt.UTC)),
    ("json", one("10:00:01.5"), "time64[us]", dt.time(10, 0, 1, 500_000)),
    ("json", one("x"), "dictionary<string>", "x"),
    ("json", one([1, 2]), "list<double>", [1.0, 2.0]),
    ("json", one([]), "list<string>", []),
    ("json", one({"x": 1, "y": "t"}), "struct<x: double, y: string>", {"x": 1.0, "y": "t"}),
    ("json", one(True), "bool", True),
    ("json", b'{"columns":["a"],"values":[[1]]}', "double", 1.0),
    ("ndjson", b'{"a":1}\n', "double", 1.0),
    # The example had no value there.
    ("json", one(5), "null", 5),
    ("csv", b"a\n1\n", "double", 1.0),
    ("csv", b"a\n007\n", "string", "007"),
    ("csv", b"a\n1.10\n", "string", "1.10"),
    ("csv", b"a\n007\n", "dictionary<string>", "007"),
    ("csv", b"a\n0.10\n", "decimal128(5, 2)", Decimal("0.10")),
    ("csv", b"a\n2024-01-02\n", "timestamp[ns]", dt.datetime(2024, 1, 2)),
    ("csv", b"a\n2024-01-02T10:00:00\n", "timestamp[us]", MOMENT),
    ("csv", b"a\n10:00:01\n", "time64[us]", dt.time(10, 0, 1)),
    ("csv", b"a\ntrue\n", "bool", True),
]


@pytest.mark.parametrize(("form", "data", "kind", "value"), FITS)
def test_what_loses_nothing_is_converted(read: Read, form: str, data: bytes, kind: str, value: Any) -> None:
    table = read(form, data, [("a", kind)])
    assert kind == "null" or type_words.text_of(table.arrow_types["a"]) == kind
    assert table.frame["a"].tolist() == [value]


MISFITS = [
    # Format, data, the type that is expected, and what is said.
    ("json", one("x"), "int64", "Column 'a' of dataset1 is string; expected int64."),
    ("json", one("1"), "int64", "Column 'a' of dataset1 is string; expected int64."),
    ("json", one(1), "string", "Column 'a' of dataset1 is int64; expected string."),
    ("json", one(1), "bool", "Column 'a' of dataset1 is int64; expected bool."),
    ("json", one(True), "int64", "Column 'a' of dataset1 is bool; expected int64."),
    ("json", one(1), "timestamp[ns]", "Column 'a' of dataset1 is int64; expected timestamp[ns]."),
    ("json", one(300), "int8", "Column 'a' of dataset1 is int64; expected int8 (Integer value 300 not in range: -128 to 127)."),
    ("json", one(-1), "uint8", "Column 'a' of dataset1 is int64; expected uint8 (Integer value -1 not in range"),
    ("json", one(2.5), "int64", "Column 'a' of dataset1 is double; expected int64 (Float value 2.500000 was truncated"),
    ("json", one(2**53 + 1), "double", "Column 'a' of dataset1 is int64; expected double (Integer value 9007199254740993 not in range"),
    ("json", one(1.255), "decimal128(5, 2)", "Column 'a' of dataset1 is double; expected decimal128(5, 2) ("),
    ("json", one("yesterday"), "timestamp[ns]", "Column 'a' of dataset1 is string; expected timestamp[ns] (Failed to parse string: 'yest"),
    ("json", one("2024-01-02"), "timestamp[ns, tz=UTC]", "expected a zone offset"),
    ("json", one("2024-01-02T10:00:00Z"), "timestamp[ns]", "expected no zone offset"),
    ("json", one("x"), "dictionary<string, ordered>", "Column 'a' of dataset1 is string; expected dictionary<string, ordered>."),
    ("json", one([1]), "list<string>", "Column 'a' of dataset1 is list<int64>; expected list<string>."),
    ("json", one({"x": 1}), "struct<x: int64, y: int64>", "is struct<x: int64>; expected struct<x: int64, y: int64>."),
    ("csv", b"a\nx\n", "int64", "Column 'a' of dataset1 is string; expected int64."),
    ("csv", b"a\n2024-01-02T10:00:00Z\n", "timestamp[s]", "Column 'a' of dataset1 is timestamp[s, tz=UTC]; expected timestamp[s]."),
    ("csv", b"a\n2024-01-02T10:00:00\n", "date32[day]", "is timestamp[s]; expected date32[day] (a value has a time of day)."),
    # Two columns of a file that have one name cannot be asked for by it.
    ("csv", b"a,a\n007,1\n", "string", "Column 'a' of dataset1 is int64; expected string."),
]


@pytest.mark.parametrize(("form", "data", "kind", "sentence"), MISFITS)
def test_a_column_of_another_type_is_refused_by_its_name(
    read: Read, progress: Progress, form: str, data: bytes, kind: str, sentence: str
) -> None:
    with pytest.raises(Refused) as refused:
        read(form, data, [("a", kind), ("a (2)", "int64")][: 1 + (b"a,a" in data)])
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message
    noted = [note for note in progress.notes if note["kind"] == "unexpected_column"]
    assert [(note["column"], note["to"]) for note in noted] == [("a", kind)]


def test_a_missing_and_an_unknown_column_are_refused_by_name(read: Read, progress: Progress) -> None:
    with pytest.raises(Refused) as refused:
        read("json", b'[{"Age":1,"name":"x","more":1}]', [("age", "int64"), ("name", "int64"), ("far", "bool")])
    text = "dataset1 has no column 'age', which is expected as int64; is 'Age' meant for it? 4 other columns do not fit either."
    assert (refused.value.reason, refused.value.message) == ("bad_input", text)
    assert [(note["column"], note["from"], note["to"]) for note in progress.notes] == [
        ("age", "", "int64"), ("far", "", "bool"), ("Age", "int64", ""), ("more", "int64", ""), ("name", "string", "int64"),
    ]  # fmt: skip
    assert progress.notes[3]["text"] == "dataset1 has a column 'more' (int64); expected are 'age', 'name', 'far'."


def test_columns_come_in_the_order_that_is_expected_and_gaps_stay(read: Read) -> None:
    table = read("json", b'[{"b":1},{"a":"x","b":null}]', [("a", "string"), ("b", "double")])
    assert list(table.frame.columns) == ["a", "b"]
    assert table.frame["b"].isna().tolist() == [False, True]
    assert table.frame["a"].isna().tolist() == [True, False]


def test_a_column_without_a_value_has_the_type_that_is_expected(read: Read) -> None:
    for form, data in (("json", one(None)), ("csv", b"a,b\n,1\n")):
        table = read(form, data, [("a", "timestamp[ns]"), ("b", "int64")][: 1 + (form == "csv")])
        assert type_words.text_of(table.arrow_types["a"]) == "timestamp[ns]"
        assert table.frame["a"].isna().tolist() == [True]


@pytest.mark.parametrize(("form", "data"), [("json", b" [ ] "), ("ndjson", b"\n"), ("json", b'{"columns":["b","a"],"values":[]}')])
def test_no_rows_are_a_table_with_the_expected_columns(read: Read, form: str, data: bytes) -> None:
    table = read(form, data, [("a", "int64"), ("b", "string")])
    assert (len(table.frame), {name: str(kind) for name, kind in table.frame.dtypes.items()}) == (0, {"a": "int64", "b": "str"})


@pytest.mark.parametrize(("form", "data"), [("json", b"[{}]"), ("ndjson", b"{}\n"), ("json", b"{}")])
def test_a_record_without_columns_lacks_them(read: Read, form: str, data: bytes) -> None:
    with pytest.raises(Refused, match="dataset1 has no column 'a', which is expected as int64"):
        read(form, data, [("a", "int64")])


def test_ten_thousand_columns_take_no_time_whether_they_fit_or_not(read: Read) -> None:
    wanted = [(f"column {at}", "double") for at in range(10_000)]
    data = json.dumps([{name: 1 for name, _ in wanted}]).encode()
    assert len(read("json", data, wanted).frame.columns) == 10_000
    began_at = time.process_time()
    with pytest.raises(Refused, match=r"19,999 other columns do not fit either\.$"):
        read("json", data, [(f"Column {at}", "double") for at in range(10_000)])
    assert time.process_time() - began_at < 10


def parquet(column: pa.Array) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": column}), file)
    return file.getvalue()


CHOSEN = [
    (pa.array([1], pa.int8()), "int64", True),
    (pa.array([1], pa.uint8()), "int16", True),
    (pa.array([1], pa.int64()), "int8", True),
    (pa.array([128], pa.int64()), "int8", False),
    (pa.array([1], pa.int64()), "uint64", True),
    (pa.array([-1], pa.int64()), "uint64", False),
    (pa.array([1.0], pa.float32()), "double", True),
    (pa.array([1.0], pa.float64()), "float", False),
    (pa.array([1.0, None, float("nan")], pa.float64()), "int64", True),
    (pa.array([1.5], pa.float64()), "int64", False),
    (pa.array([1e30], pa.float64()), "int64", False),
    (pa.array([float("inf")], pa.float64()), "int64", False),
    (pa.array([1.0], pa.float64()), "decimal128(5, 2)", False),
    (pa.array([[1.5]], pa.list_(pa.float64())), "list<int64>", False),
    (pa.array([1], pa.int64()), "double", True),
    (pa.array(["2024-01-02"]), "timestamp[ns]", False),
    (pa.array([0], pa.timestamp("ms")), "timestamp[ns]", True),
    (pa.array([1000, None], pa.timestamp("us")), "timestamp[ms]", True),
    (pa.array([1], pa.timestamp("us")), "timestamp[ms]", False),
    (pa.array([86_400_000_000, None], pa.timestamp("us")), "date32[day]", True),
    (pa.array([-86_400_000_000], pa.timestamp("us")), "date32[day]", True),
    (pa.array([86_400_000_001], pa.timestamp("us")), "date32[day]", False),
    (pa.array([0], pa.timestamp("us", "UTC")), "date32[day]", False),
    (pa.array([[1]], pa.list_(pa.timestamp("us"))), "list<date32[day]>", False),
    (pa.array([1], pa.duration("us")), "duration[s]", False),
    (pa.array([1], pa.time64("us")), "time32[s]", False),
    (pa.array(["1"]), "int64", False),
    (pa.array([0], pa.timestamp("ms", "UTC")), "timestamp[ms]", False),
    (pa.array([0], pa.timestamp("ms", "UTC")), "timestamp[us, tz=Europe/Berlin]", True),
    (pa.array(["x"]).dictionary_encode(), "string", True),
    (pa.array(["x"], pa.large_string()), "dictionary<string>", True),
]


@pytest.mark.parametrize(("column", "kind", "fits"), CHOSEN)
def test_types_that_were_chosen_become_others_where_no_value_is_lost(read: Read, column: pa.Array, kind: str, fits: bool) -> None:
    if fits:
        assert type_words.text_of(read("parquet", parquet(column), [("a", kind)]).arrow_types["a"]) == kind
    else:
        with pytest.raises(Refused, match=r"Column 'a' of dataset1 is .*; expected "):
            read("parquet", parquet(column), [("a", kind)])


KINDS = st.recursive(
    st.sampled_from([kind for kind in type_words.PLAIN.values()])
    | st.builds(pa.timestamp, st.sampled_from(type_words.UNITS), st.sampled_from(["UTC", "Europe/Berlin", "+01:00"]))
    | st.builds(lambda digits: pa.decimal128(digits, 2), st.integers(2, 38)),
    lambda inner: (
        st.builds(pa.list_, inner)
        | st.lists(inner, min_size=1, max_size=3).map(lambda kinds: pa.struct([(f"f {at}", kind) for at, kind in enumerate(kinds)]))
    ),
    max_leaves=5,
)


@given(KINDS)
def test_a_type_is_found_again_by_its_text(kind: pa.DataType) -> None:
    text = type_words.text_of(kind)
    assert type_words.text_of(type_words.of_text(text)) == text


@given(st.text("dictionary<list<struct<a: int64, >()[]string0128", max_size=60))
def test_any_text_names_a_type_or_none(text: str) -> None:
    found = type_words.of_text(text)
    assert found is None or type_words.text_of(found) == text


def test_a_script_gets_the_expected_columns_and_a_run_without_them_any(desk: Desk) -> None:
    script = "def azureml_main(df):\n    return df.dtypes.astype(str).to_frame('kind')\n"
    wanted = {"dataset1": [{"name": "b", "type": "double"}, {"name": "a", "type": "int64"}]}
    desk.run(script, inputs={"dataset1": ("json", b'[{"a":1,"b":2}]')}, schema=wanted)
    assert desk.result() == [{"kind": "float64"}, {"kind": "int64"}]
    with pytest.raises(Refused, match="has no column 'b'"):
        desk.run(script, inputs={"dataset1": ("json", b'[{"a":1}]')}, schema=wanted)
    desk.run(script, inputs={"dataset1": ("json", b'[{"a":1}]')}, schema={})
    assert desk.result() == [{"kind": "int64"}]
