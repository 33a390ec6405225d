"""Many results as one table. No container."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.contract.loading import runner

join = runner("join")
places = runner("places")
refused = runner("refused")

LIMITS = {"memory_bytes": 2**30, "output_bytes": 2**24}


class Progress:
    """Stands in for the child's."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}

    def part(self, name: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def note(self, kind: str, text: str, **facts: object) -> None: ...


def joined(
    place: Path, monkeypatch: pytest.MonkeyPatch, tables: list[pa.Table], *, packed: bool = False, **request: Any
) -> tuple[pa.Table, dict[str, Any]]:
    """The table as it is written, and what is said of it. `packed`: all lie in one file, as the results of a chunk do."""
    monkeypatch.setattr(places, "IN", str(place))
    items, pack = [], b""
    for number, table in enumerate(tables):
        with pa.BufferOutputStream() as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue().to_pybytes()
        one: dict[str, Any] = {"number": number, "name": f"{number}.csv", "file": "pack" if packed else f"items{number}"}
        if packed:
            one |= {"offset": len(pack), "bytes": len(data)}
            pack += data + bytes(-len(data) % 64)
        else:
            (place / one["file"]).write_bytes(data)
        items.append(one)
    if packed:
        (place / "pack").write_bytes(pack)
    progress = Progress()
    join.write({"limits": LIMITS, "items": items, **request}, str(place / "out"), progress)
    return pa.ipc.open_file(str(place / "out")).read_all(), progress.results["result"]


@pytest.mark.parametrize("packed", [False, True])
def test_rows_stand_behind_the_number_and_the_name_of_their_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    tables = [pa.table({"a": [1, 2]}), pa.table({"a": pa.array([], pa.int64())}), pa.table({"a": [3]})]
    table, said = joined(tmp_path, monkeypatch, tables, packed=packed)
    assert table.to_pydict() == {"item": [0, 0, 2], "item_name": ["0.csv", "0.csv", "2.csv"], "a": [1, 2, 3]}
    assert (said["rows"], [column["name"] for column in said["columns"]]) == (3, ["item", "item_name", "a"])


def test_a_column_that_some_do_not_have_is_missing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, said = joined(tmp_path, monkeypatch, [pa.table({"a": [1]}), pa.table({"b": ["x"]}), pa.table({"b": ["y"], "a": [2]})])
    assert table.select(["a", "b"]).to_pydict() == {"a": [1, None, 2], "b": [None, "x", "y"]}
    assert [column["nullable"] for column in said["columns"]] == [False, False, True, True]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.array([1], pa.int8()), pa.array([300], pa.int64()), pa.int64()),
        (pa.array([1], pa.int64()), pa.array([0.5], pa.float64()), pa.float64()),
        (pa.array([None], pa.null()), pa.array(["x"], pa.string()), pa.string()),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode(), pa.string()),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]), pa.string()),
        (pa.array([datetime.datetime(2024, 1, 1)], pa.timestamp("s")), pa.array([5], pa.timestamp("us")), pa.timestamp("us")),
    ],
)
def test_types_become_the_one_that_holds_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: pa.Array, other: pa.Array, both: pa.DataType
) -> None:
    table, _ = joined(tmp_path, monkeypatch, [pa.table({"a": one}), pa.table({"a": other})])
    assert table.schema.field("a").type == both
    assert table.column("a").to_pylist() == [*one.to_pylist(), *other.to_pylist()]


def test_types_that_do_not_agree_are_told_with_the_column_and_both_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(refused.Refused) as told:
        joined(tmp_path, monkeypatch, [pa.table({"a": [1]}), pa.table({"a": [2]}), pa.table({"a": ["x"]})])
    assert str(told.value) == "Column 'a' is string in item 2 ('2.csv') and int64 in item 0 ('0.csv'); expected types that agree."


def test_a_number_that_the_common_type_does_not_hold_is_not_written_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(refused.Refused, match="Column 'a' of item 0"):
        joined(tmp_path, monkeypatch, [pa.table({"a": [2**53 + 1]}), pa.table({"a": [0.5]})])


def test_a_column_that_is_called_like_one_of_ours_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = joined(tmp_path, monkeypatch, [pa.table({"item": ["x"], "item (2)": ["y"]})])
    assert table.to_pydict() == {"item": [0], "item_name": ["0.csv"], "item (3)": ["x"], "item (2)": ["y"]}


def test_more_results_than_are_open_at_once_are_joined_in_few_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = joined(tmp_path, monkeypatch, [pa.table({"a": [n]}) for n in range(2 * join.GATHERED + 1)], packed=True)
    assert table.column("a").to_pylist() == table.column("item").to_pylist() == list(range(201))
    assert table.column("a").num_chunks == 3


def test_what_is_larger_than_the_limit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "output_bytes", 10_000)
    with pytest.raises(refused.Refused, match="larger than 10,000 bytes"):
        joined(tmp_path, monkeypatch, [pa.table({"a": list(range(5_000))})])


def test_a_result_that_has_just_expired_is_no_failure_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(refused.Refused, match="not there any more"):
        joined(tmp_path, monkeypatch, [pa.table({"a": [1]})], missing=1)


def test_a_result_that_is_no_table_is_told_of_by_its_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "IN", str(tmp_path))
    (tmp_path / "items0").write_bytes(b"ARROW1 and nothing else that anybody could read as a table")
    item = {"number": 0, "name": "", "file": "items0"}
    with pytest.raises(refused.Refused, match="item 0 is a"):
        join.write({"limits": LIMITS, "items": [item]}, str(tmp_path / "out"), Progress())
