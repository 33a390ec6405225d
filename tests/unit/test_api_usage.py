"""/v1/usage: pages of JSON, and a table that another program writes."""

from __future__ import annotations

import ast
import io
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from api import usage_tables
from api.usage import DAYS_DEFAULT
from api.usage_tables import WRITER, arrow_of
from fumehood import usage_writer
from fumehood.database import Database
from fumehood.errors import Unavailable
from fumehood.job import Lane
from fumehood.outcome import Reason
from fumehood.usage import Amount, Work, count
from fumehood.usage_store import AMOUNTS, DAYS_MAX, Row
from tests.unit.front_desk import ARROW, Counter, Made, Stand, pointers, slug

STREAM = "application/vnd.apache.arrow.stream"
READ: dict[str, Callable[[Any], Any]] = {ARROW: pyarrow.ipc.open_file, STREAM: pyarrow.ipc.open_stream}
DAY_SECONDS = 86_400


def today() -> date:
    return datetime.now(UTC).date()


def of(
    stand: Stand, us: Counter, *, days_ago: int = 0, lane: Lane = Lane.JOBS, labels: dict[str, str] | None = None, **amount: Any
) -> None:
    """As if a job had ended then."""
    tenant = stand.store.tenant_of_key(us.headers["Authorization"].removeprefix("Bearer "))
    assert tenant is not None
    used, then = Amount(**(amount or {"succeeded": 1})), time.time() - days_ago * DAY_SECONDS
    database = Database(stand.settings.store_url)
    with database.writing() as connection:
        count(connection, tenant.id, lane, labels or {}, used, now=then)
    database.close()


def items(us: Counter, query: str = "") -> list[dict[str, Any]]:
    answer = us.get(f"/v1/usage{query}")
    assert (answer.status_code, answer.json()["next"]) == (200, None), answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def table(us: Counter, query: str = "", media: str = ARROW) -> pyarrow.Table:
    answer = us.get(f"/v1/usage{query}", headers={"Accept": media})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media), answer.text
    return READ[media](io.BytesIO(answer.content)).read_all()


def test_what_was_used_is_told_by_day_and_kind_of_work(stand: Stand, us: Counter) -> None:
    us.job(dataset1=us.dataset(), labels={"team": "blue"})
    stand.worker.work()
    us.job()
    stand.worker.make = lambda *_: Made(Reason.SCRIPT_ERROR, "no")
    stand.worker.work()
    page = us.get("/v1/usage").json()
    conversions, jobs = page.pop("items")
    begin = today() - timedelta(days=DAYS_DEFAULT - 1)
    assert page == {"from": begin.isoformat(), "to": today().isoformat(), "by": "day", "label": None, "next": None}
    assert (jobs["day"], jobs["label"], jobs["work"]) == (today().isoformat(), None, "jobs")
    assert [jobs[name] for name in ("jobs", "succeeded", "failed", "cancelled", "cached")] == [2, 1, 1, 0, 0]
    assert (jobs["cpu_seconds"], jobs["wall_seconds"], jobs["bytes_out"]) == (0.5, 1.0, 10)
    assert jobs["gb_seconds"] == pytest.approx(2 * 1e-6 * 0.5)
    assert (conversions["work"], conversions["jobs"]) == ("conversions", 1)
    assert [(row["label"], row["jobs"]) for row in items(us, "?label=team")] == [("blue", 1)]
    assert [(row["day"], row["jobs"]) for row in items(us, "?by=period")] == [(None, 1), (None, 2)]


def test_what_is_deleted_stays_in_it(stand: Stand, us: Counter) -> None:
    job = us.job()
    stand.worker.work()
    before = items(us)
    us.delete(f"/v1/jobs/{job}")
    assert items(us) == before != []


def test_another_tenant_has_its_own(stand: Stand, us: Counter) -> None:
    of(stand, us, labels={"team": "blue"})
    for query in ("", "?label=team", "?by=period"):
        assert items(stand.other, query) == []
        assert table(stand.other, query).num_rows == 0


def test_a_period_is_named_by_its_days(stand: Stand, us: Counter) -> None:
    for days_ago in (0, 1, 5):
        of(stand, us, days_ago=days_ago)
    day = {days_ago: (today() - timedelta(days=days_ago)).isoformat() for days_ago in (0, 1, 5)}
    assert [row["day"] for row in items(us)] == [day[5], day[1], day[0]]
    assert [row["day"] for row in items(us, f"?from={day[1]}")] == [day[1], day[0]]
    assert [row["day"] for row in items(us, f"?to={day[5]}")] == [day[5]]
    assert [row["day"] for row in items(us, f"?from={day[5]}&to={day[1]}")] == [day[5], day[1]]


def test_pages_follow_each_other(stand: Stand, us: Counter) -> None:
    for days_ago in range(3):
        for value in ("a", "ä:&?"):
            of(stand, us, days_ago=days_ago, labels={"team": value})
    address, found = "/v1/usage?label=team&limit=4", []
    while address:
        answer = us.get(address)
        found += answer.json()["items"]
        assert (answer.json()["next"] is None) == ("link" not in answer.headers)
        address = answer.headers["link"].partition("<")[2].partition(">")[0] if "link" in answer.headers else ""
    assert found == items(us, "?label=team")
    assert len(found) == 6


@pytest.mark.parametrize("media", READ)
def test_it_comes_as_an_arrow_table(stand: Stand, us: Counter, media: str) -> None:
    of(stand, us, labels={"team": "ä"}, succeeded=1, cpu_seconds=1.5, bytes_in=2**40)
    of(stand, us, days_ago=1, labels={"team": "b"}, failed=2)
    of(stand, us, lane=Lane.ERRANDS)
    for query in ("", "?label=team", "?by=period", "?by=period&label=team"):
        found = table(us, query, media)
        assert found.schema == usage_writer.SCHEMA
        rows = [row | {"day": row["day"] and row["day"].isoformat()} for row in found.to_pylist()]
        assert rows == items(us, query)
    assert table(us, media=media).num_rows == 3


def test_a_table_has_all_rows_however_long_pages_are(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.usage_store.ROWS_MAX", 2)
    for days_ago in range(5):
        of(stand, us, days_ago=days_ago)
    assert table(us, "?limit=1").num_rows == 5
    monkeypatch.setattr("api.usage.TABLE_ROWS_MAX", 3)
    answer = us.get("/v1/usage", headers={"Accept": ARROW})
    assert (pointers(answer), "more than 3 rows" in answer.text) == (["/query/from"], True)


def test_a_form_that_there_is_not_is_refused(us: Counter) -> None:
    answer = us.get("/v1/usage", headers={"Accept": "text/csv"})
    assert (answer.status_code, slug(answer), answer.json()["available"]) == (406, "not-acceptable", ["application/json", ARROW, STREAM])


def test_head_asks_for_headers_only(us: Counter) -> None:
    for media in ("application/json", ARROW):
        answer = us.head("/v1/usage", headers={"Accept": media})
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, media, b"")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("from=yesterday", "/query/from"),
        ("from=2025-02-30", "/query/from"),
        ("to=1700000000", "/query/to"),
        ("to=2025-W01-1", "/query/to"),
        ("from=", "/query/from"),
        ("from=2025-01-02&to=2025-01-01", "/query/to"),
        ("from=2024-01-01&to=2025-12-31", "/query/to"),
        ("label=a%20b", "/query/label"),
        ("label=", "/query/label"),
        ("by=month", "/query/by"),
        ("limit=0", "/query/limit"),
        ("cursor=x", "/cursor"),
        ("day=2025-01-01", "/query/day"),
    ],
)
def test_what_cannot_be_asked_is_named(us: Counter, query: str, pointer: str) -> None:
    for media in ("application/json", ARROW):
        if pointer != "/cursor" or media != ARROW:
            assert pointers(us.get(f"/v1/usage?{query}", headers={"Accept": media})) == [pointer]


def test_the_first_days_of_time_can_be_asked_for(us: Counter) -> None:
    assert items(us, "?to=0001-01-01") == []
    assert items(us, "?from=9999-12-31&to=9999-12-31") == []
    assert DAYS_DEFAULT <= DAYS_MAX


# the program that writes the table ---------------------------------------------------------------------------------------
def test_the_writer_can_neither_read_a_table_nor_open_a_file() -> None:
    """What keeps the rule that the service reads no table: this program has a writer of Arrow, and nothing else of it."""
    tree = ast.parse(WRITER.read_text())
    assert {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} == {"json", "sys", "pyarrow"}
    assert {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} == {"__future__"}
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    types = {"pyarrow.date32", "pyarrow.string", "pyarrow.int64", "pyarrow.float64", "pyarrow.schema", "field.name", "field.type"}
    writes = {"pyarrow.array", "pyarrow.table", "pyarrow.ipc", "pyarrow.ipc.new_file", "pyarrow.ipc.new_stream", "writer.write_table"}
    assert used == types | writes | {"json.load", "sys.stdin", "sys.stdout", "sys.stdout.buffer"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called == {"main"}


def test_nothing_of_the_service_imports_the_writer() -> None:
    root = Path(usage_tables.__file__).parents[1]
    naming = {
        path.relative_to(root).as_posix()
        for package in ("api", "worker", "gate", "cli", "fumehood")
        for path in (root / package).rglob("*.py")
        if "usage_writer" in path.read_text() and path != WRITER
    }
    assert naming == {"api/usage_tables.py"}
    assert "import usage_writer" not in Path(usage_tables.__file__).read_text()


def test_the_writer_gets_our_own_numbers_and_names_of_labels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = usage_tables.subprocess.run

    def seen(command: list[str], **given: Any) -> Any:
        asked.append((command, given))
        return real(command, **given)

    monkeypatch.setattr(usage_tables.subprocess, "run", seen)
    row = Row(day=date(1970, 1, 2), label="blue", work=Work.JOBS, amount=Amount(failed=3, gb_seconds=0.5))
    arrow_of([row], "arrow")
    ((command, given),) = asked
    assert command[1:] == ["-I", str(WRITER)]
    assert (given["env"], given["cwd"]) == ({}, "/")
    amounts = {name: [0] for name in AMOUNTS} | {"failed": [3], "gb_seconds": [0.5]}
    assert usage_tables.json.loads(given["input"]) == {
        "format": "arrow",
        "columns": {"day": [1], "label": ["blue"], "work": ["jobs"], "jobs": [3], **amounts},
    }


@pytest.mark.parametrize("program", ["import sys; sys.exit(1)", "import time; time.sleep(60)"])
def test_a_writer_that_fails_is_a_503(us: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    (tmp_path / "writer.py").write_text(program)
    monkeypatch.setattr(usage_tables, "WRITER", tmp_path / "writer.py")
    monkeypatch.setattr(usage_tables, "SECONDS", 0.5)
    answer = us.get("/v1/usage", headers={"Accept": ARROW})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    with pytest.raises(Unavailable):
        arrow_of([], "arrow")
