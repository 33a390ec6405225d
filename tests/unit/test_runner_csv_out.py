"""Writing CSV: every table that can be read is written sensibly, or refused by the name of its column. No container."""

from __future__ import annotations

import contextlib
import errno
import json

import pyarrow as pa
import pytest

from tests.contract.loading import runner

formats = runner("formats")
kinds = runner("kinds")
places = runner("places")
tables_out = runner("tables_out")
Refused = runner("refused").Refused
LIMITS = {"memory_bytes": 10**9, "output_bytes": 10**8}
REQUEST = {"kind": "convert", "target_format": "csv", "inputs": {"dataset1": {"format": "arrow"}}, "limits": LIMITS}
FAR_AWAY = 2**31 - 1


class Progress:
    """Stands in for the child's."""

    def __init__(self):
        self.notes = []
        self.results = {}

    def part(self, _name):
        return contextlib.nullcontext()

    def note(self, kind, text, **facts):
        self.notes.append((kind, text))


@pytest.fixture
def convert(tmp_path, monkeypatch):
    """`convert(column, …)`: what the errand writes for a table `x` of that column, by the way of its file; and the notes."""
    monkeypatch.setattr(places, "IN", str(tmp_path))
    monkeypatch.setattr(places, "RESULT", str(tmp_path / "result"))

    def convert(column: pa.Array, target: str = "csv") -> tuple[str, list]:
        table = pa.table({"ok": pa.nulls(len(column)), "x": column})
        with pa.ipc.new_file(str(tmp_path / "dataset1"), table.schema) as writer:
            writer.write_table(table)
        progress = Progress()
        kinds.convert(REQUEST | {"target_format": target}, progress, frozenset())
        lines = (tmp_path / "result").read_text().split("\n")[1:-1]
        return [line.removeprefix(",") for line in lines], progress.notes

    return convert


@pytest.mark.parametrize("zone", ["Mars/X", "/etc", "America", "\x07", "../UTC"])
def test_an_unknown_zone_is_written_in_utc_and_said(convert, zone):
    lines, notes = convert(pa.array([0, None], pa.int64()).cast(pa.timestamp("us", zone)))
    assert lines == ["1970-01-01 00:00:00.000000Z", ""]
    assert [(kind, "is written in UTC" in text) for kind, text in notes] == [("dtype_change", True)]


def test_known_zones_stay(convert):
    lines, notes = convert(pa.array([0], pa.int64()).cast(pa.timestamp("s", "Europe/Berlin")))
    assert (lines, notes) == (["1970-01-01 01:00:00+0100"], [])


def unquoted(line: str) -> object:
    return json.loads(line.strip('"').replace('""', '"'))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([[1], [2, 3]]), [[1], [2, 3]]),
        (pa.array([{"a": 1}, {"a": 2}]), [{"a": 1}, {"a": 2}]),
        (pa.array([pa.MonthDayNano([1, -2, 3])] * 2), [[1, -2, 3]] * 2),
    ],
)
@pytest.mark.parametrize("as_dictionary", [False, True])
def test_values_of_many_parts_are_json_text(convert, values, expected, as_dictionary):
    column = (
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), values)
        if as_dictionary
        else pa.concat_arrays([values, pa.nulls(1, values.type)])
    )
    lines, _ = convert(column)
    assert [unquoted(line) for line in lines[:2]] == expected
    assert lines[2] == ""


def test_a_dictionary_of_unknown_zones(convert):
    values = pa.array([0], pa.int64()).cast(pa.timestamp("s", "Mars/X"))
    lines, notes = convert(pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), values))
    assert (lines, len(notes)) == (["1970-01-01 00:00:00Z", ""], 1)


TWICE = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([[0]], pa.list_(pa.timestamp("us", "Mars/X"))), ["1970-01-01T00:00:00.000000Z"]),
        (pa.array([[FAR_AWAY]], pa.list_(pa.int32())).cast(pa.list_(pa.date32())), [f"<value out of range: {FAR_AWAY}>"]),
        (pa.array([[2**62]], pa.list_(pa.int64())).cast(pa.list_(pa.duration("s"))), [2**62]),
        (pa.array([{"b": b"\xff", "f": float("nan")}]), {"b": "ff", "f": None}),
    ],
    ids=lambda column: str(getattr(column, "type", "")),
)
def test_values_inside_values_are_written_as_in_json(convert, column, expected):
    lines, _ = convert(column)
    assert unquoted(lines[0]) == expected


@pytest.mark.parametrize(
    "column",
    [pa.array(["a", "x\0y"]), pa.array(["\0"]).dictionary_encode(), TWICE, pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), TWICE)],
    ids=lambda column: str(column.type),
)
def test_what_has_no_text_is_refused_by_column_and_type(convert, column):
    with pytest.raises(Refused) as refused:
        convert(column)
    assert refused.value.reason == "bad_input"
    assert refused.value.message.startswith("Column 'x' (")
    assert str(column.type)[:50] in refused.value.message
    assert " cannot be written as CSV: " in refused.value.message


def test_a_column_that_only_the_writer_refuses_is_found(convert, monkeypatch):
    monkeypatch.setattr(runner("csv_out"), "is_known_zone", lambda _kind: True)
    with pytest.raises(Refused, match=r"^Column 'x' \(timestamp\[s, tz=Mars/X\]\) cannot be written as CSV: Cannot locate"):
        convert(pa.array([0], pa.int64()).cast(pa.timestamp("s", "Mars/X")))


@pytest.mark.parametrize("target", ["arrow", "arrow-stream", "csv"])
def test_no_writer_makes_a_table_the_services_fault(convert, monkeypatch, target):
    def broken(*_):
        raise pa.ArrowInvalid("offset overflow")

    monkeypatch.setitem(formats.WRITERS, target, broken)
    with pytest.raises(Refused, match=f"dataset1 cannot be written as {target}: offset overflow") as refused:
        convert(pa.array([1]), target)
    assert refused.value.reason == "bad_input"


@pytest.mark.parametrize(
    ("error", "found"),
    [(OSError(errno.ENOSPC, ""), "sandbox_error"), (OSError(errno.EFBIG, ""), "output_too_large")],
)
def test_a_full_disk_is_not_the_tables_doing(convert, monkeypatch, error, found):
    def broken(*_):
        raise error

    monkeypatch.setattr(runner("csv_out").csv, "write_csv", broken)
    with pytest.raises(Refused) as refused:
        convert(pa.array([1]))
    assert refused.value.reason == found


def test_little_memory_stays_little_memory(convert, monkeypatch):
    def broken(*_):
        raise pa.ArrowMemoryError("malloc")

    monkeypatch.setattr(runner("csv_out"), "as_cells", broken)
    with pytest.raises(MemoryError):
        convert(pa.array([1]))
