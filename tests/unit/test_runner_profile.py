"""Histograms and cells of a profile. No container; whole profiles are in tests/contract/test_profile.py."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest

from tests.contract.loading import runner

histogram = runner("histogram")
kinds = runner("kinds")
profile = runner("profile")


class Progress:
    """Stands in for the child's."""

    def part(self, name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def note(self, kind: str, text: str, **facts: object) -> None: ...


def of(values: list, kind: pa.DataType) -> dict | None:
    return histogram.of(pa.chunked_array([pa.array(values, kind)]))


@pytest.mark.parametrize(
    ("values", "kind", "edges", "counts"),
    [
        ([1, 1, 3], pa.int8(), [1, 2, 3, 4], [2, 0, 1]),
        ([5, 5], pa.int64(), [5, 5], [2]),
        ([2**62, 2**62 + 1, 2**62 + 1], pa.int64(), [float(2**62)] * 3, [1, 2]),
        ([0, 10, 20, 100], pa.int64(), list(range(0, 101, 5)), [1, 0, 1, 0, 1, *[0] * 14, 1]),
        ([0.0, 0.5, 1.0, float("inf")], pa.float64(), None, [1, *[0] * 9, 1, *[0] * 8, 1]),
        ([0, 7, 40], pa.date32(), None, [1, 0, 0, 1, *[0] * 15, 1]),
        ([-(2**63), 2**63 - 1], pa.int64(), None, [1, *[0] * 18, 1]),
        ([0, 2**64 - 1], pa.uint64(), None, [1, *[0] * 18, 1]),
        ([-1.7e308, 1.7e308], pa.float64(), None, [1, *[0] * 18, 1]),
    ],
)
def test_a_value_lies_in_the_bin_that_begins_with_it(values, kind, edges, counts):
    found = of(values, kind)
    assert found["counts"] == counts
    assert len(found["edges"]) == len(counts) + 1
    assert edges is None or found["edges"] == edges


def test_edges_of_dates_are_dates():
    assert of([0, 40], pa.date32())["edges"][:2] == ["1970-01-01", "1970-01-03"]


@pytest.mark.parametrize("kind", [pa.string(), pa.bool_(), pa.list_(pa.int8()), pa.null()])
def test_other_types_and_nothing_have_no_histogram(kind):
    assert of([None], kind) is None
    assert of([], pa.float64()) is None


def test_the_most_frequent_come_first_and_first_seen_among_equals():
    found = profile.of_table(pa.table({"s": ["b", "a", "c", "a", None, "c"]}))["columns"][0]
    assert (found["top"], found["distinct"]) == ([["a", 2], ["c", 2], ["b", 1]], 3)


def test_minus_zero_is_zero():
    assert profile.of_table(pa.table({"f": [0.0, -0.0]}))["columns"][0]["distinct"] == 1


def test_a_long_column_is_counted_in_parts(monkeypatch):
    monkeypatch.setattr(profile, "SLICE_ROWS", 7)
    found = profile.of_table(pa.table({"s": ["x", "y", "z"] * 10}))["columns"][0]
    assert (found["distinct"], found["top"]) == (3, [["x", 10], ["y", 10], ["z", 10]])


def test_a_table_that_arrow_cannot_profile_is_refused_and_no_fault_of_the_runner_s(monkeypatch, tmp_path):
    def fails(*_: object) -> None:
        raise pa.ArrowInvalid("offset overflow")

    (tmp_path / "dataset1").write_bytes(b"a\n1\n")
    monkeypatch.setattr(kinds.places, "IN", str(tmp_path))
    monkeypatch.setattr(kinds.profile, "write", fails)
    limits = {"memory_bytes": 2**30, "output_bytes": 2**20}
    with pytest.raises(runner("refused").Refused, match="as a profile: offset overflow"):
        kinds.describe_columns({"limits": limits, "inputs": {"dataset1": {"format": "csv"}}}, Progress(), frozenset())


def test_the_document_has_a_bound_however_hard_its_texts_are_to_write():
    texts = pa.array([f"{chr(1) * 300}{n}" for n in range(60)]).dictionary_encode()
    found = profile.of_table(pa.table([texts] * 1_000, names=[f"{chr(1) * 250}{n:04}" for n in range(1_000)]))
    assert len(profile.encode(found)) <= profile.DOCUMENT_BYTES
