"""Items get their jobs late, and no one notices, over every database."""

from __future__ import annotations

import contextlib
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from fumehood import unfolding
from fumehood.batch import Batch, OnFailure
from fumehood.errors import Conflict, NotFound
from fumehood.job import Input, Job, Lane, State
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.schema import BATCH_ITEMS, BATCH_NEEDS, BATCHES, JOBS
from fumehood.testing import dataset, erasure, job, outcome
from tests.unit.stores import TERMS, batch_of, counted, shares

TENANT = "ten_test"
WINDOW = 5
BUDGET = 2**60


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolding, "WINDOW_JOBS", WINDOW)


def submit(store: JobStore, count: int, **overrides: Any) -> Batch:
    return store.submit_batch(*batch_of(count, **overrides))[0]


def claim(store: JobStore) -> Job | None:
    return store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=BUDGET)


def run_next(store: JobStore, reason: Reason = Reason.OK) -> Job:
    claimed = claim(store)
    assert claimed is not None
    return store.finish(claimed, outcome(reason), erasure(claimed))


def made(store: JobStore, batch: Batch) -> int:
    with store._database.reading() as connection:
        return int(connection.execute(select(func.count()).where(JOBS.c.batch == batch.id)).scalar_one())


def unmade(store: JobStore, batch: Batch) -> tuple[int, int]:
    """As the batch says, and as its items do."""
    waits = (BATCH_ITEMS.c.batch == batch.id, BATCH_ITEMS.c.job.is_(None), BATCH_ITEMS.c.state.is_(None))
    with store._database.reading() as connection:
        told = connection.execute(select(BATCHES.c.unmade).where(BATCHES.c.id == batch.id)).scalar_one()
        return told, int(connection.execute(select(func.count()).select_from(BATCH_ITEMS).where(*waits)).scalar_one())


def test_jobs_are_made_as_the_queue_comes_to_them_and_every_item_has_one_in_the_end(store: JobStore) -> None:
    batch = submit(store, 12)
    assert (made(store, batch), batch.counts) == (WINDOW, {State.QUEUED: 12})
    seen = []
    for number in range(12):
        seen.append(run_next(store).item)
        assert made(store, batch) == min(12, WINDOW * (1 + (number + 1) // WINDOW))
        assert shares(store) == counted(store)
    assert (seen, claim(store)) == (list(range(12)), None)
    now = store.get_batch(TENANT, batch.id)
    assert (now.counts, now.final) == ({State.SUCCEEDED: 12}, True)


def test_an_item_without_a_job_waits_like_any_other(store: JobStore) -> None:
    batch = submit(store, 12)
    last = store.get_item(TENANT, batch.id, 11)
    assert (last.job, last.state, last.reason) == (None, State.QUEUED, None)
    assert [ran.item.number for ran in store.list_items(TENANT, batch.id, state="queued")[0]] == list(range(12))
    assert shares(store) == {(TENANT, "jobs"): (12, 0)}


def test_what_is_submitted_behind_a_batch_is_claimed_behind_all_of_it_and_told_so(store: JobStore) -> None:
    submit(store, 12)
    later = store.submit(job(tenant=TENANT)).job
    assert later.queue_position == 12
    submit(store, 12)
    first = store.submit(replace(job(tenant=TENANT), priority=1)).job
    assert first.queue_position == 0
    last = store.submit(replace(job(tenant=TENANT), priority=-1)).job
    assert last.queue_position == 26
    order = [run_next(store) for _ in range(27)]
    assert [each.item for each in order] == [None, *range(12), None, *range(12), None]
    assert [order[0].id, order[13].id, order[26].id] == [first.id, later.id, last.id]


def test_the_job_that_brings_the_next_ones_may_be_cancelled(store: JobStore) -> None:
    batch = submit(store, 12)
    marked = store.get_item(TENANT, batch.id, WINDOW - 1).job
    assert marked is not None
    store.request_cancel(TENANT, marked.id)
    assert (made(store, batch), shares(store)) == (2 * WINDOW, counted(store))
    assert [run_next(store).item for _ in range(11)] == [*range(4), *range(5, 12)]


def test_a_job_that_is_handed_back_brings_nothing_twice(store: JobStore) -> None:
    batch = submit(store, 12)
    for _ in range(WINDOW - 1):
        run_next(store)
    bringing = claim(store)
    assert bringing is not None
    store.give_back(bringing, erasure(bringing), outcome(Reason.LOST))
    assert (made(store, batch), shares(store)) == (2 * WINDOW, counted(store))
    assert [run_next(store).item for _ in range(8)] == list(range(4, 12))
    assert made(store, batch) == 12


def test_a_cancel_ends_items_that_have_no_job(store: JobStore, clock: Any) -> None:
    batch = submit(store, 12, callback_url="https://example.com/hook")
    running = claim(store)
    assert running is not None
    now, ended = store.cancel_batch(TENANT, batch.id)
    assert (now.counts, len(ended), unmade(store, batch)) == ({State.RUNNING: 1, State.CANCELLED: 11}, 4, (0, 0))
    last = store.get_item(TENANT, batch.id, 11)
    assert (last.job, last.state, last.reason) == (None, State.CANCELLED, Reason.CANCELLED)
    assert store.renew(running).cancel_requested
    clock.now += 1
    store.finish(running, outcome(Reason.CANCELLED), erasure(running))
    after = store.get_batch(TENANT, batch.id)
    assert (after.counts, after.finished_at) == ({State.CANCELLED: 12}, clock.now)
    assert (shares(store), [end.number for end in store.item_ends(TENANT, batch.id)]) == ({}, list(range(12)))
    store.delete_batch(TENANT, batch.id)
    with pytest.raises(NotFound):
        store.get_batch(TENANT, batch.id)


def test_what_an_item_without_a_job_reads_is_not_deleted(store: JobStore) -> None:
    shared, own = (store.add_dataset(dataset(tenant=TENANT, sha256=digit * 64))[0] for digit in "ab")
    batch, items, terms = batch_of(12)
    of = {each.id: Input(blob=each.blob, format="arrow", bytes=1, dataset=each.id) for each in (shared, own)}
    batch = replace(batch, inputs=batch.inputs | {"dataset2": of[shared.id]})
    items[11] = replace(items[11], inputs={"dataset1": of[own.id]})
    store.submit_batch(batch, items, terms)
    for number in range(12):
        for name in (shared.id, own.id):
            with pytest.raises(Conflict):
                store.delete_dataset(TENANT, name)
        assert run_next(store).item == number
    with store._database.reading() as connection:
        assert connection.execute(select(BATCH_NEEDS)).all() == []
    for name in (shared.id, own.id):
        store.delete_dataset(TENANT, name)


def test_after_a_cancel_nothing_is_needed(store: JobStore) -> None:
    kept, _ = store.add_dataset(dataset(tenant=TENANT))
    batch, items, terms = batch_of(12)
    stored = Input(blob=kept.blob, format="arrow", bytes=1, dataset=kept.id)
    store.submit_batch(batch, [replace(item, inputs={"dataset1": stored}) for item in items], terms)
    store.cancel_batch(TENANT, batch.id)
    store.delete_dataset(TENANT, kept.id)


def test_a_tenant_is_erased_without_jobs_being_made_for_it(store: JobStore) -> None:
    tenant = store.create_tenant("lab").id
    batch = store.submit_batch(*batch_of(12, tenant=tenant))[0]
    store.begin_erasure(tenant)
    while store.end_jobs_of(tenant):
        pass
    assert (made(store, batch), shares(store)) == (WINDOW, {})
    while store.erase_rows_of(tenant):
        pass
    with store._database.reading() as connection:
        assert connection.execute(select(BATCH_ITEMS)).all() == []


def test_claims_at_the_same_moment_make_every_job_once(store: JobStore) -> None:
    batch = submit(store, 60)

    def worker(_: int) -> list[int | None]:
        ran = []
        while (claimed := claim(store)) is not None:
            ran.append(store.finish(claimed, outcome(), erasure(claimed)).item)
        return ran

    with ThreadPoolExecutor(4) as threads:
        ran = [number for part in threads.map(worker, range(4)) for number in part]
    assert sorted(number for number in ran if number is not None) == list(range(60))
    assert (made(store, batch), shares(store)) == (60, {})


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_in_whatever_order_every_item_ends_and_every_count_is_right(store: JobStore, seed: int) -> None:
    dice = random.Random(seed)
    batches = [submit(store, dice.randint(1, 3 * WINDOW), on_failure=dice.choice(list(OnFailure))) for _ in range(3)]
    running: list[Job] = []

    def any_item() -> tuple[Batch, int]:
        batch = dice.choice(batches)
        return batch, dice.randrange(batch.items)

    def start() -> None:
        if (claimed := claim(store)) is not None:
            running.append(claimed)

    def end(reason: Reason) -> None:
        it = running.pop(dice.randrange(len(running)))
        cancelled = store.renew(it).cancel_requested
        store.finish(it, outcome(Reason.CANCELLED if cancelled else reason), erasure(it))

    def hand_back() -> None:
        it = running.pop(dice.randrange(len(running)))
        store.give_back(it, erasure(it), outcome(Reason.LOST))

    def cancel_one() -> None:
        batch, number = any_item()
        if (one := store.get_item(TENANT, batch.id, number).job) is not None:
            store.request_cancel(TENANT, one.id)

    def retry() -> None:
        batch, number = any_item()
        store.retry_items(TENANT, batch.id, TERMS, number=dice.choice([None, number]))

    deeds: list[tuple[Any, int]] = [
        (start, 8),
        (lambda: end(Reason.OK), 5),
        (lambda: end(Reason.SCRIPT_ERROR), 2),
        (hand_back, 1),
        (cancel_one, 1),
        (retry, 2),
        (lambda: store.cancel_batch(TENANT, dice.choice(batches).id), 1),
    ]
    for _ in range(120):
        deed = dice.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]
        # Nobody is there to be ended, or it is too late for it.
        with contextlib.suppress(Conflict, ValueError, IndexError):
            deed()
        assert shares(store) == counted(store)
        for batch in batches:
            told, counted_items = unmade(store, batch)
            assert told == counted_items
            with store._database.reading() as connection:
                assert unfolding.is_unfolding(connection, batch.id) == (told > 0)
    while running or (start() or running):
        end(Reason.OK)
    for batch in batches:
        now = store.get_batch(TENANT, batch.id)
        assert now.final
        assert sum(now.counts.values()) == batch.items
    assert shares(store) == {}
