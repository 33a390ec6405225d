"""History: a store that has been used for long, made within a minute: the rows that the verbs would have left, by the database itself.

Several tenants of very different size, labels that many jobs have and labels that few have, every way to end, batches, datasets,
remembered keys, and tombstones of what expired. `DUE` jobs are to be taken away now, however long the history is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, Integer, String, Table, case, cast, func, insert, literal, null, select

from fumehood.batch import Batch
from fumehood.expiry import expiry
from fumehood.job import Input, Job, State
from fumehood.job_store import JobStore
from fumehood.outcome import Outcome, Reason, Usage
from fumehood.quota import DAY_SECONDS
from fumehood.rows import dataset_to_row, job_to_row
from fumehood.schema import BATCH_ITEMS, BATCHES, DATASETS, IDEMPOTENCY, JOB_LABELS, JOBS, TENANTS, TOMBSTONES, USAGE
from fumehood.testing import dataset, erasure, job
from fumehood.usage import TOTAL, Work

TENANT = "ten_test"
OTHERS = ("ten_b", "ten_c", "ten_d")
TEAMS = ("blue", "green", "red", "white")
RUN_JOBS = 20
"""So many jobs have the same rare label."""
ENDS = (State.SUCCEEDED, State.SUCCEEDED, State.SUCCEEDED, State.FAILED)
BATCH_JOBS = 10
DUE = 400
YEAR_SECONDS = 365 * DAY_SECONDS
N = "n"


def fill(store: JobStore, *, finished: int, due: int = DUE) -> None:
    """`finished` jobs that have ended within the last year, the newest last; nothing is queued."""
    now = store._clock()
    with store._database.writing() as connection:
        if not store._database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.execute(insert(TENANTS), [{"id": name, "name": name, "created_at": now} for name in (TENANT, *OTHERS)])
        _jobs(connection, finished, due, now)
        _around(connection, finished, now)
        _usage(connection)
        if not store._database.is_sqlite:
            for table in (JOBS, DATASETS, BATCHES):
                connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "seq"), finished + 1)))
    if not store._database.is_sqlite:
        with store._database._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM ANALYZE")  # as the server does by itself some time after
            connection.exec_driver_sql("RESET statement_timeout")


def _jobs(connection: Connection, finished: int, due: int, now: float) -> None:
    n = _numbers(finished)
    ended = _ended(State.SUCCEEDED)
    failed = _ended(State.FAILED)
    # A record that was promised for 800 days is there for all of the last year.
    old = now - 900 * DAY_SECONDS + cast(n, Float)
    finished_at = case((n < due, old), else_=now - YEAR_SECONDS + cast(n, Float) * (YEAR_SECONDS / finished))
    promised = expiry(_kept(), 0.0, batch=None).next_at() or 0.0
    values: dict[str, ColumnElement[Any]] = {name: _of(JOBS, name, value) for name, value in job_to_row(ended).items()}
    values |= {
        "seq": n + 1,
        "id": _random_id(connection, "job_"),
        "tenant": case(
            (n % 10 < 7, literal(TENANT)), (n % 10 == 7, literal(OTHERS[0])), (n % 10 == 8, literal(OTHERS[1])), else_=OTHERS[2]
        ),
        "state": case((n % len(ENDS) == len(ENDS) - 1, literal(State.FAILED.value)), else_=State.SUCCEEDED.value),
        "outcome": case(
            (n % len(ENDS) == len(ENDS) - 1, _of(JOBS, "outcome", job_to_row(failed)["outcome"])),
            else_=_of(JOBS, "outcome", job_to_row(ended)["outcome"]),
        ),
        "created_at": finished_at - 2.0,
        "started_at": finished_at - 1.0,
        "finished_at": finished_at,
        "batch": case(((n >= due) & (n < due + _of_batches(finished)), _batch_of(n - due)), else_=null()),
        "item": case(((n >= due) & (n < due + _of_batches(finished)), n % BATCH_JOBS), else_=null()),
        "expires_at": finished_at + promised,
    }
    connection.execute(insert(JOBS).from_select(list(values), select(*values.values())))
    where = (JOBS.c.seq <= finished,)
    team = case(*((JOBS.c.seq % len(TEAMS) == number, literal(name)) for number, name in enumerate(TEAMS)), else_=TEAMS[0])
    for key, value in (("team", team), ("run", cast(JOBS.c.seq // RUN_JOBS, String))):
        label = select(JOBS.c.tenant, literal(key), value, JOBS.c.seq).where(*where)
        connection.execute(insert(JOB_LABELS).from_select(["tenant", "key", "value", "job_seq"], label))


def _around(connection: Connection, finished: int, now: float) -> None:
    """Batches of some of the jobs, and what else there is more of with the years."""
    made = Batch(id="bat", tenant=TENANT, items=BATCH_JOBS, retention=_kept())
    n = _numbers(_of_batches(finished) // BATCH_JOBS)
    document = {
        "inputs": {},
        "parameters": {},
        "labels": {},
        "limits": made.limits.as_dict(),
        "retention": job_to_row(_ended(State.SUCCEEDED))["retention"],
    }
    values = {name: _of(BATCHES, name, value) for name, value in document.items()} | {
        "seq": n + 1,
        "id": literal("bat_") + cast(n, String),
        "tenant": literal(TENANT),
        "isolation": literal(made.isolation.value),
        "items": literal(BATCH_JOBS),
        "cancel_requested": literal(False),
        "created_at": cast(n, Float),
        "expires_at": literal(now + YEAR_SECONDS),
    }
    connection.execute(insert(BATCHES).from_select(list(values), select(*values.values())))
    items = select(JOBS.c.batch, JOBS.c.item, literal("x.csv"), JOBS.c.id).where(JOBS.c.batch.is_not(None))
    connection.execute(insert(BATCH_ITEMS).from_select(["batch", "number", "name", "job"], items))
    n = _numbers(max(50, finished // 10))
    values = {name: _of(DATASETS, name, value) for name, value in dataset_to_row(dataset(tenant=TENANT)).items()} | {
        "seq": n + 1,
        "id": _random_id(connection, "ds_"),
        "sha256": literal("sha") + cast(n, String),
        "created_at": cast(n, Float),
        "expires_at": literal(now + YEAR_SECONDS),
    }
    connection.execute(insert(DATASETS).from_select(list(values), select(*values.values())))
    kept = {"tenant": literal(TENANT), "key": literal("old-") + cast(n, String), "request_sha256": literal("a" * 64)}
    kept |= {"job_id": literal("job_of_") + cast(n, String), "created_at": literal(now)}
    connection.execute(insert(IDEMPOTENCY).from_select(list(kept), select(*kept.values())))
    gone = {"tenant": literal(TENANT), "id": _random_id(connection, "job_"), "gone_at": literal(now)}
    connection.execute(insert(TOMBSTONES).from_select(list(gone), select(*gone.values()).where(n >= 0)))


def _usage(connection: Connection) -> None:
    """What the jobs have used, by day and label."""
    # Both databases round it down so.
    day = cast(func.round(JOBS.c.finished_at / DAY_SECONDS - 0.5), Integer)
    jobs = func.count()
    failed = func.sum(case((JOBS.c.state == State.FAILED.value, 1), else_=0))
    values: dict[str, ColumnElement[Any]] = {"tenant": JOBS.c.tenant, "day": day, "work": literal(Work.JOBS.value), "labels": literal(0)}
    values |= {"failed": failed, "succeeded": jobs - failed, "cancelled": literal(0), "cached": literal(0)}
    values |= {"cpu_seconds": jobs * 1.25, "gb_seconds": jobs * 0.4, "wall_seconds": jobs * 1.5}
    values |= {"bytes_in": jobs * 2**20, "bytes_out": jobs * 2**19}
    every = {**values, "label_name": literal(TOTAL[0]), "label_value": literal(TOTAL[1])}
    connection.execute(insert(USAGE).from_select(list(every), select(*every.values()).group_by(JOBS.c.tenant, day)))
    label = (JOB_LABELS.c.key, JOB_LABELS.c.value)
    each = {**values, "label_name": label[0], "label_value": label[1]}
    labelled = select(*each.values()).select_from(JOBS.join(JOB_LABELS, JOB_LABELS.c.job_seq == JOBS.c.seq))
    connection.execute(insert(USAGE).from_select(list(each), labelled.group_by(JOBS.c.tenant, day, *label)))


def _of_batches(finished: int) -> int:
    """How many of the jobs belong to batches."""
    return max(1, finished // 10 // BATCH_JOBS) * BATCH_JOBS


def _batch_of(number: ColumnElement[int]) -> ColumnElement[str]:
    return literal("bat_") + cast(number // BATCH_JOBS, String)


def _numbers(count: int) -> ColumnElement[int]:
    """0 … count − 1, a column to select from."""
    first = select(literal(0, Integer).label(N)).cte("numbers", recursive=True)
    numbers = first.union_all(select(first.c[N] + 1).where(first.c[N] < count - 1))
    return numbers.c[N]


def _random_id(connection: Connection, prefix: str) -> ColumnElement[str]:
    # Random, as real ones: an index of ids in order would stay in memory.
    sqlite = connection.dialect.name == "sqlite"
    return literal(prefix) + (func.lower(func.hex(func.randomblob(16))) if sqlite else func.md5(cast(func.random(), String)))


def _of(table: Table, name: str, value: Any) -> ColumnElement[Any]:
    return literal(value, table.c[name].type)


def _kept() -> Any:
    retention = job().retention
    assert retention is not None
    return replace(retention, record_days=800.0, log_days=700.0, result_days=700.0)


def _ended(state: State) -> Job:
    """One of them, with documents as long as real ones."""
    columns: Sequence[dict[str, Any]] = [{"name": f"column {number}", "type": "double", "nullable": True} for number in range(8)]
    outcome = Outcome(
        reason=Reason.OK if state is State.SUCCEEDED else Reason.SCRIPT_ERROR,
        message="" if state is State.SUCCEEDED else "ValueError: no",
        usage=Usage(wall_seconds=1.5, cpu_seconds=1.25, memory_peak_bytes=2**28, bytes_in=2**20, bytes_out=2**19),
        outputs={"result": 2**19, "log": 300, "files": 4000},
        report={"result": {"rows": 1000, "columns": columns}, "log": {"bytes": 300, "truncated": False}, "notes": [], "files": []},
        milliseconds={name: 1.5 for name in ("stage", "run", "collect", "publish", "erase", "run.go", "run.end")},
        image="sha256:" + "0" * 64,
        start="warm",
    )
    made = job(
        tenant=TENANT,
        inputs={port: Input(blob=f"jobs/{'0' * 32}/{port}", format="arrow", bytes=1000) for port in ("script", "dataset1")},
        parameters={"threshold": 0.5, "columns": ["a", "b"]},
        labels={"team": TEAMS[0], "run": "1"},
        retention=_kept(),
    )
    return replace(
        made,
        state=state,
        attempt=1,
        fence=1,
        started_at=1.0,
        finished_at=2.0,
        outcome=outcome,
        erasure=erasure(replace(made, attempt=1, fence=1)),
    )
