"""What the store asks of its database: revisions, durability, plans without scans, and words for its absence."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from fumehood.database import Database
from fumehood.errors import Misconfigured, NotFound, StoreUnavailable
from fumehood.fair_share import count_waiting
from fumehood.job import Job, Kind, Lane
from fumehood.job_store import Idempotency, JobStore
from fumehood.outcome import Reason
from fumehood.testing import dataset, erasure, job, outcome
from tests.unit.stores import version_of


@pytest.fixture
def sqlite_path(home: Path) -> Path:
    return home / "fumehood.db"


@pytest.fixture
def sqlite_store(sqlite_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{sqlite_path}", busy_seconds=0.2)
    store.migrate()
    yield store
    store.close()


def test_migrating_again_changes_nothing(store: JobStore) -> None:
    asked = store.submit(job()).job
    store.migrate()
    assert store.get_job(asked.tenant, asked.id) == asked


def test_a_store_without_its_schema_is_unavailable(store_url: str) -> None:
    store = JobStore(store_url)
    with pytest.raises(StoreUnavailable):
        store.ping()
    store.close()


@pytest.mark.parametrize("text", ["\x00", "\ud800", "a\x00b", "' OR 1=1 --", "\u2028", "\U0001f9ea"], ids=ascii)
def test_text_that_no_database_holds_is_nobodys(store: JobStore, text: str) -> None:
    for find in (
        lambda: store.get_job("ten_test", text),
        lambda: store.get_dataset("ten_test", text),
        lambda: store.request_cancel("ten_test", text),
        lambda: store.delete_job(text, text),
        lambda: store.delete_dataset(text, text),
    ):
        with pytest.raises(NotFound):
            find()
    assert store.list_jobs("ten_test", labels=[(text, text)]) == ([], None)
    assert store.list_jobs(text, state=text) == ([], None)
    assert store.find_idempotent("ten_test", Idempotency(text, "a" * 64)) is None


@pytest.mark.parametrize("text", ["naïve \u2028 \U0001f9ea", "'\"\\%_$1:x", " "], ids=ascii)
def test_text_comes_back_as_it_was(store: JobStore, text: str) -> None:
    asked = store.submit(job(labels={"a": text}), idempotency=Idempotency(text, "a" * 64)).job
    kept, _ = store.add_dataset(dataset(name=text))
    assert store.get_dataset(kept.tenant, kept.id).name == text
    assert [found.id for found in store.list_jobs("ten_test", labels=[("a", text)])[0]] == [asked.id]
    assert store.find_idempotent("ten_test", Idempotency(text, "a" * 64)) is not None


def test_a_reader_sees_one_moment(store: JobStore) -> None:
    store.submit(job())
    with store._database.reading() as connection:
        first = count_waiting(connection, Lane.JOBS.value)
        store.submit(job())
        assert count_waiting(connection, Lane.JOBS.value) == first == 1
    assert store.queued(Lane.JOBS) == 2


def test_the_file_is_durable_and_readable_by_us_alone(sqlite_store: JobStore, sqlite_path: Path) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "busy_timeout": 200}
    with sqlite_store._database.reading() as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas} == pragmas
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in [sqlite_path.parent, *sqlite_path.parent.iterdir()]}
    assert modes == {"home": "0o700", "fumehood.db": "0o600", "fumehood.db-wal": "0o600", "fumehood.db-shm": "0o600"}


def test_a_deleted_job_is_nowhere_in_the_file(sqlite_store: JobStore, sqlite_path: Path) -> None:
    # Without a label: what was used is counted by labels, and stays counted.
    asked = sqlite_store.submit(job(parameters={"text": "hunter2" * 1000})).job
    sqlite_store.request_cancel(asked.tenant, asked.id)
    sqlite_store.close()
    assert b"hunter2" in sqlite_path.read_bytes()
    sqlite_store.delete_job(asked.tenant, asked.id)
    sqlite_store.close()  # the last one to close empties the write-ahead log into the file
    assert [path.name for path in sqlite_path.parent.iterdir()] == [sqlite_path.name]
    assert b"hunter2" not in sqlite_path.read_bytes()


def test_the_file_is_private_whatever_the_umask_is(sqlite_path: Path) -> None:
    before = os.umask(0o277)
    try:
        store = JobStore(f"sqlite:///{sqlite_path.parent}/deeper/fumehood.db")
        store.migrate()
        store.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((sqlite_path.parent / "deeper").stat().st_mode) == 0o700


LOOKS_IN = """
import sys
from fumehood.job_store import JobStore
store = JobStore(sys.argv[1])
store.migrate()
print(len(store.list_jobs("ten_test")[0]))
store.close()
"""


def test_stores_of_one_process_and_of_others_see_one_another(sqlite_store: JobStore, sqlite_path: Path) -> None:
    """A process that closes the file by any other way than SQLite's gives up the locks of all its stores, and the next process
    to leave then takes the write-ahead log away from under them."""
    address = f"sqlite:///{sqlite_path}"
    sqlite_store.submit(job())
    second = JobStore(address)
    second.migrate()
    for known in (1, 2):
        done = subprocess.run([sys.executable, "-c", LOOKS_IN, address], capture_output=True, text=True, timeout=60, check=True)
        assert int(done.stdout) == known
        sqlite_store.submit(job())
    second.close()


def test_a_file_that_another_process_switches_to_wal_is_tried_again(sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # About one of a hundred simultaneous starts sees it: SQLite does not wait its busy timeout here.
    refusals = iter(range(2))

    class Hasty(sqlite3.Connection):
        def execute(self, sql: str, /, *arguments: Any) -> sqlite3.Cursor:
            if next(refusals, None) is not None:
                raise sqlite3.OperationalError("database is locked")
            return super().execute(sql, *arguments)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Hasty))
    Database(f"sqlite:///{sqlite_path}").prepare()
    assert next(refusals, None) is None
    with contextlib.closing(sqlite3.connect(sqlite_path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_readers_do_not_wait_for_a_writer_and_writers_wait_only_so_long(sqlite_store: JobStore, sqlite_path: Path) -> None:
    asked = sqlite_store.submit(job()).job
    other = sqlite3.connect(sqlite_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert sqlite_store.get_job(asked.tenant, asked.id) == asked
        with pytest.raises(StoreUnavailable) as caught:
            sqlite_store.submit(job())
    finally:
        other.close()
    assert str(caught.value) == "the job store does not answer"
    assert sqlite_store.submit(job()).job.queue_position == 1


def test_a_writer_asks_often_whether_it_is_its_turn(sqlite_store: JobStore, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(sqlite_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 5:
            other.close()

    monkeypatch.setattr("fumehood.database.time.sleep", sleep)
    sqlite_store.submit(job())
    assert len(slept) == 5
    assert max(slept) <= 0.01
    with sqlite_store._database.reading() as connection:  # and everything else that may be busy is waited for as before
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 1000 * sqlite_store._database._busy_seconds


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(parents=True), lambda path: path.parent.write_text("a file")])
def test_a_file_that_cannot_be_made_is_unavailable(sqlite_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(sqlite_path)
    store = JobStore(f"sqlite:///{sqlite_path}")
    with pytest.raises(StoreUnavailable) as caught:
        store.migrate()
    assert str(sqlite_path.parent) not in str(caught.value)
    store.close()


def test_a_file_that_is_no_database_is_unavailable(sqlite_path: Path) -> None:
    sqlite_path.parent.mkdir()
    sqlite_path.write_bytes(b"these bytes are no database " * 100)
    store = JobStore(f"sqlite:///{sqlite_path}", busy_seconds=0.1)
    with pytest.raises(StoreUnavailable):
        store.migrate()
    store.close()


def test_a_full_disk_is_unavailable_and_leaves_nothing_half_done(sqlite_store: JobStore) -> None:
    asked = sqlite_store.submit(job()).job
    _limit_pages(sqlite_store)
    with pytest.raises(StoreUnavailable):
        sqlite_store.submit(job(parameters={"text": "x" * 2**20}), idempotency=Idempotency("key", "a" * 64))
    assert sqlite_store.queued(Lane.JOBS) == 1
    assert sqlite_store.find_idempotent(asked.tenant, Idempotency("key", "a" * 64)) is None


def _limit_pages(store: JobStore) -> None:
    @event.listens_for(store._database._engine, "begin")
    def limit(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # as many as there are already


@pytest.mark.parametrize("url", ["mysql://h/d", "nonsense", "", "sqlite+aiosqlite3x:///a", "oracle://h"])
def test_an_address_that_is_not_usable_is_misconfigured(url: str) -> None:
    with pytest.raises(Misconfigured, match="expected sqlite:////absolute/path or postgresql"):
        JobStore(url)


def test_an_error_holds_nothing_of_a_tenants(sqlite_store: JobStore) -> None:
    with sqlite_store._database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE job_needs")
        connection.exec_driver_sql("DROP TABLE job_labels")
        connection.exec_driver_sql("DROP TABLE jobs")
    with pytest.raises(StoreUnavailable) as caught:
        sqlite_store.submit(job(parameters={"secret": "hunter2"}))
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


# plans -------------------------------------------------------------------------------------------------------------------
def _calls(store: JobStore) -> dict[str, Callable[[], Any]]:
    stored, _ = store.add_dataset(dataset())
    asked = [store.submit(job(labels={"a": "b"}), idempotency=Idempotency(f"key-{n}", "a" * 64)).job for n in range(3)]

    def claimed() -> Job:
        found = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=2**60)
        assert found is not None
        return found

    return {
        "submit": lambda: store.submit(job(labels={"a": "b"}), idempotency=Idempotency("key", "a" * 64)),
        "find_idempotent": lambda: store.find_idempotent("ten_test", Idempotency("key", "a" * 64)),
        "get_job": lambda: store.get_job("ten_test", asked[2].id),
        "list_jobs": lambda: store.list_jobs("ten_test"),
        "list_jobs of a state": lambda: store.list_jobs("ten_test", state="queued"),
        "list_jobs of a label": lambda: store.list_jobs("ten_test", labels=[("a", "b")]),
        "list_jobs of two labels": lambda: store.list_jobs("ten_test", labels=[("a", "b"), ("c", "d")]),
        "list_jobs of both": lambda: store.list_jobs("ten_test", labels=[("a", "b")], state="queued"),
        "claim and finish": lambda: store.finish(it := claimed(), outcome(), erasure(it)),
        "claim and give back": lambda: store.give_back(it := claimed(), erasure(it), outcome(Reason.LOST)),
        "cancel": lambda: store.request_cancel("ten_test", asked[2].id),
        "delete_job": lambda: store.delete_job("ten_test", asked[2].id),
        "running": store.running,
        "errands": store.errands,
        "too_large_for_disk": lambda: store.too_large_for_disk(Lane.JOBS, disk_budget_bytes=0),
        "queued": lambda: store.queued(Lane.JOBS),
        "eligible": lambda: store.eligible(Lane.JOBS),
        "read_lanes": store.read_lanes,
        "list_datasets": lambda: store.list_datasets("ten_test"),
        "list_datasets of a name": lambda: store.list_datasets("ten_test", name="numbers.csv"),
        "find_dataset": lambda: store.find_dataset("ten_test", sha256=stored.sha256, format="csv"),
        "delete_dataset": lambda: store.delete_dataset("ten_test", stored.id),
    }


SORTS_A_FEW = {"running"}  # as many as there are slots
# What a search has found, with a limit; a statement that reads no table; as many rows as there are workers.
READS_A_FEW = {"SCAN anon_1", "SCAN CONSTANT ROW", "SCAN workers"}


def test_no_verb_reads_a_whole_table_or_sorts_it(sqlite_store: JobStore) -> None:
    statements: list[tuple[str, Any]] = []
    calls = _calls(sqlite_store)
    engine = sqlite_store._database._engine
    event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, parameters, *_: statements.append((statement, parameters)))
    bad: dict[str, list[str]] = {}
    for name, call in calls.items():
        statements.clear()
        call()
        for statement, parameters in [each for each in statements if each[0].startswith(("SELECT", "UPDATE", "DELETE"))]:
            with sqlite_store._database.reading() as connection:
                plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            sorts = "TEMP B-TREE" if name not in SORTS_A_FEW else "nothing"
            steps = [step for step in plan if step not in READS_A_FEW]
            bad.setdefault(name, []).extend(step for step in steps if step.startswith("SCAN") or sorts in step)
    assert set(bad) == set(calls)  # every call was looked at
    assert {name: steps for name, steps in bad.items() if steps} == {}


def test_the_queue_of_errands_is_apart(store: JobStore) -> None:
    errands = [kind for kind in Kind if kind.lane is Lane.ERRANDS]
    called, check = version_of()
    store.publish(called, check)  # Its check is queued too.
    for kind in Kind:
        store.submit(replace(job(kind=kind), inputs=called.called))
    assert (store.queued(Lane.JOBS), store.queued(Lane.ERRANDS)) == (1 + len(Kind) - len(errands), len(errands))
