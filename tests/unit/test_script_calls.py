"""Calls of scripts in the job store: which version one is for, and how many have not ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from fumehood.errors import Conflict, NotFound, TooManyCalls
from fumehood.job import Input, Job, Kind, Lane, State
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.script import Target, Version, called_with, expected_columns, fits
from fumehood.testing import erasure, job, outcome
from tests.unit.stores import batch_of, counted, shares, version_of
from tests.unit.test_script_store import BUDGET, COLUMN, TENANT, published, ready, refused


def call_of(version: Version, **overrides: Any) -> Job:
    made = job(kind=Kind.SCORE, target_format="json", **{"tenant": version.tenant, **overrides})
    return replace(made, inputs=version.called | {"dataset1": Input(blob=f"jobs/{made.id}/dataset1", format="csv", bytes=4)})


def claimed(store: JobStore) -> Job:
    found = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET)
    assert found is not None
    return found


# which version -----------------------------------------------------------------------------------------------------------


def test_a_call_is_for_a_number_an_alias_or_the_newest_that_is_ready(store: JobStore) -> None:
    first, second = ready(store), ready(store)
    published(store)
    store.set_alias(TENANT, "score", "prod", (Target(1),))
    assert store.version_for(TENANT, "score") == second
    assert store.version_for(TENANT, "score", number=1) == store.version_for(TENANT, "score", alias="prod") == first


def test_the_draw_picks_among_the_versions_of_an_alias(store: JobStore) -> None:
    ready(store)
    ready(store)
    store.set_alias(TENANT, "score", "canary", (Target(1, 90), Target(2, 10)))
    picked = [store.version_for(TENANT, "score", alias="canary", draw=draw).number for draw in (0.0, 0.899, 0.9, 0.999)]
    assert picked == [1, 1, 2, 2]


def test_what_is_not_there_is_told_in_its_own_words(store: JobStore) -> None:
    ready(store)
    asked: list[tuple[Callable[[], object], str]] = [
        (lambda: store.version_for(TENANT, "other"), "no script"),
        (lambda: store.version_for("ten_other", "score"), "no script"),
        (lambda: store.version_for(TENANT, "score", number=7), "no version"),
        (lambda: store.version_for(TENANT, "score", alias="prod"), "no alias"),
    ]
    for ask, words in asked:
        assert words in refused(ask, NotFound)


def test_a_version_that_is_not_ready_is_not_called(store: JobStore) -> None:
    published(store)
    assert "is checking" in refused(lambda: store.version_for(TENANT, "score", number=1), Conflict)
    assert "no version that is ready" in refused(lambda: store.version_for(TENANT, "score"), Conflict)
    check = claimed(store)
    store.finish(check, outcome(Reason.SCRIPT_ERROR), erasure(check))
    assert "is refused" in refused(lambda: store.version_for(TENANT, "score", number=1), Conflict)


# how many ----------------------------------------------------------------------------------------------------------------


def test_a_version_takes_so_many_calls_at_once_and_another_when_one_has_ended(store: JobStore) -> None:
    version = ready(store, concurrency=2)
    waits, runs = (store.submit(call_of(version)).job for _ in range(2))
    running = claimed(store)
    assert running.id == waits.id
    told = refused(lambda: store.submit(call_of(version)), TooManyCalls)
    assert told == "2 calls of version 1 of score have not ended, which is the limit"
    store.finish(running, outcome(), erasure(running))
    store.submit(call_of(version))
    refused(lambda: store.submit(call_of(version)), TooManyCalls)
    store.request_cancel(TENANT, runs.id)
    store.submit(call_of(version))
    assert shares(store) == counted(store)


def test_a_call_that_is_handed_back_has_not_ended(store: JobStore) -> None:
    version = ready(store, concurrency=1)
    store.submit(call_of(version))
    attempt = claimed(store)
    assert store.give_back(attempt, erasure(attempt), outcome(Reason.LOST)).state is State.QUEUED
    refused(lambda: store.submit(call_of(version)), TooManyCalls)


def test_only_calls_of_the_same_version_count(store: JobStore) -> None:
    version, other = ready(store, concurrency=1), ready(store, concurrency=1)
    own = job(inputs=version.called)
    store.submit(own)
    store.submit_batch(*batch_of(3, inputs=version.called))
    store.submit(call_of(other))
    store.submit(call_of(version))
    refused(lambda: store.submit(call_of(version)), TooManyCalls)


def test_of_calls_that_come_at_once_no_more_are_taken_than_may(store: JobStore) -> None:
    version = ready(store, concurrency=3)
    start = threading.Barrier(8)

    def call() -> bool:
        start.wait(20)
        try:
            store.submit(call_of(version))
        except TooManyCalls:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = [each.result(60) for each in [pool.submit(call) for _ in range(8)]]
    assert sum(taken) == 3
    assert shares(store) == counted(store) == {(TENANT, "jobs"): (3, 0)}


def test_a_call_of_a_version_that_is_gone_or_anothers_is_not_taken(store: JobStore) -> None:
    version = ready(store)
    strangers = replace(call_of(version), tenant="ten_other")
    assert "no version" in refused(lambda: store.submit(strangers), NotFound)
    store.delete_script(TENANT, "score")
    assert "no version" in refused(lambda: store.submit(call_of(version)), NotFound)


def test_a_version_that_is_called_is_not_deleted_before_the_call_has_ended(store: JobStore) -> None:
    version = ready(store)
    called = store.submit(call_of(version)).job
    refused(lambda: store.delete_version(TENANT, "score", 1), Conflict)
    attempt = claimed(store)
    assert (attempt.inputs, attempt.target_format, attempt.kind) == (called.inputs, "json", Kind.SCORE)
    store.finish(attempt, outcome(), erasure(attempt))
    store.delete_version(TENANT, "score", 1)


def test_a_call_is_among_the_jobs_of_its_tenant(store: JobStore) -> None:
    called = store.submit(call_of(ready(store))).job
    assert called.id in [each.id for each in store.list_jobs(TENANT)[0]]


# what it is called with --------------------------------------------------------------------------------------------------


def test_defaults_stand_beside_what_a_call_says_unless_their_own_type_does_not_allow_them() -> None:
    said = {"n": {"type": "int", "default": 5}, "odd": {"type": "int", "default": "auto"}, "x": {"type": None, "default": None}, "y": {}}
    version, _ = version_of(parameters=said)
    assert called_with(version, {"y": 1}) == {"n": 5, "x": None, "y": 1}
    assert called_with(version, {"n": 6}) == {"n": 6, "x": None}
    assert called_with(replace(version, parameters=None), {"z": 1}) == {"z": 1}


@pytest.mark.parametrize(
    ("kind", "yes", "no"),
    [
        ("int", [0, -(2**70)], [True, 1.0, "1", None]),
        ("float", [0, 1.5], [False, "1.5"]),
        ("str", [""], [1]),
        ("bool", [True], [1, 0.0, "true"]),
    ],
)
def test_a_value_fits_its_type_or_does_not(kind: str, yes: list[Any], no: list[Any]) -> None:
    assert [fits(kind, value) for value in yes + no] == [True] * len(yes) + [False] * len(no)
    assert all(fits(None, value) for value in yes + no)


def test_a_table_is_held_against_the_columns_of_the_sample_where_there_was_one() -> None:
    version, _ = version_of()
    schemas = {"inputs": {"dataset1": [COLUMN]}, "outputs": {}}
    assert expected_columns(replace(version, schemas=schemas)) == [COLUMN]
    assert expected_columns(replace(version, schemas={"inputs": {}, "outputs": {}})) is None
    assert expected_columns(version) is None
