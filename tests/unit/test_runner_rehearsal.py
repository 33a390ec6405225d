"""What the child tries before its job is known goes the whole way of a table, and leaves nothing. No container."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.loading import runner

rehearsal = runner("rehearsal")


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_it_reads_runs_and_writes_a_table_and_leaves_no_descriptor(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    describe = rehearsal.tables_out.describe
    monkeypatch.setattr(rehearsal.tables_out, "describe", lambda table: seen.append(describe(table)))
    before = descriptors()
    rehearsal.rehearse()
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []
    assert [len(each["columns"]) for each in seen] == [8, 8]
    assert seen[0]["columns"][-1] == {"name": "more", "type": "double", "nullable": False}


def test_a_way_that_is_broken_is_an_error(monkeypatch):
    def broken(*_arguments):
        raise OSError("no way")

    monkeypatch.setattr(rehearsal.tables_out, "write_arrow_file", broken)
    before = descriptors()
    with pytest.raises(OSError, match="no way"):
        rehearsal.rehearse()
    assert descriptors() == before
