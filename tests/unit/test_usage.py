"""What is counted of a tenant's jobs, over every database."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from fumehood import usage
from fumehood.database import Database
from fumehood.errors import BadRequest
from fumehood.job import Job, Kind, Lane
from fumehood.job_store import JobStore
from fumehood.outcome import Reason, Usage
from fumehood.testing import erasure, job, outcome
from fumehood.usage import GB, KEPT_DAYS, LABELS_MAX, OTHER, OTHERS_MAX, Amount, Work, cpu_seconds_today
from fumehood.usage_store import By, Row
from tests.unit.stores import Clock, batch_of

TENANT = "ten_test"
TODAY = date(2023, 11, 14)  # of the tests' clock
DAY_SECONDS = 86_400
USED = Usage(wall_seconds=2.0, cpu_seconds=1.5, memory_peak_bytes=GB // 2, bytes_in=10, bytes_out=20)
AMOUNT = Amount(succeeded=1, cpu_seconds=1.5, gb_seconds=1.0, wall_seconds=2.0, bytes_in=10, bytes_out=20)


def claim(store: JobStore, lane: Lane = Lane.JOBS) -> Job:
    claimed = store.claim(worker="wrk_test", lane=lane, disk_budget_bytes=2**60)
    assert claimed is not None
    return claimed


def run(store: JobStore, reason: Reason = Reason.OK, used: Usage = USED, **overrides: Any) -> Job:
    asked = job(**overrides)
    store.submit(asked)
    running = claim(store, asked.kind.lane)
    return store.finish(running, outcome(reason, usage=used), erasure(running))


def rows(store: JobStore, tenant: str = TENANT, first: date = TODAY, last: date = TODAY, **options: Any) -> list[Row]:
    found, following = store.usage(tenant, first=first, last=last, **options)
    assert following is None
    return found


def amounts(store: JobStore, **options: Any) -> dict[str | None, Amount]:
    return {row.label: row.amount for row in rows(store, **options)}


def test_a_job_counts_what_it_used_on_the_day_on_which_it_ended(store: JobStore, clock: Clock) -> None:
    asked = job()
    store.submit(asked)
    running = claim(store)
    clock.now += DAY_SECONDS
    store.finish(running, outcome(usage=USED), erasure(running))
    tomorrow = TODAY + timedelta(days=1)
    assert rows(store, last=tomorrow) == [Row(day=tomorrow, label=None, work=Work.JOBS, amount=AMOUNT)]


def test_a_day_ends_at_midnight_utc(store: JobStore, clock: Clock) -> None:
    midnight = 1_700_006_400.0
    for clock.now in (midnight - 0.001, midnight):
        run(store)
    assert [row.day for row in rows(store, last=TODAY + timedelta(days=1))] == [TODAY, TODAY + timedelta(days=1)]


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        (Reason.OK, AMOUNT),
        (Reason.SCRIPT_ERROR, replace(AMOUNT, succeeded=0, failed=1)),
        (Reason.OUT_OF_MEMORY, replace(AMOUNT, succeeded=0, failed=1)),
        (Reason.CANCELLED, replace(AMOUNT, succeeded=0, cancelled=1)),
        (Reason.SANDBOX_ERROR, Amount(failed=1)),
        (Reason.LOST, Amount(failed=1)),
    ],
)
def test_every_ending_is_counted_and_the_services_own_fault_costs_nothing(store: JobStore, reason: Reason, counted: Amount) -> None:
    run(store, reason)
    assert [row.amount for row in rows(store)] == [counted]


def test_jobs_add_up(store: JobStore) -> None:
    for reason in (Reason.OK, Reason.OK, Reason.SCRIPT_ERROR):
        run(store, reason)
    (row,) = rows(store)
    assert row.amount == Amount(succeeded=2, failed=1, cpu_seconds=4.5, gb_seconds=3.0, wall_seconds=6.0, bytes_in=30, bytes_out=60)
    assert row.amount.jobs == 3


def test_an_attempt_that_is_handed_back_counts_nothing_and_the_last_one_once(store: JobStore) -> None:
    store.submit(job(attempts_max=2))
    for _ in range(2):
        running = claim(store)
        assert rows(store) == []
        store.give_back(running, erasure(running), outcome(Reason.LOST, usage=USED))
    assert [row.amount for row in rows(store)] == [Amount(failed=1)]


def test_a_job_that_is_cancelled_in_the_queue_used_nothing(store: JobStore) -> None:
    asked = job(labels={"team": "blue"})
    store.submit(asked)
    store.request_cancel(asked.tenant, asked.id)
    assert amounts(store) | amounts(store, label="team") == {None: Amount(cancelled=1), "blue": Amount(cancelled=1)}


def test_a_job_that_is_deleted_stays_counted(store: JobStore) -> None:
    ended = run(store, labels={"team": "blue"})
    before = amounts(store) | amounts(store, label="team")
    store.delete_job(ended.tenant, ended.id)
    assert amounts(store) | amounts(store, label="team") == before != {}


def test_conversions_are_counted_beside_the_jobs(store: JobStore) -> None:
    run(store)
    for kind in (Kind.DESCRIBE, Kind.CONVERT, Kind.PROFILE):
        errand = run(store, kind=kind)
        store.delete_job(errand.tenant, errand.id)
    assert {row.work: row.amount.jobs for row in rows(store)} == {Work.JOBS: 1, Work.CONVERSIONS: 3}


def test_tenants_are_counted_apart(store: JobStore) -> None:
    run(store, labels={"team": "blue"})
    assert rows(store, tenant="ten_other") == []
    assert rows(store, tenant="ten_other", label="team") == []


# labels ------------------------------------------------------------------------------------------------------------------
def test_a_job_counts_for_each_of_its_labels(store: JobStore) -> None:
    run(store, labels={"team": "blue", "stage": "test"})
    run(store, labels={"team": "red"})
    run(store)
    assert amounts(store, label="team") == {"blue": AMOUNT, "red": AMOUNT}
    assert amounts(store, label="stage") == {"test": AMOUNT}
    assert amounts(store, label="none") == {}
    assert amounts(store)[None].jobs == 3


def test_labels_of_any_text_are_told_apart(store: JobStore) -> None:
    values = ["", "ä", "Ä", "a", "A", " a", "a ", "%", "_", "\U0001f9ea"]
    for value in values:
        run(store, labels={"team": value})
    found = amounts(store, label="team")
    assert set(found) == set(values)
    assert {amount.jobs for amount in found.values()} == {1}


def test_more_labels_than_are_counted_one_by_one_are_counted_together(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "LABELS_MAX", 3)
    monkeypatch.setattr(usage, "OTHERS_MAX", 1)
    for value in ("a", "b", "c", "d", "e", "a"):
        run(store, labels={"run": value})
    run(store, labels={"late": "x", "run": "b"})
    assert {label: amount.jobs for label, amount in amounts(store, label="run").items()} == {"a": 2, "b": 2, "c": 1, OTHER: 2}
    assert amounts(store, label="late") == {}
    assert amounts(store)[None].jobs == 7


def test_the_rows_of_a_day_are_bounded(store: JobStore, store_url: str, clock: Clock) -> None:
    jobs = (LABELS_MAX + OTHERS_MAX) // 16 + 2
    database = Database(store_url)
    with database.writing() as connection:
        for number in range(jobs):
            labels = {f"n{number}.{other}": str(number) for other in range(16)}
            usage.count(connection, TENANT, Lane.JOBS, labels, AMOUNT, now=clock.now)
        counted = connection.exec_driver_sql("SELECT count(*) FROM usage").scalar_one()
    database.close()
    assert counted == LABELS_MAX + OTHERS_MAX + 1
    assert amounts(store)[None].jobs == jobs


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_jobs_of_a_batch_count_for_its_labels(store: JobStore, cancelled: bool) -> None:
    batch, *asked = batch_of(3)
    store.submit_batch(batch, *asked)
    running = claim(store)
    if cancelled:
        store.cancel_batch(batch.tenant, batch.id)
    store.finish(running, outcome(Reason.CANCELLED if cancelled else Reason.OK, usage=USED), erasure(running))
    expected = replace(AMOUNT, succeeded=0, cancelled=3) if cancelled else AMOUNT
    assert amounts(store) | amounts(store, label="team") == {None: expected, "blue": expected}


# asking ------------------------------------------------------------------------------------------------------------------
def test_a_period_adds_its_days_up(store: JobStore, clock: Clock) -> None:
    for _ in range(3):
        run(store, labels={"team": "blue"})
        run(store, kind=Kind.CONVERT)
        clock.now += DAY_SECONDS
    last = TODAY + timedelta(days=2)
    assert {row.day for row in rows(store, last=last)} == {TODAY, TODAY + timedelta(days=1), last}
    for options in ({}, {"label": "team"}):
        found = [row for row in rows(store, last=last, by=By.PERIOD, **options) if row.work is Work.JOBS]
        assert [(row.day, row.amount) for row in found] == [
            (None, Amount(succeeded=3, cpu_seconds=4.5, gb_seconds=3.0, wall_seconds=6.0, bytes_in=30, bytes_out=60))
        ]
        assert {type(row.amount.succeeded) for row in found} == {int}
    assert [row.amount.jobs for row in rows(store, first=TODAY, last=TODAY, by=By.PERIOD)] == [1, 1]


@pytest.mark.parametrize("by", By)
@pytest.mark.parametrize("label", [None, "team"])
def test_pages_join_without_a_gap(store: JobStore, clock: Clock, by: By, label: str | None) -> None:
    for _ in range(3):
        for value in ("b", "ä", "A", "a", OTHER):
            run(store, labels={"team": value})
        run(store, kind=Kind.CONVERT)
        clock.now += DAY_SECONDS
    last = TODAY + timedelta(days=2)
    whole = rows(store, last=last, by=by, label=label)
    paged: list[Row] = []
    cursor: str | None = None
    while True:
        page, cursor = store.usage(TENANT, first=TODAY, last=last, by=by, label=label, after=cursor, limit=1)
        assert len(page) == 1
        paged += page
        if cursor is None:
            break
    assert paged == whole
    assert len(whole) == (3 if by is By.DAY else 1) * (5 if label else 2)


@pytest.mark.parametrize("cursor", ["", "x", "eHh4", "MQ", "MQphCmI", "LTEKYQpi", "OTk5OTk5OTk5OTkKYQpi", "4pyTCmEKYg", "ÿ"])
def test_a_cursor_that_is_none_is_refused(store: JobStore, cursor: str) -> None:
    if cursor == "MQphCmI":  # it is one
        assert rows(store, after=cursor) == []
        return
    with pytest.raises(BadRequest, match="the cursor is not usable"):
        store.usage(TENANT, first=TODAY, last=TODAY, after=cursor)


@pytest.mark.parametrize(("days", "told"), [(-1, "ends before it begins"), (KEPT_DAYS, f"has {KEPT_DAYS + 1} days")])
def test_a_period_that_cannot_be_is_refused(store: JobStore, days: int, told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        store.usage(TENANT, first=TODAY, last=TODAY + timedelta(days=days))
    assert told in refused.value.errors[0].detail


# what has to hold together -----------------------------------------------------------------------------------------------
def test_the_cpu_seconds_of_the_running_day_are_read_inside_a_transaction(store: JobStore, store_url: str, clock: Clock) -> None:
    run(store, labels={"team": "blue"})
    run(store, kind=Kind.CONVERT)
    database = Database(store_url)
    with database.writing() as connection:
        assert cpu_seconds_today(connection, TENANT, clock.now) == 3.0
        assert cpu_seconds_today(connection, "ten_other", clock.now) == 0.0
        assert cpu_seconds_today(connection, TENANT, clock.now + DAY_SECONDS) == 0.0
    database.close()


def test_a_job_whose_end_is_not_written_is_not_counted(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.submit(job())
    running = claim(store)
    monkeypatch.setattr("fumehood.moves.count_ended", _fail)
    with pytest.raises(RuntimeError, match="planted"):
        store.finish(running, outcome(usage=USED), erasure(running))
    monkeypatch.undo()
    assert not store.get_job(running.tenant, running.id).state.final
    assert rows(store) == []
    store.finish(running, outcome(usage=USED), erasure(running))
    assert [row.amount for row in rows(store)] == [AMOUNT]


def _fail(*_: object) -> None:
    raise RuntimeError("planted")


def test_of_many_that_end_at_once_none_is_lost(store: JobStore) -> None:
    count, failures = 24, []
    for number in range(count):
        store.submit(job(labels={"team": "blue", "run": str(number % 5), "stage": str(number % 2)}))
    running = [claim(store) for _ in range(count)]

    def end(some: list[Job]) -> None:
        try:
            for each in some:
                store.finish(each, outcome(usage=USED), erasure(each))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=end, args=(running[begin::4],)) for begin in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert amounts(store)[None].jobs == amounts(store, label="team")["blue"].jobs == count
    assert sum(amount.jobs for amount in amounts(store, label="run").values()) == count


def test_days_past_their_time_are_forgotten_with_the_first_job_of_a_day(store: JobStore, clock: Clock) -> None:
    for _ in range(3):
        run(store, labels={"team": "blue"})
        clock.now += DAY_SECONDS
    run(store, tenant="ten_other")
    clock.now += (KEPT_DAYS + 1) * DAY_SECONDS
    run(store)
    everything = {"first": TODAY, "last": TODAY + timedelta(days=KEPT_DAYS - 1)}
    assert [row.day for row in rows(store, **everything)] == [TODAY + timedelta(days=2)], "two days at a time"
    assert [row.label for row in rows(store, label="team", **everything)] == ["blue"]
    run(store)
    assert len(rows(store, **everything)) == 1, "not with the second job"
    clock.now += DAY_SECONDS
    run(store)
    assert rows(store, **everything) == []
    assert len(rows(store, tenant="ten_other", **everything)) == 1


@pytest.mark.parametrize("options", [{}, {"label": "team"}, {"by": By.PERIOD}, {"by": By.PERIOD, "label": "team"}], ids=str)
def test_asking_walks_along_an_index(store: JobStore, store_url: str, options: dict[str, Any]) -> None:
    """However many rows of other labels, days and tenants there are."""
    from sqlalchemy import event

    said: list[tuple[str, Any]] = []
    engine = store._database._engine
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, parameters, *_: said.append((statement, parameters)))
    store.usage(TENANT, first=TODAY, last=TODAY, **options)
    statement, parameters = next((text, given) for text, given in said if "FROM usage" in text)
    with store._database.writing() as connection:
        if store._database.is_sqlite:
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())
            assert "SEARCH usage USING INDEX sqlite_autoindex_usage_1 (tenant=? AND label_name=? AND day" in plan
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = str(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all())
            assert "pk_usage" in plan or "ix_usage_tenant_day" in plan
