"""Requests and answers as clients of Azure Machine Learning Studio (classic) write and read them. No container."""

# ruff: noqa: E501 (requests are read best in one line)

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.loading import runner
from tests.unit.runner_desk import LIMITS, Desk, Progress, desk

__all__ = ["desk"]

places = runner("places")
studio_in = runner("studio_in")
studio_out = runner("studio_out")
text_columns = runner("text_columns")
type_words = runner("type_words")
Refused = runner("refused").Refused

SAME = "def azureml_main(frame):\n    return frame,\n"
SHOW = (
    "import pandas\n\n\n"
    "def azureml_main(one=None, two=None, *, whole: int = 1, part: float = 0.5, word: str = 'w', flag: bool = False, bare=3, free=None):\n"
    "    values = [whole, part, word, flag, bare, free]\n"
    "    return pandas.DataFrame({'kind': [type(value).__name__ for value in values], 'text': [str(value) for value in values]})\n"
)


def table(columns: list[str], *rows: list[Any]) -> dict[str, Any]:
    return {"ColumnNames": columns, "Values": list(rows)}


def envelope(parameters: dict[str, Any] | None = None, **inputs: Any) -> dict[str, tuple[str, bytes]]:
    return raw(json.dumps({"Inputs": inputs, "GlobalParameters": parameters or {}}))


def raw(text: str) -> dict[str, tuple[str, bytes]]:
    return {"dataset1": ("studio", text.encode())}


def columns(**kinds: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind, "nullable": False} for name, kind in kinds.items()]


def refusal(desk: Desk, inputs: dict[str, tuple[str, bytes]], script: str = SAME, **more: Any) -> Any:
    with pytest.raises(Refused) as refused:
        desk.run(script, inputs=inputs, **more)
    return refused.value


INFERRED = [
    # Cells of one column, and what the script is given.
    (["1", "2"], [1, 2]),
    ([1, "2"], [1, 2]),
    ([1, 2.5], [1.0, 2.5]),
    (["1.5", None], [1.5, None]),
    (["1", ""], [1, None]),
    (["1", "NA"], [1, None]),
    (["true", "False"], [True, False]),
    ([True, None], [True, None]),
    (["x", ""], ["x", ""]),
    (["x", "NA"], ["x", "NA"]),
    (["x", 5, True, None], ["x", "5", "true", None]),
    (["", ""], ["", ""]),
    ([None, None], [None, None]),
    (['a,"b"\n', "c\r\nd"], ['a,"b"\n', "c\r\nd"]),
    (["2014-09-21"], [dt.date(2014, 9, 21)]),
    (["\ud800"], ["\ufffd"]),
    (["a\0b"], ["a\0b"]),
]


@pytest.mark.parametrize(("cells", "values"), INFERRED)
@pytest.mark.parametrize("form", ["rows", "records"])
def test_without_a_schema_texts_become_what_a_csv_file_would_say(desk: Desk, cells: list[Any], values: list[Any], form: str) -> None:
    one = table(["a"], *[[cell] for cell in cells]) if form == "rows" else [{"a": cell} for cell in cells]
    desk.run(SAME, inputs=envelope(input1=one))
    assert [row["a"] for row in desk.result()] == values


MOMENT = dt.datetime(2014, 9, 21, 11, 10)
TYPED = [
    # Cell, the type that the version records, and the value.
    ("7", "int64", 7),
    (7, "int64", 7),
    (7.0, "int64", 7),
    ("7.0", "int64", 7),
    (" 7", "int64", 7),
    ("7", "int8", 7),
    ("18446744073709551615", "uint64", 2**64 - 1),
    ("7", "double", 7.0),
    ("0.1", "double", 0.1),
    ("-Infinity", "double", -float("inf")),
    ("0.10", "decimal128(5, 2)", Decimal("0.10")),
    ("007", "string", "007"),
    (7, "string", "7"),
    ("", "string", ""),
    ("007", "dictionary<string>", "007"),
    ("", "dictionary<string>", ""),
    ("", "int64", None),
    (None, "string", None),
    ("True", "bool", True),
    ("1", "bool", True),
    (False, "bool", False),
    ("9/21/2014 11:10:00 AM", "timestamp[ns]", MOMENT),
    ("2014-09-21T11:10:00", "timestamp[ms]", MOMENT),
    ("9/21/2014 12:00:00 AM", "date32[day]", dt.date(2014, 9, 21)),
    ("11:10:00", "time64[us]", dt.time(11, 10)),
    ("5", "null", 5),
]


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """`read(envelope, dataset1=[(name, type)])`: tables by port, and the parameters."""

    def read(inputs: dict[str, tuple[str, bytes]], **schema: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        path = tmp_path / "envelope"
        path.write_bytes(inputs["dataset1"][1])
        tables, parameters = studio_in.read(str(path), LIMITS, Progress(), {port: columns(**kinds) for port, kinds in schema.items()})
        return {one.port: one for one in tables}, parameters

    return read


@pytest.mark.parametrize(("cell", "kind", "value"), TYPED)
def test_a_cell_becomes_the_type_that_the_version_records(read: Any, cell: Any, kind: str, value: Any) -> None:
    tables, _ = read(envelope(input1=table(["a"], [cell])), dataset1={"a": kind})
    one = tables["dataset1"]
    if kind != "null":
        assert type_words.text_of(one.arrow_types["a"]) == kind
    found = one.frame["a"].tolist()[0]
    assert pandas.isna(found) if value is None else found == value


@pytest.mark.parametrize(
    ("cell", "kind", "sentence"),
    [
        ("x", "int64", "Column 'a' of dataset1 is string; expected int64."),
        ("2.5", "int64", "Column 'a' of dataset1 is double; expected int64 (Float value 2.5"),
        ("300", "int8", "Column 'a' of dataset1 is int64; expected int8 (Integer value 300 not in range"),
        ("yes", "bool", "Column 'a' of dataset1 is string; expected bool."),
        ("tomorrow", "timestamp[ns]", "Column 'a' of dataset1 is string; expected timestamp[ns] ("),
        ("x", "list<string>", "Column 'a' of dataset1 is string; expected list<string>."),
    ],
)
def test_what_is_nothing_of_the_kind_is_refused(desk: Desk, cell: str, kind: str, sentence: str) -> None:
    refused = refusal(desk, envelope(input1=table(["a"], [cell])), schema={"dataset1": columns(a=kind)})
    assert refused.reason == "bad_input"
    assert refused.message.startswith(sentence)


def test_missing_and_unknown_columns_are_named(desk: Desk) -> None:
    refused = refusal(
        desk, envelope(input1=table(["size", "count"], ["1", "2"])), schema={"dataset1": columns(size="int64", counts="int64")}
    )
    assert "dataset1 has no column 'counts', which is expected as int64; is 'count' meant for it?" in refused.message


def test_columns_come_in_the_order_of_the_schema(read: Any) -> None:
    tables, _ = read(envelope(input1=table(["b", "a"], ["x", "1"])), dataset1={"a": "int64", "b": "string"})
    assert list(tables["dataset1"].frame.columns) == ["a", "b"]


def test_no_record_at_all_is_the_table_without_a_row(read: Any) -> None:
    for one in ([], table(["a"])):
        tables, _ = read(envelope(input1=one), dataset1={"a": "int64"})
        assert (len(tables["dataset1"].frame), type_words.text_of(tables["dataset1"].arrow_types["a"])) == (0, "int64")


@pytest.mark.parametrize("given_table", [[{}], {"ColumnNames": [], "Values": []}, {"ColumnNames": [], "Values": [[]]}])
def test_a_table_without_the_column_lacks_it(desk: Desk, given_table: Any) -> None:
    refused = refusal(desk, envelope(input1=given_table), schema={"dataset1": columns(a="int64")})
    assert refused.message == "dataset1 has no column 'a', which is expected as int64."


PORTS = [
    # Names of the inputs, and where each lands.
    (["input1", "input2"], {"dataset1": "input1", "dataset2": "input2"}),
    (["input2", "input1"], {"dataset1": "input1", "dataset2": "input2"}),
    (["input2"], {"dataset2": "input2"}),
    (["session", "history"], {"dataset1": "session", "dataset2": "history"}),
    (["input2", "history"], {"dataset1": "input2", "dataset2": "history"}),
    ([], {}),
]


@pytest.mark.parametrize(("given_names", "landed"), PORTS)
def test_inputs_land_by_their_name_or_in_their_order(read: Any, given_names: list[str], landed: dict[str, str]) -> None:
    tables, _ = read(envelope(**{name: table([name], ["1"]) for name in given_names}))
    assert {port: next(iter(one.frame.columns)) for port, one in tables.items()} == landed


def test_an_input_that_is_null_is_not_connected(read: Any) -> None:
    assert list(read(envelope(input1=None, input2=table(["a"], ["1"])))[0]) == ["dataset2"]


@pytest.mark.parametrize("text", ["{}", '{"Inputs": null, "GlobalParameters": null}', '{"GlobalParameters": {}}'])
def test_a_request_may_give_no_table(desk: Desk, text: str) -> None:
    desk.run("import pandas\n\n\ndef azureml_main():\n    return pandas.DataFrame({'a': [1]})\n", inputs=raw(text))
    assert desk.result() == [{"a": 1}]


def test_a_table_that_the_version_expects_has_to_be_there(desk: Desk) -> None:
    refused = refusal(desk, envelope(input2=table(["a"], ["1"])), schema={"dataset1": columns(a="int64")})
    assert refused.message == "The request gives no dataset1: Inputs has 'input2'; expected is 'input1'."


def test_members_stand_in_any_order_and_types_are_passed_over(read: Any) -> None:
    text = '{"GlobalParameters":{"n":1},"Inputs":{"input1":{"Values":[["1"]],"ColumnTypes":["Int32"],"ColumnNames":["a"]}}}'
    tables, parameters = read(raw(text))
    assert (tables["dataset1"].frame["a"].tolist(), parameters) == ([1], {"n": 1})


def test_names_that_repeat_get_a_number(read: Any) -> None:
    tables, _ = read(envelope(input1=table(["a", "a"], ["1", "x"])))
    assert tables["dataset1"].frame.to_dict("list") == {"a": [1], "a (2)": ["x"]}


def test_many_rows_are_read_in_parts(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner("json_rows"), "BATCH_ROWS", 3)
    monkeypatch.setattr(runner("json_in"), "BATCH_ROWS", 3)
    for one in (table(["n"], *[[str(number)] for number in range(10)]), [{"n": str(number)} for number in range(10)]):
        assert read(envelope(input1=one))[0]["dataset1"].frame["n"].tolist() == list(range(10))


REFUSED = [
    ("", "The request is an empty file (0 bytes)."),
    ("[]", "The request is an array (line 1, column 1); expected an object."),
    ('{"Inputs": 1}', "Inputs is a number (line 1, column 12); expected an object."),
    ('{"inputs": {}}', "The request has a member 'inputs' (line 1, column 12); expected Inputs and GlobalParameters."),
    ('{"Inputs": {}, "Inputs": {}}', "The request has the member 'Inputs' more than once (line 1, column 16)."),
    ('{"GlobalParameters": []}', "GlobalParameters of the request is an array (line 1, column 22); expected an object."),
    ('{"GlobalParameters": {"a": 1, "a": 2}}', "GlobalParameters of The request (line 1, column 22) is ambiguous"),
    ('{"Inputs": {"input1": 5}}', "Input 'input1' is a number (line 1, column 23); expected an object of ColumnNames and Values, or"),
    ('{"Inputs": {"input1": {"ConnectionString": "x"}}}', "Input 'input1' has a member 'ConnectionString' (line 1, column 44); expected an object of"),
    ('{"Inputs": {"input1": {"ColumnNames": ["a"]}}}', "Input 'input1' (line 1, column 23) has no Values; expected an object of ColumnNames and"),
    ('{"Inputs": {"input1": {"Values": [["1"]]}}}', "Input 'input1' (line 1, column 23) has no ColumnNames"),
    ('{"Inputs": {"input1": {"ColumnNames": [1], "Values": []}}}', "ColumnNames of input 'input1' (line 1, column 39) is an array; expected an array of"),
    ('{"Inputs": {"input1": {"ColumnNames": "a", "Values": []}}}', "ColumnNames of input 'input1' (line 1, column 39) is a text"),
    ('{"Inputs": {"Table": {"ColumnNames": ["a"], "Values": "1"}}}', "Values of input 'Table' is a text (line 1, column 55); expected an array of rows."),
    ('{"Inputs": {"input1": {"ColumnNames": ["a"], "Values": [["1", "2"]]}}}', "Row 1 of dataset1 (line 1, column 57) has 2 values; expected an array of 1"),
    ('{"Inputs": {"input1": {"ColumnNames": ["a"], "Values": ["1"]}}}', "Row 1 of dataset1 (line 1, column 57) is no array"),
    ('{"Inputs": {"input1": [["1"]]}}', "Record 1 of dataset1 (line 1, column 24) is an array; expected an object."),
    ('{"Inputs": {"input1": [{"a": [1]}]}}', "Record 1 of dataset1 has [1] in column 'a', which does not fit: expected a text, a number, true, false"),
    ('{"Inputs": {"a": [], "b": [], "c": []}}', "The request has 3 inputs: Inputs has 'a', 'b', 'c'; expected at most 2."),
    ('{"Inputs": {"input1": [{"a": 1}]}} x', "The request is not readable JSON: Something follows after the end at line 1, column 36"),
    ('{"Inputs": {"input1": [{"a": 1}]', "The request is not readable JSON: Expecting ',' at line 1, column 33, found the end of the file."),
    ('{"Inputs" {}}', "The request is not readable JSON: Expecting ':' at line 1, column 11"),
    ("{1: 2}", "The request is not readable JSON: Expecting a name in double quotes at line 1, column 2"),
    ('{"Inputs": {"input1": ' + '[{"a":' * 5000, "nested too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_such_request_is_refused_with_its_place(desk: Desk, text: str, sentence: str) -> None:
    refused = refusal(desk, raw(text))
    assert refused.reason == "bad_input"
    assert sentence in refused.message


def test_a_table_that_needs_more_memory_than_there_is_is_refused(desk: Desk) -> None:
    records = [{str(number): ""} for number in range(3_000)]
    refused = refusal(desk, envelope(input1=records), limits=LIMITS | {"memory_bytes": 10**6})
    assert "dataset1 would need more than 1,000,000 bytes of memory" in refused.message


GIVEN = [
    # What the client writes, and what the script gets.
    ({}, ["int 1", "float 0.5", "str w", "bool False", "int 3", "NoneType None"]),
    ({"whole": "5"}, ["int 5", "float 0.5", "str w", "bool False", "int 3", "NoneType None"]),
    ({"whole": 5, "part": "1e-3", "word": "5", "flag": "True", "bare": " 7", "free": "x"}, ["int 5", "float 0.001", "str 5", "bool True", "int 7", "str x"]),
    ({"whole": "", "part": None, "word": "", "flag": "", "bare": ""}, ["int 1", "float 0.5", "str ", "bool False", "int 3", "NoneType None"]),
    ({"part": "2", "flag": False, "free": 1.5}, ["int 1", "float 2.0", "str w", "bool False", "int 3", "float 1.5"]),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "values"), GIVEN)
def test_global_parameters_are_read_by_the_entry_points_types(desk: Desk, parameters: dict[str, Any], values: list[str]) -> None:
    desk.run(SHOW, inputs=envelope(parameters))
    assert [f"{row['kind']} {row['text']}" for row in desk.result()] == values


def test_what_the_version_gives_is_the_default_and_says_the_type_where_nothing_else_does(desk: Desk) -> None:
    for default, text, shown in ((1.5, "2", "2.0"), (1, "2", "2"), (1, "2.5", "2.5"), (True, "false", "False"), ("w", "2", "2")):
        desk.run(SHOW, inputs=envelope({"free": text}), parameters={"free": default, "whole": 9})
        assert [row["text"] for row in desk.result()] == ["9", "0.5", "w", "False", "3", shown]


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [("float", "2", "float 2.0"), ("int", "2", "int 2"), ("bool", "True", "bool True"), ("str", "2", "str 2"), (None, "2", "str 2")],
)
def test_the_type_that_the_publisher_says_holds_where_the_function_says_none(desk: Desk, kind: str | None, text: str, shown: str) -> None:
    desk.run(SHOW, inputs=envelope({"free": text, "whole": "4"}), parameter_types={"free": kind, "whole": "str"})
    rows = [f"{row['kind']} {row['text']}" for row in desk.result()]
    assert (rows[-1], rows[0]) == (shown, "int 4")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"whole": "1.5"}, "The parameter 'whole' must be an int; the text \"1.5\" is not a whole number."),
        ({"whole": "1_000"}, "The parameter 'whole' must be an int; the text \"1_000\" is not a whole number."),
        ({"part": "many"}, "The parameter 'part' must be a float; the text \"many\" is not a number."),
        ({"part": "nan"}, "The parameter 'part' must be a float; the text \"nan\" is not a number."),
        ({"flag": "yes"}, "The parameter 'flag' must be a bool; the text \"yes\" is not true or false."),
        ({"bare": "x"}, "The parameter 'bare' must be an int; the text \"x\" is not a whole number."),
        ({"word": 5}, "The parameter 'word' must be a str; the job gives 5, an int."),
        ({"wrod": "x"}, "azureml_main takes no parameter called 'wrod'; did you mean 'word'?"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_refused(desk: Desk, parameters: dict[str, Any], sentence: str) -> None:
    refused = refusal(desk, envelope(parameters), SHOW)
    assert (refused.reason, refused.message) == ("bad_parameters", sentence)


ZONED = pa.timestamp("us", "Europe/Berlin")
WRITTEN = [
    # Type, value, Studio's name of the type, and the text.
    (pa.bool_(), True, "Boolean", "True"),
    (pa.int8(), -1, "Int32", "-1"),
    (pa.uint16(), 1, "Int32", "1"),
    (pa.int32(), 1, "Int32", "1"),
    (pa.uint32(), 1, "Int64", "1"),
    (pa.int64(), 2**53 + 1, "Int64", "9007199254740993"),
    (pa.uint64(), 2**64 - 1, "Double", "18446744073709551615"),
    (pa.float64(), 0.1, "Double", "0.1"),
    (pa.float64(), 2.0, "Double", "2"),
    (pa.float64(), float("inf"), "Double", "Infinity"),
    (pa.float64(), -float("inf"), "Double", "-Infinity"),
    (pa.float64(), float("nan"), "Double", None),
    (pa.float32(), 0.5, "Double", "0.5"),
    (pa.decimal128(5, 2), Decimal("1.10"), "Double", "1.10"),
    (pa.string(), "wörld", "String", "wörld"),
    (pa.string(), None, "String", None),
    (pa.dictionary(pa.int32(), pa.string()), "x", "String", "x"),
    (pa.dictionary(pa.int32(), pa.int64()), 7, "Int64", "7"),
    (pa.timestamp("us"), MOMENT, "DateTime", "9/21/2014 11:10:00 AM"),
    (pa.timestamp("ns"), MOMENT.replace(month=10, day=1, hour=0), "DateTime", "10/1/2014 12:10:00 AM"),
    (pa.timestamp("us"), MOMENT.replace(microsecond=250_000), "DateTime", "2014-09-21T11:10:00.250000"),
    (ZONED, MOMENT.replace(tzinfo=dt.UTC), "DateTime", "2014-09-21T13:10:00.000000+02:00"),
    (pa.date32(), dt.date(2014, 9, 1), "DateTime", "9/1/2014 12:00:00 AM"),
    (pa.duration("s"), dt.timedelta(seconds=5), "Int64", "5"),
    (pa.time64("us"), dt.time(1, 2, 3), "String", "01:02:03.000000"),
    (pa.binary(), b"\xff", "String", "/w=="),
    (pa.list_(pa.int64()), [1, None], "String", "[1, null]"),
    (pa.struct([("x", pa.string())]), {"x": "y"}, "String", '{"x": "y"}'),
    (pa.null(), None, "String", None),
]


def written(form: str, one: pa.Table, tmp_path: Path) -> Any:
    studio_out.WRITERS[form](one, str(tmp_path / "out"), Progress())
    return json.loads((tmp_path / "out").read_bytes())


@pytest.mark.parametrize(("kind", "value", "name", "text"), WRITTEN)
def test_every_cell_is_written_as_text_and_every_type_has_a_name(
    kind: pa.DataType, value: Any, name: str, text: str, tmp_path: Path
) -> None:
    one = pa.table({"a": pa.array([value], kind)})
    assert written("studio-types", one, tmp_path) == {"ColumnNames": ["a"], "ColumnTypes": [name], "Values": [[text]]}
    assert written("studio", one, tmp_path) == {"ColumnNames": ["a"], "Values": [[text]]}
    assert written("studio-records", one, tmp_path) == [{"a": text}]


def test_a_table_without_rows_or_columns_is_written_too(tmp_path: Path) -> None:
    assert written("studio-types", pa.table({"a": pa.array([], pa.int64())}), tmp_path)["Values"] == []
    assert written("studio-types", pa.table({}), tmp_path) == {"ColumnNames": [], "ColumnTypes": [], "Values": []}
    assert written("studio-records", pa.table({}), tmp_path) == []


def test_a_column_of_moments_is_written_in_one_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner("json_out"), "BATCH_ROWS", 1)
    one = pa.table({"a": pa.array([MOMENT, MOMENT.replace(microsecond=1)], pa.timestamp("us"))})
    assert written("studio", one, tmp_path)["Values"] == [["2014-09-21T11:10:00.000000"], ["2014-09-21T11:10:00.000001"]]


def test_an_answer_is_asked_for_by_its_form(desk: Desk) -> None:
    desk.run(SAME, inputs=envelope(input1=table(["a", "b"], ["1", "x"], ["2", None])), answer="studio-types")
    assert json.loads(desk.raw()) == {"ColumnNames": ["a", "b"], "ColumnTypes": ["Int64", "String"], "Values": [["1", "x"], ["2", None]]}


CELLS = st.one_of(st.none(), st.text(max_size=5), st.integers(-(2**63), 2**63 - 1), st.booleans())


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=4))
def test_whatever_the_cells_are_the_rows_are_as_many(rows: list[list[Any]]) -> None:
    texts = [[None if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in row] for row in rows]
    one = pa.table(
        {str(at): pa.array([runner("rows_in").without_lone_surrogates(row[at]) for row in texts], pa.string()) for at in range(3)}
    )
    typed = text_columns.typed(one, {"0": "string", "1": "int64"})
    assert (typed.num_rows, typed.column_names) == (len(rows), ["0", "1", "2"])
    assert typed.column("0").to_pylist() == one.column("0").to_pylist()
