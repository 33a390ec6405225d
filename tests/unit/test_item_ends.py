"""Item ends: what streams tell, of the right items and of the right tenant, in both databases."""

from __future__ import annotations

from fumehood.batch import Isolation
from fumehood.job import Job, State
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.testing import erasure, job, outcome
from tests.unit.stores import Clock
from tests.unit.test_batch_store import TENANT, claim, ending, submit


def finish(store: JobStore, how: Reason = Reason.OK, **overrides: object) -> Job:
    running = claim(store)
    return store.finish(running, outcome(how, **overrides), erasure(running))


def test_items_that_have_ended_come_by_number_with_the_job_that_each_is(store: JobStore) -> None:
    batch = submit(store, 4)
    assert store.item_ends(TENANT, batch.id) == []
    first, second = finish(store), finish(store, Reason.SCRIPT_ERROR)
    claim(store)
    told = store.item_ends(TENANT, batch.id)
    assert [(end.number, end.state, end.reason, end.job) for end in told] == [
        (0, State.SUCCEEDED, Reason.OK, first.id),
        (1, State.FAILED, Reason.SCRIPT_ERROR, second.id),
    ]
    assert store.item_ends(TENANT, batch.id, after=0) == told[1:]
    assert store.item_ends(TENANT, batch.id, limit=1) == told[:1]
    assert store.item_ends(TENANT, batch.id, jobs=[second.id]) == told[1:]
    assert store.item_ends(TENANT, batch.id, jobs=[]) == []


def test_items_that_ended_before_a_time_are_left_out(store: JobStore, clock: Clock) -> None:
    batch = submit(store, 2)
    finish(store)
    clock.now += 10
    finish(store)
    assert [end.number for end in store.item_ends(TENANT, batch.id, since=clock.now - 5)] == [1]
    assert [end.number for end in store.item_ends(TENANT, batch.id, since=clock.now - 15)] == [0, 1]


def test_items_of_a_chunk_have_ends_of_their_own_and_no_job(store: JobStore) -> None:
    batch = submit(store, 2, Isolation.BATCH)
    finish(store, report={"items": [ending(0), ending(1, Reason.SCRIPT_ERROR)]})
    assert [(end.number, end.state, end.reason, end.job) for end in store.item_ends(TENANT, batch.id)] == [
        (0, State.SUCCEEDED, Reason.OK, None),
        (1, State.FAILED, Reason.SCRIPT_ERROR, None),
    ]


def test_items_end_as_their_chunk_where_it_says_nothing_of_them(store: JobStore) -> None:
    batch = submit(store, 2, Isolation.BATCH)
    finish(store, Reason.OUT_OF_MEMORY)
    assert {(end.state, end.reason) for end in store.item_ends(TENANT, batch.id)} == {(State.FAILED, Reason.OUT_OF_MEMORY)}


def test_what_a_cancel_ended_is_told_too(store: JobStore) -> None:
    batch = submit(store, 2)
    store.cancel_batch(TENANT, batch.id)
    assert {(end.state, end.reason) for end in store.item_ends(TENANT, batch.id)} == {(State.CANCELLED, Reason.CANCELLED)}


def test_another_tenants_batch_has_no_ends(store: JobStore) -> None:
    batch = submit(store, 1)
    finish(store)
    assert store.item_ends("ten_other", batch.id) == []


def test_jobs_that_wait_and_run_are_counted_and_no_further_than_asked(store: JobStore) -> None:
    for _ in range(4):
        store.submit(job())
    store.submit(job(tenant="ten_other"))
    claim(store)
    submit(store, 2, Isolation.BATCH)
    assert store.count_live(TENANT, at_most=1000) == {State.QUEUED: 3, State.RUNNING: 1}
    assert store.count_live(TENANT, at_most=2) == {State.QUEUED: 2, State.RUNNING: 1}
