"""Rule 10 with random tables, in this process: in as Arrow, out as Arrow, equal up to physical width. And through every format."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings

from tests.contract.loading import runner
from tests.contract.random_tables import differences, file_bytes, tables, values

formats = runner("formats")
profile = runner("profile")
Refused = runner("refused").Refused
tables_in = runner("tables_in")
tables_out = runner("tables_out")
LIMITS = {"memory_bytes": 10**9}


class Notes:
    """Stands in for the child's progress."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    def note(self, kind: str, text: str, **facts: object) -> None:
        self.kinds[kind] += 1


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=tables())
def test_a_random_table_comes_back_as_it_was(directory: Path, sent: pa.Table) -> None:
    path, notes = directory / "dataset1", Notes()
    path.write_bytes(file_bytes(sent))
    source = tables_in.from_arrow("dataset1", formats.read("dataset1", str(path), "arrow", LIMITS, notes))
    frame = source.take_frame()
    assert (list(frame.index), frame.index.dtype) == (list(range(sent.num_rows)), "int64")
    got = tables_out.to_table(frame, "result", [source], notes)
    assert differences(sent, got) == []
    assert len(set(got.column_names)) == sent.num_columns
    repeats = sent.num_columns - len(set(sent.column_names))
    assert notes.kinds == Counter({"rename": repeats} if repeats else {})


# Types that JSON holds; all others come back as texts or wider numbers.
HELD_BY_JSON = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string, pa.types.is_null)


def written_and_read(table: pa.Table, form: str, directory: Path) -> pa.Table:
    path = directory / form
    formats.WRITERS[form](table, str(path), Notes())
    return formats.read("dataset1", str(path), form, LIMITS, Notes())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=tables())
def test_what_was_written_as_parquet_reads_back(directory: Path, sent: pa.Table) -> None:
    sent = sent.rename_columns([str(number) for number in range(sent.num_columns)])
    # Parquet has no seconds, and milliseconds reach less far.
    assume(not any(pa.types.is_timestamp(kind) and kind.unit == "s" and kind.tz is None for kind in sent.schema.types))
    got = written_and_read(sent, "parquet", directory)
    for before, after in zip(sent.columns, got.columns, strict=True):
        if pa.types.is_timestamp(before.type):
            after = after.cast(before.type)
        if pa.types.is_dictionary(before.type) and not pa.types.is_dictionary(after.type):
            assert not pa.types.is_string(before.type.value_type)
        assert values(before) == values(after)


@pytest.mark.parametrize("form", ["json", "ndjson"])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=tables())
def test_what_was_written_as_json_is_json_and_reads_back(directory: Path, form: str, sent: pa.Table) -> None:
    sent = sent.rename_columns([str(number) for number in range(sent.num_columns)])
    try:
        got = written_and_read(sent, form, directory)
    except Refused as refused:
        # Written it is; but inside a list or struct an integer is read as int64.
        got, message = None, refused.message
    text = (directory / form).read_text(encoding="utf-8")
    documents = [line for line in text.split("\n") if line] if form == "ndjson" else [text]
    parsed = [json.loads(document, parse_constant=no_constant) for document in documents]
    records = parsed if form == "ndjson" else parsed[0]
    assert [list(record) for record in records] == [sent.column_names] * sent.num_rows
    if got is None:
        assert "an integer inside it is too large for int64" in message
    elif sent.num_rows:
        assert (got.num_rows, got.column_names) == (sent.num_rows, sent.column_names)
        for before, after in zip(sent.columns, got.columns, strict=True):
            if any(is_kind(before.type) for is_kind in HELD_BY_JSON):
                assert values(before) == values(after)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=tables())
def test_what_was_written_as_csv_reads_back(directory: Path, sent: pa.Table) -> None:
    # A first column without gaps: a line of one missing cell is an empty line, which readers skip.
    sent = sent.rename_columns([f"c{number}" for number in range(sent.num_columns)])
    sent = sent.add_column(0, "n", pa.array(range(sent.num_rows), pa.int64()))
    try:
        got = written_and_read(sent, "csv", directory)
    except Refused as refused:
        message = refused.message
        got = None
    if got is None:
        assert "holds a zero byte" in message
        return
    assert (got.num_rows, got.column_names) == (sent.num_rows, sent.column_names)
    for before, after in zip(sent.columns, got.columns, strict=True):
        if pa.types.is_integer(before.type) and after.type == pa.int64():
            assert values(before) == values(after)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=tables())
def test_every_table_has_a_profile_that_is_json_and_counts_right(sent: pa.Table) -> None:
    sent = sent.rename_columns([str(number) for number in range(sent.num_columns)])
    found = json.loads(profile.encode(profile.of_table(sent)), parse_constant=no_constant)
    assert (found["rows"], found["head"]["columns"], len(found["head"]["rows"])) == (sent.num_rows, sent.column_names, sent.num_rows)
    for column, about in zip(sent.columns, found["columns"], strict=True):
        present = [value for value in values(column) if value is not None]
        assert (about["count"], about["nulls"]) == (len(present), sent.num_rows - len(present))
        if about["distinct_exact"]:
            assert about["distinct"] == len(set(map(str, present)) if not pa.types.is_floating(column.type) else set(present))
        if about["histogram"]:
            assert sum(about["histogram"]["counts"]) == len([one for one in present if not (isinstance(one, float) and math.isinf(one))])
            assert len(about["histogram"]["edges"]) == len(about["histogram"]["counts"]) + 1


def no_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")
