"""What is taken away when, over every database; and what is never taken away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from fumehood.batch import Batch, Isolation
from fumehood.errors import BadRequest, NotFound
from fumehood.expiry import Part, expiry_of
from fumehood.expiry_store import AGAIN_SECONDS, PUT_OFF_SECONDS, TOMBSTONE_SECONDS
from fumehood.job import Input, Job, Kind, Lane, State
from fumehood.job_store import Idempotency, JobStore
from fumehood.outcome import Reason
from fumehood.quota import DAY_SECONDS, Retention
from fumehood.schema import BATCH_ITEMS, BATCHES, IDEMPOTENCY, JOB_LABELS, JOBS, TENANTS
from fumehood.tenant import new_key
from fumehood.testing import dataset, erasure, job, outcome
from tests.unit.stores import Clock, batch_of

TENANT = "ten_test"
DAYS = Retention(log_days=1, result_days=2, record_days=3, dataset_days=4)
EVERYTHING = frozenset(Part)


def submit(store: JobStore, **overrides: Any) -> Job:
    return store.submit(job(**({"retention": DAYS} | overrides))).job


def ended(store: JobStore, reason: Reason = Reason.OK, **overrides: Any) -> Job:
    submit(store, **overrides)
    return end_next(store, reason)


def end_next(store: JobStore, reason: Reason = Reason.OK, lane: Lane = Lane.JOBS) -> Job:
    claimed = store.claim(worker="wrk_test", lane=lane, disk_budget_bytes=2**60)
    assert claimed is not None
    return store.finish(claimed, outcome(reason), erasure(claimed))


def pass_days(clock: Clock, days: float) -> None:
    clock.now += days * DAY_SECONDS


def expire(store: JobStore, tenant: str = TENANT, **options: Any) -> dict[str, frozenset[Part]]:
    """One step, as the worker does it."""
    dues = store.begin_expiry(tenant, **options)
    store.end_expiry(dues)
    return {due.job.id: due.parts for due in dues}


def reads(of: Job, port: str = "dataset1") -> dict[str, Input]:
    return {
        "script": Input(blob="b", format="py", bytes=1),
        port: Input(blob="b", format="arrow", bytes=1, source={"job": of.id, "output": "result"}),
    }


def uses(name: str, port: str = "dataset1") -> dict[str, Input]:
    return {"script": Input(blob="b", format="py", bytes=1), port: Input(blob="b", format="arrow", bytes=1, dataset=name)}


def count(store: JobStore, table: Any) -> int:
    with store._database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


# jobs --------------------------------------------------------------------------------------------------------------------
def test_each_part_of_a_job_goes_when_its_time_is_over_and_no_sooner(store: JobStore, clock: Clock) -> None:
    done = ended(store, labels={"team": "blue"})
    expiry = expiry_of(done)
    assert expiry is not None
    assert (expiry.log_at, expiry.results_at, expiry.record_at) == tuple(clock.now + days * DAY_SECONDS for days in (1, 2, 3))
    pass_days(clock, 0.99)
    assert expire(store) == {}
    pass_days(clock, 0.01)
    assert expire(store) == {done.id: {Part.LOG}}
    assert expire(store) == {}
    now = store.get_job(TENANT, done.id)
    assert (now.log_gone_at, now.results_gone_at) == (clock.now, None)
    pass_days(clock, 1)
    assert expire(store) == {done.id: {Part.LOG, Part.RESULTS}}
    pass_days(clock, 1)
    assert expire(store) == {done.id: EVERYTHING}
    with pytest.raises(NotFound):
        store.get_job(TENANT, done.id)
    assert store.list_jobs(TENANT, labels=[("team", "blue")])[0] == []
    assert count(store, JOB_LABELS) == 0
    assert store.expired_at(TENANT, done.id) == clock.now


def test_nothing_outlives_the_record(store: JobStore, clock: Clock) -> None:
    done = ended(store, retention=replace(DAYS, record_days=0.5))
    pass_days(clock, 0.5)
    assert expire(store) == {done.id: EVERYTHING}
    assert count(store, JOBS) == 0


def test_a_job_that_has_not_ended_does_not_expire_however_old_it_is(store: JobStore, clock: Clock) -> None:
    submit(store)
    claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    submit(store)
    pass_days(clock, 1000)
    assert expire(store) == {}
    assert claimed is not None
    store.finish(claimed, outcome(), erasure(claimed))
    assert expire(store) == {}


@pytest.mark.parametrize("way", ["cancelled while queued", "cancelled with its batch", "given back for the last time"])
def test_a_job_expires_however_it_ended(store: JobStore, clock: Clock, way: str) -> None:
    if way == "cancelled with its batch":
        batch, _ = store.submit_batch(*batch_of(1, retention=DAYS))
        store.cancel_batch(TENANT, batch.id)
    elif way == "cancelled while queued":
        store.request_cancel(TENANT, submit(store).id)
    else:
        submit(store, attempts_max=1)
        claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
        assert claimed is not None
        store.give_back(claimed, erasure(claimed), outcome(Reason.LOST))
    pass_days(clock, 1)
    assert list(expire(store).values()) == [{Part.LOG}]


def test_the_lifetimes_of_the_submit_hold(store: JobStore, clock: Clock) -> None:
    first, second = ended(store), ended(store, retention=replace(DAYS, record_days=30, log_days=30, result_days=30))
    pass_days(clock, 3)
    assert expire(store) == {first.id: EVERYTHING}
    assert store.get_job(TENANT, second.id).state is State.SUCCEEDED


def test_what_was_stored_before_there_were_lifetimes_stays(store: JobStore, clock: Clock) -> None:
    old = ended(store, retention=None)
    kept, _ = store.add_dataset(dataset(kept_seconds=None))
    pass_days(clock, 10_000)
    assert expire(store) == {}
    assert store.due_datasets(TENANT) == []
    assert expiry_of(store.get_job(TENANT, old.id)) is None
    assert store.get_dataset(TENANT, kept.id).expires_at is None


def test_an_errand_is_its_askers_and_has_no_lifetime(store: JobStore, clock: Clock) -> None:
    submit(store, kind=Kind.DESCRIBE)
    end_next(store, lane=Lane.ERRANDS)
    pass_days(clock, 10_000)
    assert expire(store) == {}


def test_results_that_an_unfinished_job_reads_stay_for_it(store: JobStore, clock: Clock) -> None:
    source = ended(store)
    reader = submit(store, inputs=reads(source))
    pass_days(clock, 3)
    assert expire(store) == {source.id: {Part.LOG}}
    assert expire(store) == {}
    clock.now += PUT_OFF_SECONDS
    assert expire(store) == {source.id: {Part.LOG}}
    assert store.get_job(TENANT, source.id).results_gone_at is None
    store.request_cancel(TENANT, reader.id)
    clock.now += PUT_OFF_SECONDS
    assert expire(store) == {source.id: EVERYTHING}


def test_results_that_are_gone_are_no_input_of_anything(store: JobStore, clock: Clock) -> None:
    source = ended(store)
    pass_days(clock, 2)
    store.begin_expiry(TENANT)  # its blobs are just being deleted
    with pytest.raises(BadRequest, match="there is no job"):
        submit(store, inputs=reads(source))
    batch, *asked = batch_of(1, inputs=reads(source, "dataset2"))
    with pytest.raises(BadRequest, match="there is no job"):
        store.submit_batch(batch, *asked)


def test_a_worker_that_died_half_way_leaves_what_is_due_again(store: JobStore, clock: Clock) -> None:
    done = ended(store)
    pass_days(clock, 3)
    assert [due.parts for due in store.begin_expiry(TENANT)] == [EVERYTHING]
    assert store.begin_expiry(TENANT) == []  # others leave it alone
    assert store.get_job(TENANT, done.id).log_gone_at == clock.now
    clock.now += AGAIN_SECONDS
    assert [due.parts for due in store.begin_expiry(TENANT)] == [EVERYTHING]


def test_parts_that_a_dead_worker_marked_are_removed_all_the_same_and_went_when_it_said_so(store: JobStore, clock: Clock) -> None:
    done = ended(store)
    pass_days(clock, 1)
    store.begin_expiry(TENANT)
    clock.now += AGAIN_SECONDS
    assert expire(store) == {done.id: {Part.LOG}}
    assert store.get_job(TENANT, done.id).log_gone_at == clock.now - AGAIN_SECONDS


def test_a_step_takes_no_more_than_it_may_and_the_oldest_first(store: JobStore, clock: Clock) -> None:
    names = []
    for _ in range(5):
        names.append(ended(store).id)
        clock.now += 1
    pass_days(clock, 3)
    assert [list(expire(store, limit=2)) for _ in range(3)] == [names[:2], names[2:4], names[4:]]


def test_the_key_goes_with_its_job(store: JobStore, clock: Clock) -> None:
    key = Idempotency("k", "a" * 64)
    store.submit(job(retention=replace(DAYS, record_days=0.1)), idempotency=key)
    end_next(store)
    pass_days(clock, 0.1)
    expire(store)
    assert count(store, IDEMPOTENCY) == 0
    assert not store.submit(job(), idempotency=key).replayed


def test_what_a_tenant_deletes_while_it_expires_did_not_expire(store: JobStore, clock: Clock) -> None:
    done = ended(store)
    pass_days(clock, 3)
    dues = store.begin_expiry(TENANT)
    store.delete_job(TENANT, done.id)
    store.end_expiry(dues)
    assert store.expired_at(TENANT, done.id) is None


# tombstones --------------------------------------------------------------------------------------------------------------
def test_what_expired_is_known_to_its_tenant_alone_and_not_for_ever(store: JobStore, clock: Clock) -> None:
    done = ended(store)
    pass_days(clock, 3)
    expire(store)
    assert store.expired_at(TENANT, done.id) == clock.now
    assert store.expired_at("ten_other", done.id) is None
    assert store.forget_tombstones() == 0
    clock.now += TOMBSTONE_SECONDS + 1
    assert store.expired_at(TENANT, done.id) is None
    assert store.forget_tombstones() == 1


def test_what_a_tenant_deleted_is_not_remembered(store: JobStore) -> None:
    done = ended(store)
    kept, _ = store.add_dataset(dataset())
    store.delete_job(TENANT, done.id)
    store.delete_dataset(TENANT, kept.id)
    assert [store.expired_at(TENANT, name) for name in (done.id, kept.id)] == [None, None]


# datasets ----------------------------------------------------------------------------------------------------------------
def stored(store: JobStore, **overrides: Any) -> str:
    return store.add_dataset(dataset(**({"kept_seconds": 4 * DAY_SECONDS} | overrides)))[0].id


def test_a_dataset_goes_when_nothing_has_used_it_for_its_lifetime(store: JobStore, clock: Clock) -> None:
    name = stored(store)
    assert store.get_dataset(TENANT, name).expires_at == clock.now + 4 * DAY_SECONDS
    pass_days(clock, 3)
    ended(store, inputs=uses(name))
    pass_days(clock, 3.9)
    assert store.due_datasets(TENANT) == []
    assert not store.expire_dataset(TENANT, name)
    pass_days(clock, 0.1)
    assert store.due_datasets(TENANT) == [name]
    assert store.expire_dataset(TENANT, name)
    assert store.expired_at(TENANT, name) == clock.now
    assert store.due_datasets(TENANT) == []


def test_a_dataset_that_an_unfinished_job_needs_stays_and_its_use_counts_from_the_end(store: JobStore, clock: Clock) -> None:
    name = stored(store)
    submit(store, inputs=uses(name))
    pass_days(clock, 10)
    assert store.due_datasets(TENANT) == [name]
    assert not store.expire_dataset(TENANT, name)
    assert store.due_datasets(TENANT) == []  # put off
    end_next(store)
    assert store.get_dataset(TENANT, name).expires_at == clock.now + 4 * DAY_SECONDS


def test_a_dataset_of_a_cancelled_batch_was_used_by_it(store: JobStore, clock: Clock) -> None:
    name = stored(store)
    batch, _ = store.submit_batch(*batch_of(2, inputs=uses(name, "dataset2")))
    pass_days(clock, 1)
    store.cancel_batch(TENANT, batch.id)
    assert store.get_dataset(TENANT, name).expires_at == clock.now + 4 * DAY_SECONDS


def test_a_pinned_dataset_stays_until_it_is_deleted(store: JobStore, clock: Clock) -> None:
    name, born_pinned = stored(store), stored(store, pinned=True)
    assert store.pin_dataset(TENANT, name, pinned=True).expires_at is None
    ended(store, inputs=uses(name))
    pass_days(clock, 10_000)
    assert store.due_datasets(TENANT) == []
    assert not store.expire_dataset(TENANT, name)
    assert store.pin_dataset(TENANT, name, pinned=False).expires_at == clock.now + 4 * DAY_SECONDS
    assert store.get_dataset(TENANT, born_pinned).pinned
    store.delete_dataset(TENANT, born_pinned)


def test_an_upload_of_the_same_bytes_uses_the_dataset_and_may_pin_it(store: JobStore, clock: Clock) -> None:
    name = stored(store)
    pass_days(clock, 1)
    assert store.use_dataset(TENANT, name, kept_seconds=60.0).expires_at == clock.now + 60
    assert store.use_dataset(TENANT, name, kept_seconds=60.0, pinned=True).pinned
    assert store.use_dataset(TENANT, name, kept_seconds=60.0).pinned
    with pytest.raises(NotFound):
        store.use_dataset(TENANT, "ds_none", kept_seconds=60.0)


# batches -----------------------------------------------------------------------------------------------------------------
def whole(store: JobStore, items: int = 3, isolation: Isolation = Isolation.ITEM) -> Batch:
    batch, _ = store.submit_batch(*batch_of(items, isolation, retention=DAYS), key="k", request_sha256="a" * 64)
    return batch


def take_away(store: JobStore, batch: Batch, *, limit: int = 2) -> int:
    steps = 1
    while not store.shrink_batch(TENANT, batch.id, limit=limit):
        steps += 1
    store.end_batch_expiry(batch.id)
    return steps


@pytest.mark.parametrize("isolation", Isolation)
def test_a_batch_goes_as_a_whole_in_small_steps(store: JobStore, clock: Clock, isolation: Isolation) -> None:
    batch = whole(store, 60 if isolation is Isolation.BATCH else 3, isolation)
    jobs = [end_next(store) for _ in range(count(store, JOBS))]
    pass_days(clock, 2.9)
    expire(store)
    assert store.begin_batch_expiry(TENANT) == []
    pass_days(clock, 0.1)
    assert set(expire(store).values()) <= {frozenset({Part.LOG}), frozenset({Part.RESULTS})}  # never the record by itself
    assert store.get_batch(TENANT, batch.id).counts == {State.SUCCEEDED: batch.items}
    assert store.begin_batch_expiry(TENANT) == [batch.id]
    with pytest.raises(NotFound):  # at once, although its rows are there
        store.get_batch(TENANT, batch.id)
    assert store.list_batches(TENANT) == ([], None)
    assert store.expired_at(TENANT, batch.id) == clock.now
    assert take_away(store, batch) > 2
    assert [count(store, table) for table in (BATCHES, BATCH_ITEMS, JOBS, IDEMPOTENCY)] == [0, 0, 0, 0]
    assert {store.expired_at(TENANT, each.id) for each in jobs} == {clock.now}


def test_a_batch_counts_from_the_end_of_its_last_item(store: JobStore, clock: Clock) -> None:
    batch = whole(store)
    end_next(store)
    end_next(store)
    pass_days(clock, 5)
    assert store.begin_batch_expiry(TENANT) == []
    end_next(store)
    found = store.get_batch(TENANT, batch.id)
    assert found.expires_at == clock.now + 3 * DAY_SECONDS
    pass_days(clock, 2.9)
    assert store.begin_batch_expiry(TENANT) == []
    pass_days(clock, 0.1)
    assert store.begin_batch_expiry(TENANT) == [batch.id]


def test_a_batch_whose_output_an_unfinished_job_reads_stays(store: JobStore, clock: Clock) -> None:
    batch = whole(store, 1)
    reader = submit(store, inputs=reads(end_next(store)))
    pass_days(clock, 3)
    assert store.begin_batch_expiry(TENANT) == []
    store.request_cancel(TENANT, reader.id)
    clock.now += PUT_OFF_SECONDS
    assert store.begin_batch_expiry(TENANT) == [batch.id]


def test_a_reader_that_comes_at_the_last_moment_holds_up_the_rest_of_the_batch_and_nothing_else(store: JobStore, clock: Clock) -> None:
    batch = whole(store, 1)
    done = end_next(store)
    pass_days(clock, 3)
    assert store.begin_batch_expiry(TENANT) == [batch.id]
    reader = submit(store, inputs=reads(done))
    assert not store.shrink_batch(TENANT, batch.id)  # the item
    assert not store.shrink_batch(TENANT, batch.id)
    assert store.begin_batch_expiry(TENANT) == []
    store.request_cancel(TENANT, reader.id)
    clock.now += PUT_OFF_SECONDS
    assert store.begin_batch_expiry(TENANT) == [batch.id]
    assert take_away(store, batch) == 2


def test_a_batch_that_is_there_is_not_taken_to_pieces(store: JobStore) -> None:
    batch = whole(store)
    assert not store.shrink_batch(TENANT, batch.id)
    store.end_batch_expiry(batch.id)
    assert store.get_batch(TENANT, batch.id).counts == {State.QUEUED: 3}


# tenants -----------------------------------------------------------------------------------------------------------------
def test_tenants_with_anything_due_are_found_whatever_it_is(store: JobStore, clock: Clock) -> None:
    names = [store.ensure_tenant(name, new_key()).id for name in ("a", "b", "c", "d")]
    ended(store, tenant=names[0])
    batch, *asked = batch_of(1, retention=DAYS)
    store.submit_batch(replace(batch, tenant=names[1]), *asked)
    stored(store, tenant=names[2])
    assert store.tenants_with_due() == []
    pass_days(clock, 4)
    assert sorted(store.tenants_with_due()) == sorted(names[:3])
    assert count(store, TENANTS) == 4
