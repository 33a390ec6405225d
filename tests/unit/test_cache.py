"""The result cache in the store, over every database; and what makes two jobs the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fumehood.cache import cache_key, with_result_of
from fumehood.errors import BadRequest, IdempotencyReuse
from fumehood.job import Input, Job, Lane, Origin, State
from fumehood.job_store import Idempotency, JobStore
from fumehood.limits import Limits
from fumehood.outcome import Reason, Usage
from fumehood.testing import dataset, erasure, job, outcome
from fumehood.usage import Amount
from tests.unit.stores import Clock

KEY, IMAGE, OTHER_IMAGE = "k" * 64, "sha256:" + "0" * 64, "sha256:" + "1" * 64
BASE: dict[str, Any] = {
    "tenant": "ten_test",
    "image": IMAGE,
    "inputs": {"script": ["bytes", "a" * 64, "python"], "dataset1": ["dataset", "b" * 64, "csv"]},
    "parameters": {"a": 1, "b": {"c": [1, 2]}},
    "limits": Limits(),
}


def run(store: JobStore, *, reason: Reason = Reason.OK, image: str = IMAGE, **overrides: Any) -> Job:
    store.submit(job(**{"cache_key": KEY, **overrides}))
    running = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert running is not None
    ended = outcome(reason, image=image, usage=Usage(cpu_seconds=1.0), start="warm", milliseconds={"run": 1.0})
    return store.finish(running, ended, erasure(running))


def find(store: JobStore, key: str = KEY, tenant: str = "ten_test", image: str = IMAGE) -> Job | None:
    return store.find_cached(tenant, key, image=image)


# the key -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "ten_other"},
        {"image": OTHER_IMAGE},
        {"inputs": BASE["inputs"] | {"script": ["bytes", "c" * 64, "python"]}},
        {"inputs": BASE["inputs"] | {"dataset1": ["bytes", "b" * 64, "csv"]}},
        {"inputs": BASE["inputs"] | {"dataset1": ["dataset", "b" * 64, "json"]}},
        {"inputs": {"script": BASE["inputs"]["script"], "dataset2": BASE["inputs"]["dataset1"]}},
        {"inputs": BASE["inputs"] | {"bundle": ["bytes", "d" * 64, "zip"]}},
        {"parameters": {}},
        {"parameters": {"a": 1.0, "b": {"c": [1, 2]}}},
        {"parameters": {"a": True, "b": {"c": [1, 2]}}},
        {"parameters": {"a": "1", "b": {"c": [1, 2]}}},
        {"parameters": {"a": 1, "b": {"c": [2, 1]}}},
        {"parameters": {"a": 1, "b": {"c": [1, 2]}, "d": None}},
        {"parameters": {"a": 1, "b": {"c": [1, 2], "é": 1}}},
        *({"limits": replace(Limits(), **{name: getattr(Limits(), name) * 2})} for name in ("wall_seconds", "cpus", "figures")),
    ],
    ids=str,
)
def test_whatever_differs_is_another_key(other: dict[str, Any]) -> None:
    assert cache_key(**BASE | other) != cache_key(**BASE)


def test_the_order_of_names_is_no_difference() -> None:
    other = {"parameters": {"b": {"c": [1, 2]}, "a": 1}, "inputs": dict(reversed(BASE["inputs"].items()))}
    assert cache_key(**BASE | other) == cache_key(**BASE)


def test_text_that_has_no_utf_8_has_a_key_of_its_own() -> None:
    keys = {cache_key(**BASE | {"parameters": {"a": text}}) for text in ("\ud800", "\ud801", "\ufffd", "?", "\x00", "")}
    assert len(keys) == 6


# finding -----------------------------------------------------------------------------------------------------------------
def test_the_newest_job_that_succeeded_with_this_key_is_found(store: JobStore) -> None:
    assert find(store) is None
    run(store)
    newest = run(store)
    run(store, cache_key="x" * 64)
    run(store, cache_key=None)
    run(store, reason=Reason.SCRIPT_ERROR)
    store.submit(job(cache_key=KEY))
    assert find(store) == newest


def test_another_tenant_and_another_image_find_nothing(store: JobStore) -> None:
    run(store)
    assert find(store, tenant="ten_other") is None
    assert find(store, image=OTHER_IMAGE) is None


def test_one_that_ran_in_another_image_does_not_hide_one_that_did_not(store: JobStore) -> None:
    ours = run(store)
    run(store, image=OTHER_IMAGE)
    assert find(store) == ours


def test_a_job_that_was_deleted_is_not_found(store: JobStore) -> None:
    earlier = run(store)
    store.delete_job(earlier.tenant, earlier.id)
    assert find(store) is None


# having a result ---------------------------------------------------------------------------------------------------------
def test_a_job_with_an_earlier_result_is_final_at_once(store: JobStore, clock: Clock) -> None:
    earlier = run(store)
    clock.now += 10
    asked = job(cache_key=KEY, labels={"team": "blue"})
    submitted = store.submit_cached(asked, earlier)
    ended = submitted.job
    assert not submitted.replayed
    assert (ended.state, ended.created_at, ended.started_at, ended.finished_at) == (State.SUCCEEDED, clock.now, None, clock.now)
    assert ended.cached_from == Origin(job=earlier.id, finished_at=clock.now - 10)
    assert earlier.outcome is not None
    assert ended.outcome == replace(earlier.outcome, usage=Usage(), milliseconds={}, start=None)
    assert ended.erasure is not None
    assert (ended.erasure.container, ended.erasure.files, ended.erasure.attempt, ended.erasure.erased_at) == (None, 0, 0, clock.now)
    assert store.get_job(ended.tenant, ended.id) == ended
    assert store.list_jobs(ended.tenant, labels=[("team", "blue")])[0] == [ended]
    assert store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60) is None
    assert ended.output_blob("result") == f"jobs/{ended.id}/0/result"


def test_it_counts_as_cached_and_costs_nothing(store: JobStore, clock: Clock) -> None:
    from datetime import UTC, datetime

    earlier = run(store)
    store.submit_cached(job(cache_key=KEY, labels={"team": "blue"}), earlier)
    day = datetime.fromtimestamp(clock.now, UTC).date()
    (row,) = store.usage("ten_test", first=day, last=day)[0]
    assert row.amount == Amount(succeeded=1, cached=1, cpu_seconds=1.0)
    (row,) = store.usage("ten_test", first=day, last=day, label="team")[0]
    assert row.amount == Amount(cached=1)


def test_the_job_that_ran_is_named_however_often_its_result_is_taken_on(store: JobStore) -> None:
    ran = run(store)
    second = store.submit_cached(job(cache_key=KEY), ran).job
    store.delete_job(ran.tenant, ran.id)
    assert find(store) == second
    third = store.submit_cached(job(cache_key=KEY), second).job
    assert third.cached_from == second.cached_from == Origin(job=ran.id, finished_at=ran.finished_at or 0.0)


def test_what_it_was_made_of_may_be_deleted_as_for_any_job_that_has_ended(store: JobStore) -> None:
    stored, _ = store.add_dataset(dataset())
    inputs = {"dataset1": Input(blob="b", format="arrow", bytes=1, dataset=stored.id)}
    store.submit_cached(job(cache_key=KEY, inputs=inputs), run(store, inputs=inputs))
    store.delete_dataset(stored.tenant, stored.id)
    with pytest.raises(BadRequest):
        store.submit_cached(job(cache_key=KEY, inputs=inputs), run(store))


def test_an_idempotency_key_makes_one_job(store: JobStore) -> None:
    earlier, key = run(store), Idempotency("key", "a" * 64)
    first = store.submit_cached(job(cache_key=KEY), earlier, idempotency=key)
    again = store.submit_cached(job(cache_key=KEY), earlier, idempotency=key)
    assert (first.replayed, again.replayed, again.job) == (False, True, first.job)
    with pytest.raises(IdempotencyReuse):
        store.submit_cached(job(cache_key=KEY), earlier, idempotency=Idempotency("key", "b" * 64))


def test_only_the_same_job_of_the_same_tenant_that_succeeded_has_a_result_for_it(store: JobStore) -> None:
    earlier, failed = run(store), run(store, reason=Reason.SCRIPT_ERROR)
    for wrong, of in (
        (job(), earlier),
        (job(cache_key="x" * 64), earlier),
        (job(cache_key=KEY, tenant="ten_other"), earlier),
        (job(cache_key=KEY), failed),
        (job(cache_key=KEY), store.submit(job(cache_key=KEY)).job),
    ):
        with pytest.raises(ValueError, match=r"expected one that has succeeded|is not the same as"):
            with_result_of(wrong, of, now=1.0)


def test_finding_walks_along_an_index(store: JobStore) -> None:
    from sqlalchemy import event

    said: list[tuple[str, Any]] = []
    event.listen(store._database._engine, "before_cursor_execute", lambda _c, _u, text, given, *_: said.append((text, given)))
    find(store)
    statement, given = next((text, given) for text, given in said if "cache_key" in text)
    with store._database.writing() as connection:
        explain = "EXPLAIN QUERY PLAN" if store._database.is_sqlite else "EXPLAIN"
        if not store._database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = str(connection.exec_driver_sql(f"{explain} {statement}", given).all())
    assert "ix_jobs_cache_key_state_seq" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan
