"""A million finished jobs: what the store's verbs cost with them, and with a thousand.

    python -m benchmarks.million [sqlite | postgresql] [--jobs 1000000]

As `store_scale`: two stores of the same kind are asked in turn, and the ratio counts. Filling takes a minute or two and 3 GB.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta

from benchmarks.history import DUE, RUN_JOBS, TENANT, fill
from benchmarks.store_scale import STORES, Compared, in_turn, table
from fumehood.job import Input, Job, Lane
from fumehood.job_store import Idempotency, JobStore
from fumehood.pages import write_cursor
from fumehood.testing import dataset, erasure, job, outcome

FEW, MANY = 1_000, 1_000_000
ROUNDS = 100
STEP = 2
"""Rows of one step of the expiry: every round takes one, of both stores, and none may run dry."""
BUDGET_BYTES = 2**60


class Asked:
    """One job's way through a store with `finished` others, and the questions about it and them. Each round leaves the store as it was,
    but for one job more."""

    def __init__(self, store: JobStore, finished: int) -> None:
        self._store, self._finished, self._number = store, finished, 0
        self._today = date.fromtimestamp(time.time())
        self._dataset = store.add_dataset(dataset(tenant=TENANT))[0]
        self._middle = write_cursor(finished // 2)
        self._old = store.list_jobs(TENANT, before=self._middle, limit=1)[0][0]
        self._running: Job | None = None
        self._asked = self._make()

    def verbs(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """In the order in which they can be asked."""
        store, rare = self._store, ("run", str(self._finished // RUN_JOBS // 2))
        yield "submit", self._submit
        yield "get a queued job", lambda: store.get_job(TENANT, self._asked.id)
        yield "claim", self._claim
        yield "renew", lambda: store.renew(self._held)
        yield "finish", lambda: store.finish(self._held, outcome(), erasure(self._held))
        yield "get an old job", lambda: store.get_job(TENANT, self._old.id)
        yield "list, first page", lambda: store.list_jobs(TENANT)
        yield "list, deep page", lambda: store.list_jobs(TENANT, before=self._middle)
        yield "list of a state", lambda: store.list_jobs(TENANT, state="failed")
        yield "list of a rare state", lambda: store.list_jobs(TENANT, state="cancelled")
        yield "list of a label", lambda: store.list_jobs(TENANT, labels=[("team", "blue")])
        yield "list of a rare label", lambda: store.list_jobs(TENANT, labels=[rare])
        yield "list of two labels", lambda: store.list_jobs(TENANT, labels=[rare, ("team", "blue")])
        yield "list of label and state", lambda: store.list_jobs(TENANT, labels=[("team", "blue")], state="failed")
        first = self._today - timedelta(days=30)
        yield "usage of 30 days", lambda: store.usage(TENANT, first=first, last=self._today)
        # A page: of a thousand jobs in a year not every day has every team.
        yield "usage by label", lambda: store.usage(TENANT, first=first, last=self._today, label="team", limit=50)
        yield "list datasets", lambda: store.list_datasets(TENANT)
        yield "list batches", lambda: store.list_batches(TENANT, limit=5)  # of a thousand jobs there are ten batches
        yield "list items", lambda: store.list_items(TENANT, "bat_0")
        yield "look for a key", lambda: store.find_idempotent(TENANT, Idempotency("new", "a" * 64))
        yield "running", store.running
        yield "queued", lambda: store.queued(Lane.JOBS)
        yield "errands", store.errands
        yield "tenants with due", store.tenants_with_due
        yield "expiry step", self._expire
        yield "expired?", lambda: store.expired_at(TENANT, self._old.id)

    @property
    def _held(self) -> Job:
        assert self._running is not None
        return self._running

    def _make(self) -> Job:
        own = self._dataset
        reads = {"dataset1": Input(blob=own.table_blob or "", format="arrow", bytes=1, dataset=own.id)}
        made = job(tenant=TENANT, labels={"team": "blue"}, parameters={"threshold": 0.5})
        return replace(made, inputs=made.inputs | reads)

    def _submit(self) -> None:
        self._number += 1
        self._asked = self._store.submit(self._make(), idempotency=Idempotency(f"key-{self._number}", "a" * 64)).job

    def _claim(self) -> None:
        self._running = self._store.claim(worker="wrk_bench", lane=Lane.JOBS, disk_budget_bytes=BUDGET_BYTES)

    def _expire(self) -> None:
        self._store.end_expiry(self._store.begin_expiry(TENANT, limit=STEP))


def compare(few: JobStore, many: JobStore, *, finished: Sequence[int], rounds: int) -> list[Compared]:
    asked = []
    for store, count in zip((few, many), finished, strict=True):
        fill(store, finished=count)
        asked.append(Asked(store, count))
    return in_turn(*asked, rounds=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million")
    parser.add_argument("stores", nargs="*", choices=[[], *STORES])
    parser.add_argument("--jobs", type=int, default=MANY)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"no more than {DUE // STEP * 7 // 10}, or nothing is left to expire")
    given = parser.parse_args()
    for name in given.stores or STORES:
        with STORES[name]() as (few, many):
            began = time.monotonic()
            compared = compare(few, many, finished=(FEW, given.jobs), rounds=given.rounds)
            head = f"{name}: {given.jobs:,} finished jobs beside {FEW:,}; {time.monotonic() - began:.0f} s"
            print(head, table(compared), sep="\n", flush=True)


if __name__ == "__main__":
    main()
