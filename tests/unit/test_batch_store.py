"""The store's promises about batches, over every database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fumehood.batch import Batch, Isolation, chunk_sizes
from fumehood.errors import BadRequest, Conflict, IdempotencyReuse, LeaseLost, NotFound
from fumehood.job import Input, Job, Kind, Lane, State, new_id
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.testing import dataset, erasure, job, outcome
from tests.unit.stores import batch_of

BUDGET = 2**60
TENANT = "ten_test"
SHA = "a" * 64


def submit(store: JobStore, count: int, isolation: Isolation = Isolation.ITEM, **overrides: Any) -> Batch:
    return store.submit_batch(*batch_of(count, isolation, **overrides))[0]


def claim(store: JobStore) -> Job:
    claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=BUDGET)
    assert claimed is not None
    return claimed


def ending(number: int, reason: Reason = Reason.OK) -> dict[str, Any]:
    return {"number": number, "reason": reason.value, "message": f"item {number}", "milliseconds": 3.0}


def numbers(store: JobStore, batch: Batch, **query: Any) -> list[int]:
    found, after = [], None
    while True:
        page, after = store.list_items(TENANT, batch.id, after=after, limit=7, **query)
        found += [ran.item.number for ran in page]
        if after is None:
            return found


def test_every_item_is_a_job_that_has_what_all_share_and_what_is_its_own(store: JobStore) -> None:
    batch = submit(store, 3)
    assert (batch.counts, batch.finished_at, batch.labels) == ({State.QUEUED: 3}, None, {"team": "blue"})
    jobs = store.list_jobs(TENANT)[0]
    assert [(each.batch, each.item) for each in jobs] == [(batch.id, 2), (batch.id, 1), (batch.id, 0)]
    first = claim(store)
    assert set(first.inputs) == {"script", "dataset1"}
    assert (first.inputs["dataset1"].offset, first.parameters) == (0, {"n": 0, "shared": True})
    assert first.output_blob("log").startswith(f"batches/{batch.id}/{first.id}/")


def test_items_end_as_their_jobs_do(store: JobStore) -> None:
    batch = submit(store, 3)
    store.finish(it := claim(store), outcome(), erasure(it))
    store.finish(it := claim(store), outcome(Reason.SCRIPT_ERROR), erasure(it))
    claim(store)
    now = store.get_batch(TENANT, batch.id)
    assert now.counts == {State.SUCCEEDED: 1, State.FAILED: 1, State.RUNNING: 1}
    assert not now.final
    assert [(ran.state, ran.reason) for ran in store.list_items(TENANT, batch.id)[0]] == [
        (State.SUCCEEDED, Reason.OK),
        (State.FAILED, Reason.SCRIPT_ERROR),
        (State.RUNNING, None),
    ]
    assert numbers(store, batch, state="failed") == [1]


def test_a_chunk_is_no_job_of_the_tenants_list_and_knows_its_items(store: JobStore) -> None:
    batch = submit(store, 60, Isolation.BATCH)
    assert store.list_jobs(TENANT) == ([], None)
    first = claim(store)
    assert (first.kind, first.batch, first.item) == (Kind.CHUNK, batch.id, None)
    assert first.limits.wall_seconds == 25 * 10
    chunk = store.chunk_of(first)
    assert (chunk.wall_seconds, [item.number for item in chunk.items]) == (10, list(range(25)))
    assert chunk.items[3].inputs["dataset1"].offset == 192
    assert chunk.items[3].parameters == {"n": 3}


def test_the_end_of_a_chunk_is_the_end_of_its_items_each_in_its_own_way(store: JobStore) -> None:
    batch = submit(store, 30, Isolation.BATCH)
    first = claim(store)
    said = [ending(number, Reason.TIMED_OUT if number == 7 else Reason.OK) for number in range(25)]
    after = store.finish(first, outcome(report={"items": said, "log": {"bytes": 3}}), erasure(first))
    assert after.outcome is not None
    assert after.outcome.report == {"log": {"bytes": 3}}
    now = store.get_batch(TENANT, batch.id)
    assert now.counts == {State.SUCCEEDED: 24, State.FAILED: 1, State.QUEUED: 5}
    seventh = store.get_item(TENANT, batch.id, 7)
    assert (seventh.state, seventh.reason, seventh.ending and seventh.ending.message) == (State.FAILED, Reason.TIMED_OUT, "item 7")
    assert seventh.job is not None
    assert seventh.job.id == first.id
    assert numbers(store, batch, state="queued") == [25, 26, 27, 28, 29]


def test_a_chunk_that_crashed_takes_its_items_with_it(store: JobStore) -> None:
    batch = submit(store, 2, Isolation.BATCH)
    store.finish(it := claim(store), outcome(Reason.OUT_OF_MEMORY), erasure(it))
    now = store.get_batch(TENANT, batch.id)
    assert (now.counts, now.final) == ({State.FAILED: 2}, True)
    assert store.get_item(TENANT, batch.id, 1).reason is Reason.OUT_OF_MEMORY


def test_a_stale_attempt_of_a_chunk_writes_no_endings(store: JobStore) -> None:
    batch = submit(store, 2, Isolation.BATCH)
    stale = claim(store)
    store.give_back(stale, erasure(stale), outcome(Reason.LOST))
    with pytest.raises(LeaseLost):
        store.finish(stale, outcome(report={"items": [ending(0), ending(1)]}), erasure(stale))
    assert store.get_batch(TENANT, batch.id).counts == {State.QUEUED: 2}
    again = claim(store)
    store.finish(again, outcome(report={"items": [ending(0), ending(1, Reason.CRASHED)]}), erasure(again))
    assert store.get_batch(TENANT, batch.id).counts == {State.SUCCEEDED: 1, State.FAILED: 1}


def test_a_report_about_items_of_others_changes_nothing_of_theirs(store: JobStore) -> None:
    mine, other = submit(store, 2, Isolation.BATCH), submit(store, 2, Isolation.BATCH)
    store.finish(it := claim(store), outcome(report={"items": [ending(0), ending(1), ending(2)]}), erasure(it))
    assert store.get_batch(TENANT, mine.id).counts == {State.SUCCEEDED: 2}
    assert store.get_batch(TENANT, other.id).counts == {State.QUEUED: 2}


@pytest.mark.parametrize("isolation", Isolation)
def test_a_cancel_ends_what_waits_and_marks_what_runs(store: JobStore, clock: Any, isolation: Isolation) -> None:
    batch = submit(store, 60, isolation)
    running = claim(store)
    runs = 1 if isolation is Isolation.ITEM else 25
    now, ended = store.cancel_batch(TENANT, batch.id)
    assert now.cancel_requested
    assert now.counts == {State.RUNNING: runs, State.CANCELLED: 60 - runs}
    assert len(ended) == (59 if isolation is Isolation.ITEM else 2)
    assert store.renew(running).cancel_requested
    last = store.get_item(TENANT, batch.id, 59).job
    assert last is not None
    assert last.erasure is not None
    assert (last.erasure.job, last.erasure.container, last.erasure.fence, last.finished_at) == (last.id, None, 0, clock.now)
    store.cancel_batch(TENANT, batch.id)
    store.finish(running, outcome(Reason.CANCELLED), erasure(running))
    with pytest.raises(Conflict, match="has ended"):
        store.cancel_batch(TENANT, batch.id)
    assert store.get_batch(TENANT, batch.id).counts == {State.CANCELLED: 60}


def test_a_job_that_was_handed_back_keeps_its_receipt_when_the_batch_is_cancelled(store: JobStore) -> None:
    batch = submit(store, 1)
    running = claim(store)
    receipt = erasure(running, container="fumehood-first")
    store.give_back(running, receipt, outcome(Reason.LOST))
    store.cancel_batch(TENANT, batch.id)
    assert store.get_item(TENANT, batch.id, 0).job.erasure == receipt


def test_a_batch_is_forgotten_with_everything_once_it_has_ended(store: JobStore) -> None:
    batch = submit(store, 2)
    with pytest.raises(Conflict, match="has not ended"):
        store.delete_batch(TENANT, batch.id)
    first, second = claim(store), claim(store)
    store.finish(first, outcome(), erasure(first))
    store.finish(second, outcome(), erasure(second))
    output = Input(blob="b", format="arrow", bytes=1, source={"job": first.id, "output": "result"})
    reader = store.submit(job(inputs={"dataset1": output})).job
    with pytest.raises(Conflict, match="read by a job"):
        store.delete_batch(TENANT, batch.id)
    store.request_cancel(TENANT, reader.id)
    assert store.delete_batch(TENANT, batch.id).id == batch.id
    for verb, gone in ((store.get_batch, batch.id), (store.get_job, first.id), (store.delete_batch, batch.id)):
        with pytest.raises(NotFound):
            verb(TENANT, gone)


def test_others_see_nothing_of_it(store: JobStore) -> None:
    batch = submit(store, 1)
    verbs: Sequence[Any] = (store.get_batch, store.list_items, store.cancel_batch, store.delete_batch)
    for verb in verbs:
        with pytest.raises(NotFound):
            verb("ten_other", batch.id)
    with pytest.raises(NotFound):
        store.get_item("ten_other", batch.id, 0)
    with pytest.raises(NotFound):
        store.get_item(TENANT, batch.id, 1)
    assert store.list_batches("ten_other") == ([], None)
    assert store.unfinished_job("ten_other", batch.id) is None


def test_the_job_that_is_waited_for_is_the_last_that_is_left(store: JobStore) -> None:
    batch = submit(store, 2)
    left = store.unfinished_job(TENANT, batch.id)
    assert left is not None
    assert left.item == 1
    for _ in range(2):
        store.finish(it := claim(store), outcome(), erasure(it))
    assert store.unfinished_job(TENANT, batch.id) is None


def test_batches_are_listed_newest_first_page_by_page(store: JobStore) -> None:
    made = [submit(store, 1).id for _ in range(3)]
    page, following = store.list_batches(TENANT, limit=2)
    rest, end = store.list_batches(TENANT, before=following, limit=2)
    assert [each.id for each in page + rest] == made[::-1]
    assert end is None


def test_the_same_key_gives_the_same_batch(store: JobStore, clock: Any) -> None:
    first, replayed = store.submit_batch(*batch_of(2), key="k", request_sha256=SHA)
    assert not replayed
    assert store.find_idempotent_batch(TENANT, "k", SHA) == first
    assert store.submit_batch(*batch_of(2), key="k", request_sha256=SHA) == (first, True)
    for sha in ("b" * 64,):
        with pytest.raises(IdempotencyReuse):
            store.submit_batch(*batch_of(2), key="k", request_sha256=sha)
        with pytest.raises(IdempotencyReuse):
            store.find_idempotent_batch(TENANT, "k", sha)
    clock.now += 25 * 3600
    assert store.find_idempotent_batch(TENANT, "k", SHA) is None
    assert store.submit_batch(*batch_of(2), key="k", request_sha256=SHA)[0].id != first.id


@pytest.mark.parametrize("isolation", Isolation)
def test_a_dataset_of_an_item_stays_until_its_job_has_ended(store: JobStore, isolation: Isolation) -> None:
    kept, _ = store.add_dataset(dataset(tenant=TENANT))
    batch, items, terms = batch_of(2, isolation)
    stored = Input(blob=kept.blob, format="arrow", bytes=1, dataset=kept.id)
    items = [replace(item, inputs={"dataset1": stored}) for item in items]
    store.submit_batch(batch, items, terms)
    with pytest.raises(Conflict):
        store.delete_dataset(TENANT, kept.id)
    store.cancel_batch(TENANT, batch.id)
    store.delete_dataset(TENANT, kept.id)
    gone = [replace(item, inputs={"dataset1": replace(stored, dataset="ds_gone")}) for item in items]
    with pytest.raises(BadRequest):
        store.submit_batch(replace(batch, id=new_id("bat")), gone, terms)


def test_chunks_are_few_and_none_is_large() -> None:
    assert chunk_sizes(1, 2) == [1]
    assert chunk_sizes(60, 4) == [25, 25, 10]
    assert chunk_sizes(1000, 2) == [500] * 2
    assert chunk_sizes(1000, 5) == [200] * 5
    assert chunk_sizes(1000, 0) == [500] * 2
    assert chunk_sizes(1600, 1000) == [100] * 16
    assert chunk_sizes(10_000, 2) == [500] * 20
    assert sum(chunk_sizes(9_999, 3)) == 9_999
