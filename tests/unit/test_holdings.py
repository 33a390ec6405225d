"""Quotas in the job store: what waits, what is stored, what was used today; counted exactly, whoever comes at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from fumehood.blob_bytes import bytes_of_batch, bytes_of_job
from fumehood.errors import NotFinished, QuotaExceeded
from fumehood.holdings import Use
from fumehood.job import Input, Job, Kind, Lane
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.quota import DAY_SECONDS, Quota, Retention
from fumehood.schema import BATCHES, DATASETS, HOLDINGS, JOBS
from fumehood.testing import dataset, erasure, job, outcome
from tests.unit.stores import Clock, batch_of, counted, shares

BUDGET = 2**60
SCRIPT_BYTES = 100


def tenant(store: JobStore, name: str, **quota: Any) -> str:
    return store.create_tenant(name, quota=quota).id


def own(owner: str, **overrides: Any) -> Job:
    """A job whose script is its own, as the API makes them."""
    made = job(tenant=owner, **overrides)
    script = Input(blob=f"{made.blob_prefix}/script.py", format="python", bytes=SCRIPT_BYTES)
    return replace(made, inputs={"script": script})


def run(store: JobStore, *, cpu_seconds: float = 0.0, outputs: dict[str, int] | None = None) -> Job:
    it, ending = claimed(store), outcome()
    used = replace(ending.usage, cpu_seconds=cpu_seconds)
    return store.finish(it, replace(ending, usage=used, outputs=outputs or {}), erasure(it))


def claimed(store: JobStore) -> Job:
    found = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET)
    assert found is not None
    return found


def refused(act: Callable[[], object]) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        act()
    return caught.value


def held(store: JobStore) -> dict[str, int]:
    with store._database.reading() as connection:
        return {row.tenant: row.bytes for row in connection.execute(select(HOLDINGS)) if row.bytes}


def summed(store: JobStore) -> dict[str, int]:
    """As the rows are."""
    found: dict[str, int] = {}
    sizes = ((JOBS, JOBS.c.stored_bytes), (BATCHES, BATCHES.c.stored_bytes), (DATASETS, DATASETS.c.bytes + DATASETS.c.table_bytes))
    with store._database.reading() as connection:
        for table, size in sizes:
            for owner, total in connection.execute(select(table.c.tenant, func.sum(size)).group_by(table.c.tenant)):
                found[owner] = found.get(owner, 0) + int(total or 0)
    return {owner: total for owner, total in found.items() if total}


def test_one_job_too_many_is_refused_and_leaves_nothing(store: JobStore) -> None:
    lab = tenant(store, "lab", queued_jobs=2)
    for _ in range(2):
        store.submit(own(lab))
    error = refused(lambda: store.submit(own(lab)))
    assert (error.quota, error.limit, error.value) == ("queued_jobs", 2, 2)
    assert store.use_of(lab) == Use(queued_jobs=2, stored_bytes=2 * SCRIPT_BYTES)
    assert shares(store) == counted(store) == {(lab, "jobs"): (2, 0)}
    store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET)
    store.submit(own(lab))  # One runs now: there is room for another.


def test_a_batch_counts_all_its_jobs_and_comes_whole_or_not_at_all(store: JobStore) -> None:
    lab = tenant(store, "lab", queued_jobs=5)
    store.submit_batch(*batch_of(3, tenant=lab))
    error = refused(lambda: store.submit_batch(*batch_of(3, tenant=lab)))
    assert (error.quota, error.value) == ("queued_jobs", 3)
    store.submit_batch(*batch_of(2, tenant=lab))
    assert shares(store) == {(lab, "jobs"): (5, 0)}


def test_many_at_once_cannot_pass_together(store: JobStore) -> None:
    lab = tenant(store, "lab", queued_jobs=5, stored_bytes=20 * SCRIPT_BYTES)

    def one(_: int) -> str:
        try:
            store.submit(own(lab))
        except QuotaExceeded as error:
            return error.quota
        return "accepted"

    with ThreadPoolExecutor(8) as pool:
        said = sorted(pool.map(one, range(24)))
    assert said == ["accepted"] * 5 + ["queued_jobs"] * 19
    assert held(store) == {lab: 5 * SCRIPT_BYTES}


def test_uploads_at_once_cannot_pass_the_stored_bytes_together(store: JobStore) -> None:
    lab = tenant(store, "lab", stored_bytes=50)

    def one(number: int) -> bool:
        try:
            store.add_dataset(dataset(tenant=lab, sha256=f"{number:064x}", bytes=8, table_bytes=4))
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(16))) == 4
    assert held(store) == summed(store) == {lab: 48}


def test_who_has_used_the_cpu_seconds_of_the_day_waits_until_midnight(store: JobStore, clock: Clock) -> None:
    lab, other = tenant(store, "lab", cpu_seconds_per_day=10), tenant(store, "other")
    for _ in range(3):
        store.submit(own(lab))
    run(store, cpu_seconds=10.0)
    assert store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET) is None
    assert store.eligible(Lane.JOBS) == 0
    error = refused(lambda: store.submit(own(lab)))
    assert (error.quota, error.limit, error.value) == ("cpu_seconds_per_day", 10, 10)
    assert error.retry_after_seconds == DAY_SECONDS - clock.now % DAY_SECONDS
    store.submit(own(other))
    assert run(store).tenant == other
    clock.now += error.retry_after_seconds
    assert store.eligible(Lane.JOBS) == 2
    store.submit(own(lab))
    assert run(store, cpu_seconds=9.0).tenant == lab
    clock.now -= DAY_SECONDS  # A clock that is set back finds the day as it was.
    assert refused(lambda: store.submit(own(lab))).value == 10
    clock.now += DAY_SECONDS
    assert run(store).tenant == lab


def test_an_errand_in_the_queue_is_not_held_up_by_the_day(store: JobStore) -> None:
    lab = tenant(store, "lab", cpu_seconds_per_day=1)
    store.submit(own(lab))
    store.submit(job(tenant=lab, kind=Kind.CONVERT))
    run(store, cpu_seconds=5.0)
    assert store.claim(worker="w", lane=Lane.ERRANDS, disk_budget_bytes=BUDGET) is not None
    assert refused(lambda: store.submit(job(tenant=lab, kind=Kind.CONVERT))).quota == "cpu_seconds_per_day"


def test_results_count_when_they_are_there_and_deletion_gives_them_back(store: JobStore) -> None:
    lab = tenant(store, "lab", stored_bytes=1000)
    first = store.submit(own(lab)).job
    run(store, outputs={"result": 800, "log": 150})
    assert held(store) == summed(store) == {lab: 1050}  # what ran was not to be held to less than it was promised
    error = refused(lambda: store.submit(own(lab)))
    assert (error.quota, error.limit, error.value) == ("stored_bytes", 1000, 1050)
    assert refused(lambda: store.add_dataset(dataset(tenant=lab))).quota == "stored_bytes"
    assert refused(lambda: store.check_room(lab, Quota(stored_bytes=1000), bytes=1)).value == 1050
    store.delete_job(lab, first.id)
    assert held(store) == summed(store) == {}
    store.submit(own(lab))


def test_who_stores_too_much_waits_for_room_and_can_still_take_things_out(store: JobStore) -> None:
    lab, other = tenant(store, "lab", stored_bytes=1000), tenant(store, "other")
    jobs = [store.submit(own(lab)).job for _ in range(3)]
    store.submit(job(tenant=lab, kind=Kind.CONVERT))
    run(store, outputs={"result": 2000})
    store.submit(own(other))
    assert store.eligible(Lane.JOBS) == 1
    assert run(store).tenant == other
    assert store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET) is None
    assert store.claim(worker="w", lane=Lane.ERRANDS, disk_budget_bytes=BUDGET) is not None
    store.submit(job(tenant=lab, kind=Kind.CONVERT))
    store.delete_job(lab, jobs[0].id)
    assert run(store).tenant == lab


def test_items_that_run_again_find_the_quota_as_new_ones_do(store: JobStore) -> None:
    lab = tenant(store, "lab", stored_bytes=1000)
    batch, items, terms = batch_of(2, tenant=lab)
    store.submit_batch(batch, items, terms)
    first, second = claimed(store), claimed(store)
    store.finish(first, replace(outcome(Reason.SCRIPT_ERROR), outputs={"log": 2000}), erasure(first))
    store.finish(second, outcome(), erasure(second))
    assert refused(lambda: store.retry_items(lab, batch.id, terms)).quota == "stored_bytes"
    assert store.get_batch(lab, batch.id).final


def test_what_was_stored_before_anything_was_counted_does_not_count_when_a_part_expires(store: JobStore, clock: Clock) -> None:
    lab = tenant(store, "lab")
    store.submit(own(lab, retention=Retention(log_days=1, result_days=2, record_days=3)))
    run(store, outputs={"result": 800, "log": 150})
    with store._database.writing() as connection:
        connection.execute(update(JOBS).values(stored_bytes=0))
    clock.now += DAY_SECONDS + 1
    store.end_expiry(store.begin_expiry(lab))
    assert held(store) == {}


def test_expiry_gives_back_part_by_part(store: JobStore, clock: Clock) -> None:
    lab = tenant(store, "lab")
    kept = Retention(log_days=1, result_days=2, record_days=3)
    store.submit(own(lab, retention=kept))
    run(store, outputs={"result": 800, "files": 7, "log": 150})
    left = []
    for _ in range(3):
        clock.now += DAY_SECONDS + 1
        store.end_expiry(store.begin_expiry(lab))
        left.append(held(store).get(lab, 0))
        assert held(store) == summed(store)
    assert left == [SCRIPT_BYTES + 807, SCRIPT_BYTES, 0]


def test_a_batch_and_what_its_jobs_left_go_together(store: JobStore) -> None:
    lab = tenant(store, "lab")
    batch, items, terms = batch_of(3, tenant=lab)
    store.submit_batch(batch, items, terms)
    sent = bytes_of_batch(batch, items)
    assert held(store) == {lab: sent}
    assert sent == 1 + 2 * 64 + 5
    for _ in items:
        run(store, outputs={"result": 10})
    assert held(store) == summed(store) == {lab: sent + 30}
    store.delete_batch(lab, batch.id)
    assert held(store) == {}


def test_a_joined_table_counts_once_and_until_items_run_again_or_results_expire(store: JobStore, clock: Clock) -> None:
    lab = tenant(store, "lab", stored_bytes=10_000)
    batch, items, terms = batch_of(2, tenant=lab, retention=Retention(log_days=1, result_days=1, record_days=3))
    store.submit_batch(batch, items, terms)
    sent = held(store)[lab]
    run(store, outputs={"result": 10})
    failed = claimed(store)
    store.finish(failed, replace(outcome(Reason.SCRIPT_ERROR), outputs={}), erasure(failed))
    ended = store.get_batch(lab, batch.id)
    for size in (500, 700):
        store.keep_joined(lab, ended, size_bytes=size)
        assert held(store) == summed(store) == {lab: sent + 10 + size}
    assert refused(lambda: store.keep_joined(lab, ended, size_bytes=10_000)).quota == "stored_bytes"
    assert held(store) == {lab: sent + 10 + 700}
    store.retry_items(lab, batch.id, terms)
    assert held(store) == summed(store) == {lab: sent + 10}
    with pytest.raises(NotFinished):
        store.keep_joined(lab, ended, size_bytes=500)
    run(store, outputs={"result": 10})
    store.keep_joined(lab, store.get_batch(lab, batch.id), size_bytes=500)
    clock.now += DAY_SECONDS + 1
    store.end_expiry(store.begin_expiry(lab))
    assert held(store) == summed(store) == {lab: sent}


def test_an_errand_and_shared_inputs_hold_nothing() -> None:
    shared = Input(blob="datasets/ds_1/table", format="arrow", bytes=99, dataset="ds_1")
    mine = own("ten_a")
    assert bytes_of_job(replace(mine, inputs=mine.inputs | {"dataset1": shared})) == SCRIPT_BYTES
    assert bytes_of_job(replace(mine, kind=Kind.CONVERT)) == 0


def test_the_same_dataset_again_counts_once(store: JobStore) -> None:
    lab = tenant(store, "lab")
    for _ in range(2):
        store.add_dataset(dataset(tenant=lab, sha256="5" * 64, bytes=8, table_bytes=4))
    assert held(store) == {lab: 12}


def test_what_one_tenant_has_never_shows_in_the_numbers_of_another(store: JobStore) -> None:
    lab, other = tenant(store, "lab", queued_jobs=1, stored_bytes=SCRIPT_BYTES, cpu_seconds_per_day=1), tenant(store, "other")
    for _ in range(3):
        store.submit(own(other))
    run(store, cpu_seconds=50.0, outputs={"result": 10_000})
    store.add_dataset(dataset(tenant=other))
    assert store.use_of(lab) == Use()
    store.submit(own(lab))
    assert store.use_of(lab) == Use(queued_jobs=1, stored_bytes=SCRIPT_BYTES)
