"""The end of a batch with its first failure, and items that run again, over every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from fumehood import batch_retries, unfolding
from fumehood.batch import Batch, Isolation, OnFailure
from fumehood.errors import BadRequest, Conflict, NotFound
from fumehood.job import Input, Job, Lane, State
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.schema import BATCH_ITEMS, JOBS
from fumehood.testing import dataset, erasure, job, outcome
from fumehood.webhook_schema import DELIVERIES
from tests.unit.stores import TERMS, batch_of, counted, shares

TENANT = "ten_test"
FAILED = Reason.SCRIPT_ERROR


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfolding, "WINDOW_JOBS", 5)


def submit(store: JobStore, count: int, isolation: Isolation = Isolation.ITEM, **overrides: Any) -> Batch:
    return store.submit_batch(*batch_of(count, isolation, **overrides))[0]


def claim(store: JobStore) -> Job:
    claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert claimed is not None
    return claimed


def end(store: JobStore, it: Job, reason: Reason = Reason.OK, **more: Any) -> Job:
    return store.finish(it, outcome(reason, **more), erasure(it))


def run_all(store: JobStore, failing: tuple[int, ...] = ()) -> list[int | None]:
    ran = []
    while (it := store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)) is not None:
        end(store, it, FAILED if it.item in failing else Reason.OK)
        ran.append(it.item)
    return ran


def said(reasons: dict[int, Reason], numbers: range) -> dict[str, Any]:
    items = [{"number": n, "reason": reasons.get(n, Reason.OK).value, "message": "", "milliseconds": 1.0} for n in numbers]
    return {"report": {"items": items}}


# the first failure -------------------------------------------------------------------------------------------------------
def test_the_first_failure_cancels_what_has_not_begun_and_what_runs_ends_by_itself(store: JobStore) -> None:
    batch = submit(store, 12, on_failure=OnFailure.STOP)
    first, second = claim(store), claim(store)
    end(store, first, FAILED)
    now = store.get_batch(TENANT, batch.id)
    assert (now.stopped_by, now.cancel_requested) == (0, False)
    assert now.counts == {State.FAILED: 1, State.RUNNING: 1, State.CANCELLED: 10}
    last = store.get_item(TENANT, batch.id, 11).ending
    assert last is not None
    assert "item 0 failed" in last.message
    assert not store.renew(second).cancel_requested
    end(store, second)
    now = store.get_batch(TENANT, batch.id)
    assert (now.final, now.counts[State.SUCCEEDED], shares(store)) == (True, 1, {})


@pytest.mark.parametrize("reason", [Reason.OK, Reason.LOST, Reason.CANCELLED])
def test_what_is_no_failure_of_the_tenants_stops_nothing(store: JobStore, reason: Reason) -> None:
    batch = submit(store, 3, on_failure=OnFailure.STOP)
    end(store, claim(store), reason)
    now = store.get_batch(TENANT, batch.id)
    assert (now.stopped_by, now.counts[State.QUEUED]) == (None, 2)


def test_a_batch_that_continues_is_not_stopped(store: JobStore) -> None:
    batch = submit(store, 3)
    assert run_all(store, failing=(0,)) == [0, 1, 2]
    assert store.get_batch(TENANT, batch.id).stopped_by is None


def test_the_first_item_that_failed_in_a_chunk_stops_the_other_chunks(store: JobStore) -> None:
    batch = submit(store, 60, Isolation.BATCH, on_failure=OnFailure.STOP)
    end(store, claim(store), **said({7: FAILED, 9: FAILED}, range(25)))
    now = store.get_batch(TENANT, batch.id)
    assert (now.stopped_by, now.counts) == (7, {State.SUCCEEDED: 23, State.FAILED: 2, State.CANCELLED: 35})


def test_a_batch_that_stops_and_jobs_that_come_do_not_wait_for_each_other(store: JobStore) -> None:
    over = threading.Event()
    name = store.create_tenant("lab").id

    def come() -> int:
        sent = 0
        while not over.is_set():
            made = job(tenant=name, priority=-1)
            store.submit(replace(made, inputs={"script": Input(blob=f"{made.blob_prefix}/script.py", format="python", bytes=9)}))
            sent += 1
        return sent

    with ThreadPoolExecutor(3) as pool:
        coming = [pool.submit(come) for _ in range(3)]
        try:
            for _ in range(25):
                batch, items, terms = batch_of(3, tenant=name, on_failure=OnFailure.STOP)
                store.submit_batch(batch, items, terms)
                end(store, claim(store), FAILED, outputs={"log": 3})
                assert store.get_batch(name, batch.id).final
        finally:
            over.set()
        sent = sum(each.result(60) for each in coming)
    assert shares(store) == counted(store) == {(name, "jobs"): (sent, 0)}


def test_an_item_of_a_chunk_that_the_service_failed_stops_nothing(store: JobStore) -> None:
    batch = submit(store, 60, Isolation.BATCH, on_failure=OnFailure.STOP)
    end(store, claim(store), **said({3: Reason.SANDBOX_ERROR}, range(25)))
    now = store.get_batch(TENANT, batch.id)
    assert (now.stopped_by, now.counts[State.FAILED], now.counts[State.QUEUED]) == (None, 1, 35)


def test_a_table_of_gigabytes_is_found(store: JobStore) -> None:
    batch = submit(store, 1)
    end(store, claim(store), outputs={"result": 2**32})
    assert [table.bytes for table in store.tables_of_items(TENANT, batch.id)] == [2**32]
    chunks = submit(store, 1, Isolation.BATCH)
    ended = {"number": 0, "reason": "ok", "message": "", "milliseconds": 1.0, "result": {"offset": 2**31, "bytes": 10}}
    end(store, claim(store), report={"items": [ended]}, outputs={"result": 2**32})
    assert [(table.offset, table.bytes) for table in store.tables_of_items(TENANT, chunks.id)] == [(2**31, 10)]


def test_a_chunk_that_fails_as_a_whole_stops_the_others(store: JobStore) -> None:
    batch = submit(store, 60, Isolation.BATCH, on_failure=OnFailure.STOP)
    end(store, claim(store), Reason.OUT_OF_MEMORY)
    now = store.get_batch(TENANT, batch.id)
    assert (now.stopped_by, now.counts) == (0, {State.FAILED: 25, State.CANCELLED: 35})


def test_two_that_fail_at_the_same_moment_stop_the_batch_once(store: JobStore) -> None:
    for _ in range(5):
        batch = submit(store, 30, on_failure=OnFailure.STOP)
        running = [claim(store) for _ in range(4)]
        with ThreadPoolExecutor(5) as threads:
            late = threads.submit(store.cancel_batch, TENANT, batch.id)
            list(threads.map(lambda it: end(store, it, FAILED), running))
            late.exception()
        assert run_all(store) == []
        now = store.get_batch(TENANT, batch.id)
        assert (now.final, now.counts) == (True, {State.FAILED: 4, State.CANCELLED: 26})
        assert shares(store) == {}


def test_an_attempt_that_is_handed_back_after_the_end_does_not_run_again(store: JobStore) -> None:
    batch = submit(store, 3, on_failure=OnFailure.STOP)
    first, second = claim(store), claim(store)
    end(store, first, FAILED)
    after = store.give_back(second, erasure(second), outcome(Reason.LOST))
    assert after.state is State.CANCELLED
    assert store.get_batch(TENANT, batch.id).final


def test_a_job_that_was_locked_while_its_batch_was_cancelled_hears_of_it(store: JobStore) -> None:
    batch = submit(store, 3)
    running = claim(store)
    store.cancel_batch(TENANT, batch.id)
    with store._database.writing() as connection:
        # As if the cancel had passed over its row.
        connection.execute(update(JOBS).where(JOBS.c.id == running.id).values(cancel_requested=False))
    assert store.renew(running).cancel_requested
    assert store.give_back(running, erasure(running), outcome(Reason.LOST)).state is State.CANCELLED


# once more ---------------------------------------------------------------------------------------------------------------
def test_items_that_failed_run_again_with_what_they_had_and_the_batch_has_not_ended(store: JobStore) -> None:
    batch = submit(store, 12)
    run_all(store, failing=(2, 7))
    before = store.get_item(TENANT, batch.id, 7).job
    again, count = store.retry_items(TENANT, batch.id, TERMS)
    assert (count, again.final, again.counts) == (2, False, {State.SUCCEEDED: 10, State.QUEUED: 2})
    assert shares(store) == counted(store) == {(TENANT, "jobs"): (2, 0)}
    first, second = claim(store), claim(store)
    assert before is not None
    assert (first.item, second.item, second.parameters, second.inputs) == (2, 7, before.parameters, before.inputs)
    assert second.id != before.id
    end(store, first, FAILED)
    end(store, second)
    now = store.get_batch(TENANT, batch.id)
    assert (now.final, now.counts) == (True, {State.SUCCEEDED: 11, State.FAILED: 1})
    assert [store.get_item(TENANT, batch.id, number).item.retries for number in (2, 7, 8)] == [1, 1, 0]
    assert store.get_job(TENANT, before.id).state is State.FAILED
    store.delete_batch(TENANT, batch.id)
    with pytest.raises(NotFound):
        store.get_job(TENANT, before.id)


def test_one_item_runs_again_while_others_still_wait(store: JobStore) -> None:
    batch = submit(store, 12)
    end(store, claim(store), FAILED)
    store.retry_items(TENANT, batch.id, TERMS, number=0)
    assert shares(store) == counted(store)
    assert sorted(run_all(store)) == list(range(12))  # type: ignore[type-var]


def test_all_of_a_batch_that_was_cancelled_runs_again(store: JobStore) -> None:
    batch = submit(store, 12)
    store.cancel_batch(TENANT, batch.id)
    again, count = store.retry_items(TENANT, batch.id, TERMS)
    assert (count, again.cancel_requested, again.counts) == (12, False, {State.QUEUED: 12})
    it = claim(store)
    assert not store.renew(it).cancel_requested
    end(store, it)
    assert run_all(store) == list(range(1, 12))


def test_a_batch_that_was_stopped_may_be_stopped_again(store: JobStore) -> None:
    batch = submit(store, 12, on_failure=OnFailure.STOP)
    run_all(store, failing=(1,))
    assert store.retry_items(TENANT, batch.id, TERMS)[0].stopped_by is None
    assert run_all(store, failing=(3,)) == [1, 2, 3]
    assert store.get_batch(TENANT, batch.id).stopped_by == 3


def test_items_of_chunks_run_again_in_chunks_of_their_own(store: JobStore) -> None:
    batch = submit(store, 25, Isolation.BATCH)
    end(store, claim(store), **said({7: FAILED, 9: Reason.TIMED_OUT}, range(25)))
    store.retry_items(TENANT, batch.id, TERMS)
    chunk = claim(store)
    assert [(item.number, item.parameters) for item in store.chunk_of(chunk).items] == [(7, {"n": 7}), (9, {"n": 9})]
    end(store, chunk, report={"items": [{"number": n, "reason": "ok", "message": "", "milliseconds": 1.0} for n in (7, 9)]})
    now = store.get_batch(TENANT, batch.id)
    assert (now.final, now.counts) == (True, {State.SUCCEEDED: 25})


def test_only_what_failed_or_was_cancelled_runs_again(store: JobStore) -> None:
    batch = submit(store, 3)
    with pytest.raises(Conflict, match="item 1 is queued"):
        store.retry_items(TENANT, batch.id, TERMS, number=1)
    with pytest.raises(NotFound):
        store.retry_items(TENANT, batch.id, TERMS, number=3)
    run_all(store)
    with pytest.raises(Conflict, match="no item"):
        store.retry_items(TENANT, batch.id, TERMS)
    with pytest.raises(NotFound):
        store.retry_items("ten_other", batch.id, TERMS)


def test_while_a_batch_is_being_cancelled_nothing_of_it_runs_again(store: JobStore) -> None:
    batch = submit(store, 3)
    it = claim(store)
    store.cancel_batch(TENANT, batch.id)
    with pytest.raises(Conflict, match="being called off"):
        store.retry_items(TENANT, batch.id, TERMS)
    end(store, it, Reason.CANCELLED)
    store.retry_items(TENANT, batch.id, TERMS)


def test_an_item_runs_again_so_often_and_no_more(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_retries, "RETRIES_MAX", 2)
    batch = submit(store, 1)
    for _ in range(2):
        run_all(store, failing=(0,))
        store.retry_items(TENANT, batch.id, TERMS)
    run_all(store, failing=(0,))
    for number in (None, 0):
        with pytest.raises(Conflict, match="2 times"):
            store.retry_items(TENANT, batch.id, TERMS, number=number)


def test_an_item_whose_table_was_deleted_does_not_run_again_and_nothing_is_changed(store: JobStore) -> None:
    kept, _ = store.add_dataset(dataset(tenant=TENANT))
    batch, items, terms = batch_of(2)
    stored = Input(blob=kept.blob, format="arrow", bytes=1, dataset=kept.id)
    store.submit_batch(batch, [items[0], replace(items[1], inputs={"dataset1": stored})], terms)
    run_all(store, failing=(0, 1))
    store.delete_dataset(TENANT, kept.id)
    with pytest.raises(BadRequest, match="not there"):
        store.retry_items(TENANT, batch.id, TERMS)
    assert store.get_batch(TENANT, batch.id).counts == {State.FAILED: 2}
    store.retry_items(TENANT, batch.id, TERMS, number=0)
    assert run_all(store) == [0]


def test_the_end_is_told_again(store: JobStore) -> None:
    batch = submit(store, 2, callback_url="https://example.com/hook")

    def told() -> list[str]:
        with store._database.reading() as connection:
            query = select(DELIVERIES.c.state).where(DELIVERIES.c.about == batch.id).order_by(DELIVERIES.c.seq)
            return list(connection.execute(query).scalars())

    end(store, claim(store), FAILED)
    store.retry_items(TENANT, batch.id, TERMS)
    assert told() == ["held"]
    run_all(store, failing=(0,))
    store.release_batches()
    assert told() == ["pending"]
    store.retry_items(TENANT, batch.id, TERMS)
    assert (store.release_batches(), told()) == (0, ["pending", "held"])
    run_all(store)
    store.release_batches()
    assert told() == ["pending", "pending"]


def test_an_item_of_before_has_what_was_its_own_in_its_job(store: JobStore) -> None:
    batch = submit(store, 1)
    with store._database.writing() as connection:
        connection.execute(update(BATCH_ITEMS).values(inputs=None, parameters=None))
    run_all(store, failing=(0,))
    before = store.get_item(TENANT, batch.id, 0).job
    with store._database.writing() as connection:
        connection.execute(update(BATCH_ITEMS).values(inputs=None, parameters=None))
    store.retry_items(TENANT, batch.id, TERMS)
    it = claim(store)
    assert before is not None
    assert (it.inputs, it.parameters) == (before.inputs, before.parameters)
