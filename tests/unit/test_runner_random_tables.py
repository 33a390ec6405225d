"""Rule 10 with random tables, in this process: in as Arrow, out as Arrow, equal up to physical width. And through every format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from tests.contract.loading import runner
from tests.contract.random_tables import differences, file_bytes, tables

formats = runner("formats")
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
