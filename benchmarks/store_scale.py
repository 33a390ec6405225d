"""Store scale: what the store's verbs cost with nothing in it, and with 10,000 jobs queued and 100,000 records kept.

    python -m benchmarks.store_scale [sqlite | postgresql]

Two stores of the same kind are asked in turn, so that a noisy machine is noisy for both; the ratio is what counts. SQLite lies in
a temporary directory, PostgreSQL is one as the tests start it (without fsync).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sqlalchemy import insert

from fumehood.job import Job, Lane, State
from fumehood.job_store import Idempotency, JobStore
from fumehood.rows import job_to_row
from fumehood.schema import JOB_LABELS, JOBS
from fumehood.testing import erasure, job, outcome
from tests.postgres import postgres_server

QUEUED = 10_000
RECORDS = 100_000
ROUNDS = 200
TENANT = "ten_test"
BUDGET_BYTES = 2**60
ROWS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one verb, in milliseconds."""

    p50: float
    p99: float
    cpu: float
    """Of this process, on average."""


@dataclass(frozen=True, slots=True)
class Compared:
    verb: str
    empty: Cost
    full: Cost

    @property
    def ratio(self) -> float:
        return self.full.p50 / self.empty.p50


def compare(empty: JobStore, full: JobStore, *, queued: int = QUEUED, records: int = RECORDS, rounds: int = ROUNDS) -> list[Compared]:
    """Fill one of two empty stores and ask both the same, in turn. Their schemas are there already."""
    fill(empty, queued=0, records=100)  # a page of each is full
    last = fill(full, queued=queued, records=records)
    first = empty.submit(_asked()).job
    return in_turn(_Asked(empty, first), _Asked(full, last), rounds=rounds)


class Questions(Protocol):
    def verbs(self) -> Iterator[tuple[str, Callable[[], object]]]: ...


def in_turn(one: Questions, other: Questions, *, rounds: int) -> list[Compared]:
    """What each verb costs the two, who are asked in turn, so that what the machine does besides falls on both."""
    spent: list[dict[str, list[tuple[float, float]]]] = [{}, {}]
    for _ in range(rounds):
        for questions, costs in zip((one, other), spent, strict=True):
            for verb, ask in questions.verbs():
                wall, cpu = time.perf_counter(), time.thread_time()
                ask()
                costs.setdefault(verb, []).append((time.perf_counter() - wall, time.thread_time() - cpu))
    first, second = spent
    return [Compared(verb, cost_of(first[verb]), cost_of(second[verb])) for verb in first]


class _Asked:
    """One job's way through a store, and the questions about it; each round leaves as many jobs queued as it found."""

    def __init__(self, store: JobStore, waits: Job) -> None:
        self._store = store
        self._waits = waits
        self._number = 0
        self._running: Job | None = None

    def verbs(self) -> Iterator[tuple[str, Callable[[], object]]]:
        store = self._store
        yield "submit", self._submit
        yield "get a queued job", lambda: store.get_job(TENANT, self._waits.id)
        yield "claim", self._claim
        yield "renew", lambda: store.renew(self._held)
        yield "finish", lambda: store.finish(self._held, outcome(), erasure(self._held))
        yield "get a final job", lambda: store.get_job(TENANT, self._held.id)
        yield "page", lambda: store.list_jobs(TENANT)
        yield "page of a state", lambda: store.list_jobs(TENANT, state="succeeded")
        yield "page of a label", lambda: store.list_jobs(TENANT, labels=[("team", "blue")])
        yield "page of a rare state", lambda: store.list_jobs(TENANT, state="cancelled")
        yield "running", store.running
        yield "queued", lambda: store.queued(Lane.JOBS)

    @property
    def _held(self) -> Job:
        assert self._running is not None
        return self._running

    def _submit(self) -> None:
        self._number += 1
        self._waits = self._store.submit(_asked(), idempotency=Idempotency(f"key-{self._number}", "a" * 64)).job

    def _claim(self) -> None:
        self._running = self._store.claim(worker="wrk_bench", lane=Lane.JOBS, disk_budget_bytes=BUDGET_BYTES)


def _asked() -> Job:
    return job(labels={"team": "blue"}, parameters={"threshold": 0.5})


def fill(store: JobStore, *, queued: int, records: int) -> Job:
    """Records of jobs that have ended, then jobs that wait: the rows that the verbs would have made, many at once. The last one."""
    ended = replace(
        _asked(), state=State.SUCCEEDED, attempt=1, fence=1, started_at=1.0, finished_at=2.0, outcome=outcome(), erasure=erasure()
    )
    jobs = [replace(ended, id=job().id, created_at=float(number)) for number in range(records)]
    jobs += [replace(_asked(), created_at=float(records)) for _ in range(queued)]
    for start in range(0, len(jobs), ROWS_AT_ONCE):
        some = jobs[start : start + ROWS_AT_ONCE]
        with store._database.writing() as connection:
            made = insert(JOBS).returning(JOBS.c.seq, sort_by_parameter_order=True)
            seqs = connection.execute(made, [job_to_row(each) for each in some]).scalars().all()
            labels = [{"tenant": TENANT, "key": "team", "value": "blue", "job_seq": seq} for seq in seqs]
            connection.execute(insert(JOB_LABELS), labels)
    if not store._database.is_sqlite:
        with store._database.writing() as connection:
            connection.exec_driver_sql("ANALYZE")  # as the server does by itself some time after
    return jobs[-1]


def cost_of(spent: Sequence[tuple[float, float]]) -> Cost:
    walls = sorted(wall * 1000 for wall, _ in spent)
    return Cost(walls[len(walls) // 2], walls[int(len(walls) * 0.99)], 1000 * sum(cpu for _, cpu in spent) / len(spent))


# stores of one's own -----------------------------------------------------------------------------------------------------
@contextmanager
def two_sqlite_stores() -> Iterator[tuple[JobStore, JobStore]]:
    with tempfile.TemporaryDirectory(prefix="fumehood-bench-") as directory, ExitStack() as opened:
        yield _opened(f"sqlite:///{Path(directory, 'empty.db')}", opened), _opened(f"sqlite:///{Path(directory, 'full.db')}", opened)


@contextmanager
def two_postgres_stores() -> Iterator[tuple[JobStore, JobStore]]:
    """Raises RuntimeError where PostgreSQL is missing."""
    with postgres_server() as server, server.database() as empty, server.database() as full, ExitStack() as opened:
        yield _opened(empty, opened), _opened(full, opened)


def _opened(url: str, opened: ExitStack) -> JobStore:
    store = JobStore(url)
    opened.callback(store.close)
    store.migrate()
    return store


STORES = {"sqlite": two_sqlite_stores, "postgresql": two_postgres_stores}


def table(compared: Sequence[Compared]) -> str:
    head = f"{'milliseconds':22}{'empty p50':>11}{'p99':>8}{'cpu':>8}{'full p50':>12}{'p99':>8}{'cpu':>8}{'ratio':>8}"
    return "\n".join([head, *(f"{each.verb:22}{_row(each.empty, 11)}{_row(each.full, 12)}{each.ratio:8.2f}" for each in compared)])


def _row(cost: Cost, width: int) -> str:
    return f"{cost.p50:{width}.2f}{cost.p99:8.2f}{cost.cpu:8.2f}"


def main(names: Sequence[str]) -> None:
    for name in names or STORES:
        with STORES[name]() as (empty, full):
            print(f"{name}: {QUEUED:,} jobs queued, {RECORDS:,} records", table(compare(empty, full)), sep="\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
