"""Whose turn it is: fair shares over tenants, priorities and age within one."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, update

from fumehood.fair_share import CARRIED_SECONDS, joined
from fumehood.job import Job, Kind, Lane
from fumehood.job_store import JobStore
from fumehood.rows import job_to_row
from fumehood.schema import JOBS, SHARES, TENANTS
from fumehood.testing import erasure, job, outcome
from tests.unit.stores import Clock, batch_of, counted, shares

BUDGET = 2**60


def queued(store: JobStore, tenant: str, count: int) -> None:
    """So many jobs of a tenant at once, without the way that jobs usually come."""
    row = job_to_row(job(tenant=tenant)) | {"created_at": 0.0}
    with store._database.writing() as connection:
        connection.execute(insert(JOBS), [{**row, "id": f"job_{tenant}_{count}_{n}", "place": n} for n in range(count)])
        joined(connection, tenant, Lane.JOBS.value, jobs=count)


def submit(store: JobStore, tenant: str, count: int = 1, **overrides: Any) -> list[str]:
    return [store.submit(job(tenant=tenant, **overrides)).job.id for _ in range(count)]


def claim(store: JobStore, lane: Lane = Lane.JOBS) -> Job | None:
    return store.claim(worker="w", lane=lane, disk_budget_bytes=BUDGET)


def next_job(store: JobStore, lane: Lane = Lane.JOBS) -> Job:
    claimed = claim(store, lane)
    assert claimed is not None
    return claimed


def finish(store: JobStore, running: Job) -> None:
    store.finish(running, outcome(), erasure(running))


def tenant(store: JobStore, name: str, **values: Any) -> None:
    with store._database.writing() as connection:
        connection.execute(insert(TENANTS), {"id": name, "name": name, "created_at": 0.0, **values})


def run(store: JobStore, clock: Clock, *, slots: int, seconds: Callable[[Job], float], until: float) -> dict[str, float]:
    """Let workers run for so long; returns the seconds that each tenant held a slot in."""
    ends: list[tuple[float, str, Job]] = []
    held: Counter[str] = Counter()
    over_at = clock.now + until
    while clock.now < over_at:
        while len(ends) < slots and (claimed := claim(store)) is not None:
            duration = seconds(claimed)
            heapq.heappush(ends, (clock.now + duration, claimed.id, claimed))
            held[claimed.tenant] += min(duration, over_at - clock.now)
        assert ends, "there was nothing left to run before the time was over"
        clock.now, _, ended = heapq.heappop(ends)
        finish(store, ended)
    return dict(held)


def test_the_first_job_of_another_tenant_has_the_next_slot(store: JobStore) -> None:
    submit(store, "ten_a", 50)
    for _ in range(3):
        finish(store, next_job(store))
    running = next_job(store)
    (theirs,) = submit(store, "ten_b")
    finish(store, running)
    assert next_job(store).id == theirs


# One slot has few of the long jobs in a while: it takes longer until one more or less does not matter.
@pytest.mark.parametrize(("slots", "until"), [(1, 720.0), (5, 240.0)])
def test_three_tenants_have_their_shares_by_weight(store: JobStore, clock: Clock, slots: int, until: float) -> None:
    tenant(store, "ten_c", weight=2.0)
    chance, due = random.Random(slots), {"ten_a": 0.25, "ten_b": 0.25, "ten_c": 0.5}
    # One's jobs take five times as long as another one's: by their number, the shares would be far from these.
    usual = {"ten_a": 2.0, "ten_b": 10.0, "ten_c": 4.0}
    for name, share in due.items():
        queued(store, name, 20 + int(1.3 * share * slots * until / usual[name]))
    held = run(store, clock, slots=slots, seconds=lambda each: usual[each.tenant] * chance.uniform(0.5, 1.5), until=until)
    assert {name: seconds / sum(held.values()) for name, seconds in held.items()} == pytest.approx(due, rel=0.10)


def test_who_was_away_is_owed_nothing_and_owes_little(store: JobStore, clock: Clock) -> None:
    queued(store, "ten_a", 200)
    submit(store, "ten_b", 1)
    # A long job of b's, while a has nothing but short ones; then b comes back.
    for _ in range(2):
        running = next_job(store)
        clock.now += 200.0 if running.tenant == "ten_b" else 1.0
        finish(store, running)
    submit(store, "ten_b", 30)
    order = []
    for _ in range(int(CARRIED_SECONDS) + 20):
        running = next_job(store)
        order.append(running.tenant)
        clock.now += 1.0
        finish(store, running)
    assert order.index("ten_b") <= CARRIED_SECONDS + 1
    late = order[order.index("ten_b") :]
    assert late.count("ten_a") == pytest.approx(late.count("ten_b"), abs=1)


def test_a_tenant_that_was_held_up_does_not_make_everybody_wait_for_what_it_missed(store: JobStore, clock: Clock) -> None:
    tenant(store, "ten_b", state="suspended")
    queued(store, "ten_b", 300)
    queued(store, "ten_a", 500)
    assert run(store, clock, slots=1, seconds=lambda _: 2.0, until=200.0) == {"ten_a": 200.0}
    with store._database.writing() as connection:
        connection.execute(update(TENANTS).values(state="active"))
    held = run(store, clock, slots=1, seconds=lambda _: 2.0, until=160.0)
    assert held["ten_a"] >= (160.0 - CARRIED_SECONDS) / 2 - 4


def test_within_a_tenant_priority_decides_and_then_age(store: JobStore) -> None:
    (usual,), (low,), (later,), (high,) = (submit(store, "ten_a", priority=priority) for priority in (0, -1, 0, 5))
    assert [next_job(store).id for _ in range(4)] == [high, usual, later, low]


def test_priorities_of_one_tenant_do_not_concern_another(store: JobStore) -> None:
    submit(store, "ten_a", 4, priority=10)
    submit(store, "ten_b", 4, priority=-10)
    first = [next_job(store).tenant for _ in range(4)]
    assert Counter(first) == {"ten_a": 2, "ten_b": 2}


def test_what_is_accepted_after_a_batch_is_claimed_after_its_items(store: JobStore) -> None:
    batch, *asked = batch_of(3)
    store.submit_batch(batch, *asked)
    (later,) = submit(store, batch.tenant)
    claimed = [next_job(store) for _ in range(4)]
    assert ([each.item for each in claimed], claimed[3].id) == ([0, 1, 2, None], later)


def test_a_tenant_has_no_more_running_than_its_quota(store: JobStore) -> None:
    tenant(store, "ten_a", quota={"running_jobs": 2})
    submit(store, "ten_a", 4)
    running = [next_job(store) for _ in range(2)]
    assert (claim(store), store.eligible(Lane.JOBS), store.queued(Lane.JOBS)) == (None, 0, 2)
    (theirs,) = submit(store, "ten_b")
    assert store.eligible(Lane.JOBS) == 1
    assert next_job(store).id == theirs
    finish(store, running[0])
    assert store.eligible(Lane.JOBS) == 1
    assert next_job(store).tenant == "ten_a"
    assert claim(store) is None


def test_nothing_of_a_suspended_tenant_is_claimed(store: JobStore) -> None:
    tenant(store, "ten_a", state="suspended")
    submit(store, "ten_a", 2)
    assert (claim(store), store.eligible(Lane.JOBS)) == (None, 0)


def test_errands_have_turns_of_their_own(store: JobStore) -> None:
    submit(store, "ten_a", 3, kind=Kind.DESCRIBE)
    submit(store, "ten_b", 1, kind=Kind.DESCRIBE)
    submit(store, "ten_a", 1)
    assert [next_job(store, Lane.ERRANDS).tenant for _ in range(2)] == ["ten_a", "ten_b"]
    assert next_job(store).tenant == "ten_a"


def test_what_the_service_lost_is_charged_to_nobody(store: JobStore, clock: Clock) -> None:
    before = {}
    submit(store, "ten_a", 2)
    for stage in ("before", "after"):
        with store._database.reading() as connection:
            before[stage] = connection.execute(select(SHARES.c.virtual_time, SHARES.c.queued, SHARES.c.running)).one()
        if stage == "before":
            running = next_job(store)
            clock.now += 500.0
            store.give_back(running, erasure(running), outcome("lost"))
    assert before["before"] == before["after"] == (0.0, 2, 0)


@pytest.mark.parametrize("seconds", [-3600.0, 10.0**9])
def test_a_clock_that_jumps_ruins_nobody(store: JobStore, clock: Clock, seconds: float) -> None:
    submit(store, "ten_a", 2)
    running = next_job(store)
    clock.now += seconds
    finish(store, running)
    with store._database.reading() as connection:
        charged = connection.execute(select(SHARES.c.virtual_time)).scalar_one()
    assert 0 <= charged <= 2 * running.limits.wall_seconds + CARRIED_SECONDS


def test_a_claim_costs_the_same_with_ten_and_with_ten_thousand_queued(home: Path) -> None:
    """In steps of SQLite's machine; what PostgreSQL makes of the statements is looked at elsewhere."""
    sqlite_store = JobStore(f"sqlite:///{home}/fumehood.db")
    sqlite_store.migrate()
    steps: list[int] = []

    @event.listens_for(sqlite_store._database._engine, "begin")
    def count(connection: Connection) -> None:
        connection.connection.dbapi_connection.set_progress_handler(lambda: steps.append(1), 10)  # type: ignore[union-attr]

    costs = {}
    for waiting in (10, 10_000):
        for n in range(5):
            queued(sqlite_store, f"ten_{n}", waiting // 5)
        next_job(sqlite_store)
        steps.clear()
        for _ in range(5):
            next_job(sqlite_store)
        costs[waiting] = len(steps)
    sqlite_store.close()
    assert costs[10_000] <= 1.3 * costs[10], costs


def test_what_is_counted_is_what_there_is(store: JobStore) -> None:
    """Through every move; the life of jobs (test_store_life) holds it in any order of them."""
    batch, *asked = batch_of(3)
    store.submit_batch(batch, *asked)
    submit(store, "ten_a", 3)
    submit(store, "ten_a", kind=Kind.DESCRIBE)
    assert shares(store) == counted(store)
    running = [next_job(store) for _ in range(4)]
    assert shares(store) == counted(store)
    finish(store, running[0])
    store.give_back(running[1], erasure(running[1]), outcome("lost"))
    store.request_cancel("ten_a", next(each.id for each in store.list_jobs("ten_a", state="queued")[0]))
    assert shares(store) == counted(store)
    store.cancel_batch(batch.tenant, batch.id)
    assert shares(store) == counted(store)
