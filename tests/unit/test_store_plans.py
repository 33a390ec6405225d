"""No verb of the store reads a whole table or sorts much, whatever lies in it: what the planners say, and what is really read.

Every statement that any verb executes is explained, over every database, in a store with a history and the statistics that go with
it; a verb that is new and not asked here fails. What is read is counted, not timed: rows and steps with a short history, and with one
that is a hundred times as long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from fumehood.job_store import JobStore
from tests.unit.store_verbs import Verbs, verbs_of_the_store

SHORT, LONG = 500, 15_000
# What grows with the history. Tenants, workers, images, needs, shares … are as many as there are of them now.
LARGE = {"jobs", "job_labels", "datasets", "batches", "batch_items", "idempotency", "tombstones"}
SORTED_ROWS = 1_200
"""As many as are read and sorted at most: a page, the jobs that run, the items of a batch."""
# Of SQLite, whose plans say no numbers: the jobs or the items of one batch.
SORTS_A_FEW = {"unfinished_job", "cancel_batch", "chunk_of"}
GROWTH, SLACK_ROWS = 1.5, 40
"""An index that is a hundred times as long is one or two pages deeper."""


@pytest.fixture
def seen(store: JobStore) -> list[tuple[str, Any]]:
    """The statements that were executed, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        statements.append((statement, parameters[0] if many else parameters))

    event.listen(store._database._engine, "before_cursor_execute", keep)
    return statements


def test_every_statement_of_every_verb_is_answered_from_an_index(store: JobStore, seen: list[tuple[str, Any]]) -> None:
    explain = _sqlite_faults if store._database.is_sqlite else _postgres_faults
    verbs, asked, faults = Verbs(store, finished=LONG), set(), set()
    explained: set[str] = set()
    for verb, ask in verbs.all():
        asked.add(verb)
        seen.clear()
        ask()
        for statement, parameters in list(seen):
            if (verb, statement) not in explained and statement.lstrip("(").startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
                explained.add((verb, statement))  # type: ignore[arg-type]
                with store._database._writer.connect() as connection:
                    faults |= {f"{verb}: {fault}" for fault in explain(connection, verb, statement, parameters)}
                    connection.rollback()
    assert asked == verbs_of_the_store()
    assert sorted(faults) == []


def _sqlite_faults(connection: Connection, verb: str, statement: str, parameters: Any) -> Iterator[str]:
    """SQLite has no statistics here, and says of each table whether it is scanned or searched."""
    plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    large = any(_table(step) in LARGE for step in plan)
    for step in plan:
        scanned = step.startswith("SCAN") and _table(step) in LARGE and not _ends_at_once(statement)
        if scanned or ("TEMP B-TREE FOR ORDER BY" in step and large and verb not in SORTS_A_FEW):
            yield f"{step}: {statement}"


def _table(step: str) -> str:
    """Of `SCAN job_labels_1 USING …`: an alias is called as its table, with a number."""
    return re.sub(r"_\d+$", "", step.split()[1])


def _ends_at_once(statement: str) -> bool:
    """A look whether there is anything: the first row will do."""
    return "WHERE" not in statement and "LIMIT" in statement and "ORDER BY" not in statement


def _postgres_faults(connection: Connection, _verb: str, statement: str, parameters: Any) -> Iterator[str]:
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).one()
    document = plan if isinstance(plan, list) else json.loads(plan)
    yield from _faults(document[0]["Plan"], statement)


def _faults(node: dict[str, Any], statement: str) -> Iterator[str]:
    kind, table, loops = node["Node Type"], node.get("Relation Name"), node["Actual Loops"]
    rows = loops * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
    told = f"{kind} on {table}, {rows:.0f} rows: {statement}"
    if table in LARGE and kind == "Seq Scan" and not _ends_at_once(statement):
        yield told
    # A condition of the index alone says little: what it lets pass and the filter does not was read as well.
    if table in LARGE and rows > SORTED_ROWS:
        yield told
    if kind == "Sort" and node["Plans"][0]["Actual Rows"] * loops > SORTED_ROWS:
        yield told
    for child in node.get("Plans", []):
        yield from _faults(child, statement)


# what is read ------------------------------------------------------------------------------------------------------------
def _count_steps(engine: Engine) -> Callable[[], int]:
    """Of SQLite: instructions of its machine, in tens."""
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    def on_begin(connection: Connection) -> None:
        connection.connection.dbapi_connection.set_progress_handler(step, 10)  # type: ignore[union-attr]

    event.listen(engine, "begin", on_begin)
    return lambda: steps[0]


def _count_rows(engine: Engine) -> Callable[[], int]:
    """Of PostgreSQL: rows and index entries that transactions have read, by its own count."""
    rows, before = [0], [0]
    asks = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables"
    entries = "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0) FROM pg_index"

    def read(connection: Connection) -> int:
        cursor = connection.connection.cursor()
        return sum(int(cursor.execute(ask).fetchone()[0]) for ask in (asks, entries))  # type: ignore[attr-defined]

    def on_begin(connection: Connection) -> None:
        before[0] = read(connection)

    def on_commit(connection: Connection) -> None:
        rows[0] += read(connection) - before[0]

    event.listen(engine, "begin", on_begin)
    event.listen(engine, "commit", on_commit)
    return lambda: rows[0]


def _costs(store: JobStore, finished: int) -> dict[str, list[int]]:
    engine = store._database._engine
    verbs = Verbs(store, finished=finished)
    count = (_count_steps if store._database.is_sqlite else _count_rows)(engine)
    costs: dict[str, list[int]] = {}
    for verb, ask in verbs.all():
        before = count()
        ask()
        costs.setdefault(verb, []).append(count() - before)
    return costs


@pytest.fixture
def second_url(request: pytest.FixtureRequest, store_url: str) -> Iterator[str]:
    if store_url.startswith("sqlite"):
        yield store_url.replace("fumehood.db", "second.db")
    else:
        with request.getfixturevalue("postgres").database() as url:
            yield url


def test_what_a_verb_reads_does_not_grow_with_the_history(store: JobStore, second_url: str, clock: Callable[[], float]) -> None:
    second = JobStore(second_url, clock=clock)
    second.migrate()
    try:
        short, long = _costs(store, SHORT), _costs(second, LONG)
    finally:
        second.close()
    assert sum(map(sum, short.values())) > 0  # something was counted
    grown = {
        f"{verb} {number}": (before, after)
        for verb in short
        for number, (before, after) in enumerate(zip(short[verb], long[verb], strict=True))
        if after > GROWTH * before + SLACK_ROWS
    }
    assert grown == {}
