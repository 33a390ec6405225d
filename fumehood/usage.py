"""Usage: what tenants have used, added up by day, label and kind of work in the very transaction in which a job ends.

So nothing is counted twice or forgotten, a job that is deleted afterwards stays counted, and asking costs the same however many jobs
there were. An attempt that was the service's fault is nobody's usage, nor is one that was handed back: only the ending counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import Connection, Delete, Select, bindparam, delete, func, select

from fumehood.database import adding
from fumehood.job import Job, Lane, State
from fumehood.outcome import Blame
from fumehood.outcome import Usage as Used
from fumehood.schema import BATCHES, USAGE

GB = 10**9
LABELS_MAX = 1000
"""Labels (name and value) of one tenant and day that are counted one by one; a further value of a name counts as OTHER of that name."""
OTHERS_MAX = 100
"""Names that have an OTHER; what is labelled with further names yet is in the total alone."""
OTHER = "…other"
KEPT_DAYS = 400
"""A year can be compared with the one before it, to the month."""

# The rows that count everything, whatever its labels; no label is called so.
TOTAL = ("", "")
_FIRST_DAY = date(1970, 1, 1)


class Work(StrEnum):
    """
    jobs         scripts; a chunk of a batch, which is many items in one sandbox, is one
    conversions  what a sandbox did with a tenant's tables without a script: describing an upload, another format, a preview
    """

    JOBS = "jobs"
    CONVERSIONS = "conversions"


WORK_OF_LANE = {Lane.JOBS: Work.JOBS, Lane.ERRANDS: Work.CONVERSIONS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """What was used. The four counts exclude each other, and are all the jobs there were."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    cached: int = 0
    """Succeeded with the result of an earlier job, without running."""
    cpu_seconds: float = 0.0
    gb_seconds: float = 0.0
    """Memory times time: each run's peak in GB (10⁹ bytes) times its wall seconds."""
    wall_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def jobs(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.cached


def day_of(moment: float) -> int:
    """The day in UTC, as days since 1970-01-01."""
    return int(moment // 86_400)


def day_number(day: date) -> int:
    return (day - _FIRST_DAY).days


def as_date(number: int) -> date:
    return _FIRST_DAY + timedelta(days=number)


def amount_of(job: Job) -> Amount:
    """What a job that has ended comes to."""
    if job.cached_from is not None:
        return Amount(cached=1)
    assert job.outcome is not None
    used = Used() if job.outcome.reason.blame is Blame.SERVICE else job.outcome.usage
    return replace(
        Amount(
            cpu_seconds=used.cpu_seconds,
            gb_seconds=used.memory_peak_bytes / GB * used.wall_seconds,
            wall_seconds=used.wall_seconds,
            bytes_in=used.bytes_in,
            bytes_out=used.bytes_out,
        ),
        **{_COUNT_OF_STATE[job.state]: 1},
    )


_COUNT_OF_STATE = {State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.CANCELLED: "cancelled"}


def count_ended(connection: Connection, job: Job) -> None:
    """Count a job that has just become final, and has its `finished_at`."""
    assert job.finished_at is not None
    labels: Mapping[str, str] = job.labels
    if job.batch is not None:
        labels = connection.execute(_labels_of_batch(), {"of_batch": job.batch}).scalar_one_or_none() or {}
    count(connection, job.tenant, job.kind.lane, labels, amount_of(job), now=job.finished_at)


def count(connection: Connection, tenant: str, lane: Lane, labels: Mapping[str, str], amount: Amount, *, now: float) -> None:
    """Add `amount` to the day's rows: the total first, which keeps others of this tenant away from the rows of labels until the end of
    the transaction."""
    day = day_of(now)
    add = adding(connection.dialect.name, USAGE, ("tenant", "label_name", "day", "label_value", "work"))
    row = {"tenant": tenant, "day": day, "work": WORK_OF_LANE[lane].value} | asdict(amount)
    new = {"label_name": TOTAL[0], "label_value": TOTAL[1], "labels": 0}
    total = connection.execute(add.returning(USAGE.c.labels, _jobs().label("jobs")), row | new).one()
    if labels:
        places, added = _places(connection, tenant, day, labels, total.labels)
        if places:
            connection.execute(add, [row | {"label_name": name, "label_value": value, "labels": 0} for name, value in sorted(places)])
        if added:
            connection.execute(add, row | new | dict.fromkeys(asdict(amount), 0) | {"labels": added})
    if total.jobs == amount.jobs:
        _forget_old(connection, tenant, day)


def cpu_seconds_today(connection: Connection, tenant: str, now: float) -> float:
    """What jobs and conversions that have ended on the running day (UTC) have used; those that run are not in it. Two rows are read."""
    today = {"of_tenant": tenant, "of_day": day_of(now)}
    return float(connection.execute(_cpu_seconds(), today).scalar_one())


def _places(connection: Connection, tenant: str, day: int, labels: Mapping[str, str], known: int) -> tuple[set[tuple[str, str]], int]:
    """The rows that a job with `labels` counts in, where the day has `known` of them; and how many of these are new."""
    asked = {"of_tenant": tenant, "of_day": day, "names": list(labels), "values": [*labels.values(), OTHER]}
    there = {tuple(found) for found in connection.execute(_there(), asked)}
    places: set[tuple[str, str]] = set()
    added = 0
    for name, value in labels.items():
        for place, most in (((name, value), LABELS_MAX), ((name, OTHER), LABELS_MAX + OTHERS_MAX)):
            if place in there or known + added < most:
                added += place not in there
                places.add(place)
                break
    return places, added


def _forget_old(connection: Connection, tenant: str, day: int) -> None:
    """With the first job of a day go the two oldest days that are past their time: few rows, and more than come."""
    for old in connection.execute(_old_days(), {"of_tenant": tenant, "before": day - KEPT_DAYS}).scalars().all():
        connection.execute(_forget_day(), {"of_tenant": tenant, "of_day": old})


# the statements ----------------------------------------------------------------------------------------------------------
@cache
def _jobs() -> Any:
    return USAGE.c.succeeded + USAGE.c.failed + USAGE.c.cancelled + USAGE.c.cached


@cache
def _labels_of_batch() -> Select[Any]:
    return select(BATCHES.c.labels).where(BATCHES.c.id == bindparam("of_batch"))


@cache
def _there() -> Select[Any]:
    name, value = USAGE.c.label_name, USAGE.c.label_value
    query = select(name, value).where(name.in_(bindparam("names", expanding=True)), value.in_(bindparam("values", expanding=True)))
    here = (USAGE.c.tenant == bindparam("of_tenant"), USAGE.c.day == bindparam("of_day"), USAGE.c.work == Work.JOBS.value)
    return query.where(*here)


@cache
def _cpu_seconds() -> Select[Any]:
    total = (USAGE.c.label_name == TOTAL[0], USAGE.c.label_value == TOTAL[1])
    query = select(func.coalesce(func.sum(USAGE.c.cpu_seconds), 0.0))
    return query.where(USAGE.c.tenant == bindparam("of_tenant"), USAGE.c.day == bindparam("of_day"), *total)


@cache
def _old_days() -> Select[Any]:
    old = select(USAGE.c.day).where(USAGE.c.tenant == bindparam("of_tenant"), USAGE.c.day < bindparam("before", type_=USAGE.c.day.type))
    return old.group_by(USAGE.c.day).order_by(USAGE.c.day).limit(2)


@cache
def _forget_day() -> Delete:
    return delete(USAGE).where(USAGE.c.tenant == bindparam("of_tenant"), USAGE.c.day == bindparam("of_day"))
