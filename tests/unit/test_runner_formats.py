"""Reading Parquet, JSON and NDJSON: what is a table, and what is refused where (rule 9 and the edge «JSON»). No container."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.loading import runner

formats = runner("formats")
Refused = runner("refused").Refused


class Notes:
    """Stands in for the child's progress."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def note(self, kind: str, text: str, **facts: object) -> None:
        self.kinds.append(kind)


@pytest.fixture
def read(tmp_path):
    """`read(form, bytes)`: the table and the kinds of notes."""

    def read(form: str, data: bytes, memory_bytes: int = 10**9) -> tuple[pa.Table, list[str]]:
        path, notes = tmp_path / "dataset1", Notes()
        path.write_bytes(data)
        return formats.read("dataset1", str(path), form, {"memory_bytes": memory_bytes}, notes), notes.kinds

    return read


PAIR = pa.struct([("x", pa.int64()), ("y", pa.string())])
RECORDS = [
    # Text, the type and values of its column `a`, and the notes.
    ('[{"a":1},{},{"a":null}]', pa.int64(), [1, None, None], []),
    ('{"a":[1,null]}', pa.int64(), [1, None], []),
    ('{"a":{"x":1,"y":2}}', pa.int64(), [1, 2], []),
    ('\ufeff [ {"a" : true} ]\n', pa.bool_(), [True], []),
    ('[{"a":1},{"a":2.5}]', pa.float64(), [1.0, 2.5], []),
    ('[{"a":18446744073709551615},{"a":1}]', pa.uint64(), [2**64 - 1, 1], []),
    ('[{"a":9007199254740993},{"a":null}]', pa.int64(), [2**53 + 1, None], []),
    ('[{"a":18446744073709551616},{"a":-1}]', pa.string(), ["18446744073709551616", "-1"], ["mixed_column"]),
    ('[{"a":18446744073709551615},{"a":-1}]', pa.string(), ["18446744073709551615", "-1"], ["mixed_column"]),
    ('[{"a":1},{"a":"x"},{"a":true},{"a":1.5},{}]', pa.string(), ["1", "x", "true", "1.5", None], ["mixed_column"]),
    ('[{"a":"2024-01-01"}]', pa.string(), ["2024-01-01"], []),
    ('[{"a":Infinity},{"a":-Infinity}]', pa.float64(), [float("inf"), -float("inf")], []),
    ('[{"a":{"x":1}},{"a":{"y":"t"}}]', PAIR, [{"x": 1, "y": None}, {"x": None, "y": "t"}], []),
    ('[{"a":[]},{"a":[1]},{"a":null}]', pa.list_(pa.int64()), [[], [1], None], []),
    ('[{"a":"\\ud83d"}]', pa.string(), ["\ufffd"], ["warning"]),
    ('[{"a":"\\u0000"}]', pa.string(), ["\0"], []),
    ('[{"a":null}]', pa.null(), [None], []),
]


@pytest.mark.parametrize(("text", "kind", "values", "notes"), RECORDS)
def test_json_becomes_columns(read, text, kind, values, notes):
    table, noted = read("json", text.encode())
    assert (table.column("a").type, table.column("a").to_pylist(), noted) == (kind, values, notes)


ROWS = [
    # Text, and the table's columns.
    ('{"columns":["a","b"],"values":[[1,"x"],[2,null]]}', {"a": [1, 2], "b": ["x", None]}),
    (' { "values" : [ [1, "x"] , [2.5, "y"] ] , "columns" : [ "a", "b" ] } \n', {"a": [1.0, 2.5], "b": ["x", "y"]}),
    ('{"columns":["b","a"],"values":[[true,{"x":1}]]}', {"b": [True], "a": [{"x": 1}]}),
    ('{"columns":["a","a","a (2)"],"values":[[1,2,3]]}', {"a": [1], "a (3)": [2], "a (2)": [3]}),
    ('{"columns":["a","b"],"values":[]}', {"a": [], "b": []}),
    ('{"columns":[],"values":[]}', {}),
    ('{"columns":["a"],"values":[[1],["x"],[null]]}', {"a": ["1", "x", None]}),
    # Columns that are only called so.
    ('{"columns":["a","b"],"values":[1,2]}', {"columns": ["a", "b"], "values": [1, 2]}),
    ('{"columns":["a"],"values":["x"]}', {"columns": ["a"], "values": ["x"]}),
    ('{"columns":[1],"values":[[2]]}', {"columns": [1], "values": [[2]]}),
    ('{"columns":[1,2],"values":[]}', None),
    ('{"values":[[1]],"columns":["a"],"more":["b"]}', {"values": [[1]], "columns": ["a"], "more": ["b"]}),
    ('{"more":["b"],"columns":["a"],"values":[[1]]}', {"more": ["b"], "columns": ["a"], "values": [[1]]}),
    ('{"columns":["a"]}', {"columns": ["a"]}),
    ('{"values":[[1]]}', {"values": [[1]]}),
]


@pytest.mark.parametrize(("text", "columns"), ROWS)
def test_names_and_rows_are_a_table_too(read, text, columns):
    if columns is None:
        with pytest.raises(Refused, match="has 0 cells, column 'columns' has 2"):
            read("json", text.encode())
    else:
        assert read("json", text.encode())[0].to_pydict() == columns


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"columns":["a","b"],\n"values":[[1,2],[3]]}', "Row 2 of dataset1 (line 2, column 17) has 1 value; expected an array of 2"),
        ('{"columns":["a"],"values":[[1],2]}', "Row 2 of dataset1 (line 1, column 32) is no array; expected an array of 1 value, one"),
        ('{"columns":["a"],"values":[[1]],"x":[2]}', "Expecting the end of an object of `columns` and `values` at line 1, column 32"),
        ('{"columns":["a"],"values":[[1]]} x', "Something follows after the end at line 1, column 34"),
        ('{"values":[[1]],"columns":["a"]} x', "Something follows after the end at line 1, column 34"),
        ('{"columns":["a"],"values":[[1],]}', "dataset1 is not readable JSON: Expecting value at line 1, column 32"),
        ('{"columns":["a"],"values":[[1]', "dataset1 is not readable JSON: Expecting ',' at line 1, column 31, found the end of the file"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_place(read, text, sentence):
    with pytest.raises(Refused) as refused:
        read("json", text.encode())
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message


def test_names_and_rows_are_read_in_parts(read, monkeypatch):
    monkeypatch.setattr(runner("json_rows"), "BATCH_ROWS", 3)
    values = [[number, f"t{number}"] for number in range(10)]
    table, _ = read("json", json.dumps({"columns": ["n", "t"], "values": values}).encode())
    assert [list(row.values()) for row in table.to_pylist()] == values


def test_nan_is_read_as_the_float_it_names(read):
    table, _ = read("json", b'[{"a":NaN}]')
    assert str(table.column("a").to_pylist()) == "[nan]"


@pytest.mark.parametrize("depth", range(100, 1_100, 100))
@pytest.mark.parametrize("value", [b'"x"', b'"\\ud800"'])
def test_however_deep_a_value_is_nested_it_is_refused(read, depth, value):
    with pytest.raises(Refused, match=r"nested"):
        read("json", b'[{"a":' + b'{"b":' * depth + value + b"}" * depth + b"}]")


def test_a_name_that_is_half_a_character_is_made_text(read):
    table, _ = read("json", b'[{"\\ud800":1,"\\udc00":2}]')
    assert table.column_names == ["\ufffd", "\ufffd (2)"]


@pytest.mark.parametrize("text", ["[]", "{}", " [ ] "])
def test_json_without_a_record_is_a_table_without_rows(read, text):
    assert read("json", text.encode())[0].num_rows == 0


REFUSED_JSON = [
    (b'"x"', "dataset1 is a text; expected an array of objects (records), an object of columns, or names and rows."),
    (b"nul", "dataset1 is not readable JSON: Expecting value at line 1, column 1, found 'nul'."),
    (b"  ", "dataset1 is empty: expected an array of records or an object of columns."),
    (b'[{"a":1},\n 2]', "Record 2 of dataset1 (line 2, column 2) is a number; expected an object."),
    (b'[{"a":1},[1]]', "Record 2 of dataset1 (line 1, column 10) is an array; expected an object."),
    (b'[{"a":1},{"a":1,"a":2}]', "Record 2 of dataset1 (line 1, column 10) is ambiguous: an object has the key 'a' more than once."),
    (b'[{"a":{"b":1,"b":1}}]', "an object has the key 'b' more than once"),
    (b'{"a":[1],"a":[2]}', "dataset1 has the column 'a' more than once"),
    (b'{"a":[1],"b":[1,2]}', "Column 'b' of dataset1 has 2 cells, column 'a' has 1."),
    (b'{"a":{"x":1},"b":{"y":1}}', "Column 'b' of dataset1 has other row labels than column 'a'."),
    (b'{"a":[1],"b":{"x":1}}', "Column 'b' of dataset1 is an object, column 'a' is not"),
    (b'{"a":1}', "dataset1 is an object whose 'a' is a number (line 1, column 6); expected an object of columns"),
    (b'{"columns":["a"],"index":[0],"data":[[1]]}', "dataset1 is in pandas' form «split»; write it with orient='records'."),
    (b'[{"a":1}', "Expecting ',' at line 1, column 9, found the end of the file."),
    (b'[{"a":1},]', "Expecting value at line 1, column 10, found ']'."),
    (b'[{"a":1}] x', "Something follows after the end at line 1, column 11, found 'x'."),
    (b'{"a":[1]}\n{"a":[2]}', "Something follows after the end; is it NDJSON, a record a line? at line 2, column 1"),
    (b"{'a':1}", "Expecting a name in double quotes at line 1, column 2"),
    (b'[\n{"a":"\xff"}]', "dataset1 is not UTF-8 in line 2; save it as UTF-8."),
    (b'[{"a":"x\0"}]', "Invalid control character at line 1, column 9"),
    ('[{"a":1}]'.encode("utf-16"), "dataset1 is in UTF-16; save it as UTF-8."),
    (b"[" * 100_000, "is nested too deep."),
    (b'[{"a":' * 100_000, "is nested too deep."),
    (b'[{"a":' + b"[" * 30 + b"]" * 30 + b"}]", "Column 'a' of dataset1 is nested deeper than 16 levels."),
    (b'[{"a":' + b"9" * 5_000 + b"}]", "Record 1 of dataset1 (line 1, column 2) cannot be read: Exceeds the limit"),
    (b'[{"a":[1]},{"a":["x"]}]', "Record 2 of dataset1 has ['x'] in column 'a', which does not fit: "),
    (b'[{"a":[18446744073709551615]}]', "an integer inside it is too large for int64."),
    (b'[{"a":[1]},{"a":3}]', "Record 2 of dataset1 has 3 in column 'a', which does not fit: "),
    (b'[{"' + b"n" * 10_001 + b'":1}]', "names of 10,000 characters"),
]


@pytest.mark.parametrize(("data", "sentence"), REFUSED_JSON, ids=lambda value: repr(value)[:40])
def test_other_json_is_refused_with_its_place(read, data, sentence):
    with pytest.raises(Refused) as refused:
        read("json", data)
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message


def test_ndjson_is_read_line_by_line_and_empty_lines_are_skipped(read):
    table, _ = read("ndjson", b'\xef\xbb\xbf{"a":1}\r\n\n{"b":"x","a":null}\n   \n')
    assert table.to_pydict() == {"a": [1, None], "b": [None, "x"]}
    assert read("ndjson", b"\n")[0].num_rows == 0


REFUSED_LINES = [
    (b'{"a":1}\n[1]\n', "Line 2 of dataset1 is an array; expected an object; an array of records is the format json."),
    (b'{"a":1}\n\n5', "Line 3 of dataset1 is a number; expected an object."),
    (b'{"a":1}\n{"a":}\n', "Line 2 of dataset1 is not readable JSON: Expecting value at column 6, found '}'."),
    (b'{"a":1} {"a":2}', "Line 1 of dataset1 has something after its record: ' {\"a\":2}'."),
    (b'{"a":1}\n{"a":"\xff"}', "dataset1 is not UTF-8 in line 2; save it as UTF-8."),
    (b'{"a":1,"a":2}', "Line 1 of dataset1 cannot be read: an object has the key 'a' more than once."),
    (b'{"a":' + b"[" * 100_000, "Line 1 of dataset1 is nested too deep."),
    ('{"a":1}'.encode("utf-16"), "dataset1 is in UTF-16; save it as UTF-8."),
    (b'{"a":1}\n' * 20_000 + b'{"a":[1]}', "From line 20,001 on column 'a' of dataset1 is list<item: int64>, before it was int64"),
    (b'{"a":1}\n' * 20_000 + b'{"a":"x"}\n{"a":[1]}', "Line 20,002 of dataset1 has [1] in column 'a', which does not fit"),
    (b"".join(b'{"k%d":1}\n' % number for number in range(10_001)), "dataset1 has more than 10,000 columns"),
]


@pytest.mark.parametrize(("data", "sentence"), REFUSED_LINES, ids=lambda value: repr(value)[:40])
def test_other_ndjson_is_refused_with_its_line(read, data, sentence):
    with pytest.raises(Refused) as refused:
        read("ndjson", data)
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message


def test_a_column_that_changes_after_thousands_of_lines_is_read_again_as_text(read):
    table, noted = read("ndjson", b'{"a":1.50}\n' * 20_000 + b'{"a":"x","b":{"c":1}}\n{"b":{"d":2}}')
    assert (table.column("a")[0].as_py(), table.column("a")[20_000].as_py(), noted) == ("1.5", "x", ["mixed_column"])
    assert table.column("b").to_pylist()[-2:] == [{"c": 1, "d": None}, {"c": None, "d": 2}]


def test_few_bytes_that_would_be_many_cells_are_refused(read):
    lines = b"".join(b'{"k%d":1}\n' % number for number in range(9_000))
    with pytest.raises(Refused, match="would need more than 100,000,000 bytes of memory"):
        read("ndjson", lines, memory_bytes=10**8)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), JSON_VALUES, max_size=3), max_size=4) | JSON_VALUES)
def test_any_json_is_a_table_or_refused(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("json") / "dataset1"
    path.write_text(json.dumps(document))
    with contextlib.suppress(Refused):
        table = formats.read("dataset1", str(path), "json", {"memory_bytes": 10**9}, Notes())
        assert table.num_rows == len(document) or not table.num_columns or isinstance(document, dict)


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def test_parquet_of_others_is_read_without_their_metadata(read):
    table = pa.table({"a": [1, None], "d": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2))}).replace_schema_metadata({"pandas": "{"})
    got, _ = read("parquet", parquet(table, store_schema=False, row_group_size=1, compression="gzip"))
    assert (got.schema.metadata, got.to_pydict()) == (None, table.to_pydict())


def test_old_timestamps_do_not_wrap_around(read):
    moment = dt.datetime(9999, 12, 31)
    data = parquet(pa.table({"a": pa.array([moment], pa.timestamp("us"))}), use_deprecated_int96_timestamps=True, store_schema=False)
    assert read("parquet", data)[0].column("a").to_pylist() == [moment]


def test_categories_of_several_row_groups_become_one_dictionary(read):
    table = pa.table({"a": pa.array(["x", "y", None, "z"] * 3).dictionary_encode()})
    got, _ = read("parquet", parquet(table, row_group_size=2))
    assert (pa.types.is_dictionary(got.column("a").type), got.column("a").to_pylist()) == (True, table.column("a").to_pylist())


def test_repeated_names_in_parquet_get_numbers(read):
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    got, noted = read("parquet", parquet(table))
    assert (got.to_pydict(), noted) == ({"a": [1], "a (2)": [2]}, ["rename"])


PARQUET = parquet(pa.table({"a": ["x"] * 100, "n": range(100)}))
REFUSED_PARQUET = [
    (b"a,b\n1,2\n", "dataset1 is not a Parquet file: it begins with b'a,b\\n'"),
    (PARQUET[:-4], "dataset1 is a truncated Parquet file: its end is missing."),
    (b"PAR1PAR1", "dataset1 is a truncated Parquet file"),
    (b"PARE" + PARQUET[4:-4] + b"PARE", "dataset1 is an encrypted Parquet file; write it without encryption."),
    (PARQUET[:-8] + b"\xff\xff\xff\x7fPAR1", "dataset1 is a damaged Parquet file: its footer claims 2,147,483,647 bytes."),
    (PARQUET[:4] + bytes(200) + PARQUET[204:], "dataset1 is not a readable Parquet file: "),
    (PARQUET[:-200] + bytes(192) + PARQUET[-8:], "dataset1 is not a readable Parquet file: "),
]


@pytest.mark.parametrize(("data", "sentence"), REFUSED_PARQUET, ids=lambda value: repr(value)[:40])
def test_bytes_that_are_no_parquet_are_refused(read, data, sentence):
    with pytest.raises(Refused) as refused:
        read("parquet", data)
    assert refused.value.reason == "bad_input"
    assert sentence in refused.value.message


def test_rows_that_cannot_fit_into_memory_are_refused_before_they_are_decoded(read):
    column = pa.nulls(2_000_000, pa.int64())
    data = parquet(pa.table([column] * 10, names=[str(number) for number in range(10)]))
    assert len(data) < 100_000
    with pytest.raises(Refused, match="dataset1 has 2,000,000 rows of 10 columns and would need 160,000,000 bytes of memory or more"):
        read("parquet", data, memory_bytes=10**8)


def test_a_few_bytes_that_unfold_into_many_are_weighed_as_they_grow(read):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), pa.array(["x" * 1_000]))
    data = parquet(pa.table({"a": long}), store_schema=False)
    assert len(data) < 100_000
    with pytest.raises(Refused, match="would need more than 100,000,000 bytes of memory"):
        read("parquet", data, memory_bytes=10**8)


def test_parquet_writes_what_it_cannot_hold_as_values_or_refuses_the_column(tmp_path):
    path, notes = tmp_path / "out", Notes()
    formats.WRITERS["parquet"](pa.table({"a": pa.array([10, None]).dictionary_encode()}), str(path), notes)
    assert (pq.read_table(str(path)).to_pydict(), notes.kinds) == ({"a": [10, None]}, ["dtype_change"])
    for bad in (pa.array([{}], pa.struct([])), pa.array([pa.MonthDayNano([1, 2, 3])]), pa.array([2**60]).cast(pa.timestamp("s"))):
        with pytest.raises(Refused, match=r"^Column 'x' .* cannot be written as Parquet: ") as refused:
            formats.WRITERS["parquet"](pa.table({"ok": [1], "x": bad}), str(path), Notes())
        assert refused.value.reason == "bad_input"


def test_json_says_what_it_does_not_hold(tmp_path):
    path, notes = tmp_path / "out", Notes()
    table = pa.table(
        {
            "f": [float("inf"), float("nan"), 0.5],
            "t": pa.array([0, None, 1]).cast(pa.timestamp("ms", "Europe/Vienna")),
            "d": pa.array([Decimal("1.50"), None, None]),
            "b": [b"\xff", None, b""],
            "s": pa.array([1, 2, None]).cast(pa.duration("s")),
            "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
            "n": [2**63 - 1, None, 0],
        }
    )
    big = {"n": 2**63 - 1}
    formats.WRITERS["json"](table, str(path), notes)
    assert json.loads(path.read_text()) == [
        {"f": None, "t": "1970-01-01T01:00:00.000+01:00", "d": "1.50", "b": "/w==", "s": 1, "m": [{"key": "k", "value": 1}]} | big,
        {"f": None, "t": None, "d": None, "b": None, "s": 2, "m": None, "n": None},
        {"f": 0.5, "t": "1970-01-01T01:00:00.001+01:00", "d": None, "b": "", "s": None, "m": [], "n": 0},
    ]
    assert sorted(notes.kinds) == ["dtype_change"] * 4 + ["warning"]


LISTS = [
    pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4, 5, 6]), 2, mask=pa.array([False, True, False])),
    pa.ListArray.from_arrays(pa.array([0, 2, 4, 6], pa.int32()), pa.array([1, 2, 3, 4, 5, 6]), mask=pa.array([False, True, False])),
]


@pytest.mark.parametrize("lists", LISTS, ids=lambda lists: str(lists.type))
def test_what_lies_behind_a_missing_list_is_not_written(tmp_path, lists):
    path = tmp_path / "out"
    table = pa.table({"l": lists, "s": pa.StructArray.from_arrays([lists], ["x"])})
    for first in (0, 1):
        formats.WRITERS["json"](table.slice(first), str(path), Notes())
        assert json.loads(path.read_text()) == [{"l": row, "s": {"x": row}} for row in ([1, 2], None, [5, 6])][first:]


def test_json_refuses_a_column_without_a_form_by_name(tmp_path):
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(Refused, match=r"^Column 'x' \(struct<a: int64, a: int64>\) cannot be written as NDJSON: "):
        formats.WRITERS["ndjson"](pa.table({"x": twice}), str(tmp_path / "out"), Notes())


@pytest.mark.parametrize("error", [ValueError("strange"), RecursionError("strange"), KeyError("strange"), pa.ArrowInvalid("strange")])
def test_what_no_reader_thought_of_is_still_about_the_bytes(read, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setitem(formats.READERS, "csv", broken)
    with pytest.raises(Refused, match=r"dataset1 cannot be read as csv: .*strange") as caught:
        read("csv", b"a")
    assert caught.value.reason == "bad_input"


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "the disk is broken")])
def test_a_limit_or_a_broken_disk_is_not_about_the_bytes(read, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setitem(formats.READERS, "csv", broken)
    with pytest.raises(type(error)):
        read("csv", b"a")
