"""Reading hostile and bad bytes, and telling tables from other values (rules 9–14). No container."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.loading import runner
from tests.contract.samples import BOMBS, arrow

formats = runner("formats")
tables_in = runner("tables_in")
tables_out = runner("tables_out")
columns_out = runner("columns_out")
Refused = runner("refused").Refused
LIMITS = {"memory_bytes": 10**9}


class Notes:
    """Stands in for the child's progress."""

    def __init__(self):
        self.notes = []

    def note(self, kind, text, **facts):
        self.notes.append(kind)


def read(tmp_path, form: str, data: bytes):
    path = tmp_path / "dataset1"
    path.write_bytes(data)
    return formats.read("dataset1", str(path), form, LIMITS, Notes())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "dataset1 is an empty file (0 bytes)."),
        (b"\xef\xbb\xbf\n", "dataset1 is empty: a CSV file needs at least a header row."),
        (b"a,b\n1,2\n3\n", "row 3 has 1 cells, the header has 2"),
        (b"a;b\n1,5;2\n", "row 2 has 2 cells, the header has 1; its header looks separated by semicolons, and a CSV file is"),
        (b"a\n1\n\xe4\n", "dataset1 is not UTF-8 in line 3"),
        (b"a\n1\nx\xc3", "dataset1 ends in the middle of a character"),
        (b"a\nx\0y\n", "dataset1 has a zero byte in line 2"),
        ("a\n1\n".encode("utf-16"), "dataset1 is in UTF-16; save it as UTF-8."),
    ],
)
def test_a_bad_csv_is_refused_with_its_place(tmp_path, data, sentence):
    with pytest.raises(Refused) as refused:
        read(tmp_path, "csv", data)
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message


@pytest.mark.parametrize(("header", "noted"), [("a;b", ["warning"]), ("a\tb", ["warning"]), ("a", []), ("a;b,c", [])])
def test_a_csv_of_one_column_that_looks_separated_otherwise_is_noted(tmp_path, header, noted):
    path, notes = tmp_path / "dataset1", Notes()
    path.write_text(f"{header}\n1{',2' * header.count(',')}\n")
    formats.read("dataset1", str(path), "csv", LIMITS, notes)
    assert notes.notes == noted


def test_a_row_of_twenty_megabytes_is_read(tmp_path):
    table = read(tmp_path, "csv", b"a,b\n" + b"x" * 20_000_000 + b",1\n")
    assert [len(table.column("a")[0].as_py()), table.column("b")[0].as_py()] == [20_000_000, 1]


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_hostile_arrow_file_is_refused_by_column(tmp_path, name):
    with pytest.raises(Refused) as refused:
        read(tmp_path, "arrow", arrow(BOMBS[name])[1])
    assert refused.value.reason == "bad_input"
    assert "'x'" in refused.value.message
    assert "dataset1" in refused.value.message


def test_more_columns_or_levels_than_the_limit_are_refused(tmp_path):
    wide = pa.table([pa.array([], pa.int8())] * 10_001, names=[str(number) for number in range(10_001)])
    kind = pa.int8()
    for _ in range(20):
        kind = pa.list_(kind)
    for table, sentence in (
        (wide, "has 10,001 columns; the limit is 10,000"),
        (pa.table({"x": pa.nulls(1, kind)}), "deeper than 16 levels"),
    ):
        with pytest.raises(Refused, match=sentence):
            read(tmp_path, "arrow", arrow(table)[1])


def test_metadata_and_extension_types_of_strangers_are_taken_off(tmp_path):
    field = pa.field("x", pa.int64(), metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": "cos"})
    table = pa.table({"x": [1]}).cast(pa.schema([field], metadata={"pandas": "{"}))
    got = read(tmp_path, "arrow", arrow(table)[1])
    assert tables_in.from_arrow("dataset1", got).frame.to_dict("list") == {"x": [1]}
    assert got.schema.metadata is None


SEED = arrow(
    pa.table({"a": [1, None, 3], "s": ["x", None, "yy"], "l": [[1], None, []], "d": pa.array(["x", "y", "x"]).dictionary_encode()})
)[1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SEED) - 1), st.binary(min_size=1, max_size=4))
def test_any_damage_to_an_arrow_file_is_refused_or_gives_a_table(tmp_path_factory, position, patch):
    data = bytearray(SEED)
    data[position : position + len(patch)] = patch[: len(data) - position]
    with contextlib.suppress(Refused):
        tables_in.from_arrow("dataset1", read(tmp_path_factory.mktemp("arrow"), "arrow", bytes(data)))


FRAME = pd.DataFrame({"a": [1]})
ARRAY = np.empty(1, dtype=object)
ARRAY[0] = FRAME


@pytest.mark.parametrize("value", [FRAME, (FRAME,), [FRAME, 5], ARRAY, pa.table({"a": [1]}), pa.record_batch({"a": [1]})])
def test_tables_and_sequences_that_begin_with_one_are_results(value):
    first, second, _ = tables_out.split(value)
    assert (len(first), second) == (1, None) if isinstance(first, pd.DataFrame) else first.num_rows == 1


@pytest.mark.parametrize(
    "value",
    [None, FRAME.a, {"a": FRAME}, "text", b"bytes", 5, (), [], (1, FRAME), (one for one in [FRAME]), np.zeros((2, 2)), np.zeros(0),
     pa.array([1]), pa.chunked_array([[1]]), pd.Index([1]), pd.DataFrame, {FRAME.a.size}],
)  # fmt: skip
def test_anything_else_is_refused_with_what_to_write(value):
    with pytest.raises(Refused) as refused:
        tables_out.split(value)
    assert refused.value.reason == "bad_return"
    assert refused.value.message.endswith("Write `return dataframe,` or `return dataframe`.")


@pytest.mark.parametrize(("values", "row"), [([1j, 2j], 0), ([[1], ["a"], [2]], 1), ([*range(1000), object()], 1000), ([2**70], 0)])
def test_a_column_that_cannot_be_held_is_named_with_its_row(values, row):
    with pytest.raises(Refused, match=rf"Column 'c' of the result cannot be written: row {row} holds"):
        columns_out.to_arrow(pd.Series(values), "c", None, Notes(), "result")
