"""Holdings: what a tenant has and uses now, held against its quota in the very transaction that adds to it.

The bytes of a job, a batch, a dataset or a script's version stand in its row; the database's own triggers (revisions 0011 and 0014) add
them up by tenant, so that deletion and expiry give back exactly what was counted. A dataset counts its original and its Arrow form, a
job its script, the files that were sent with it, its results and its log, a batch what was sent with it and its joined table, a version
its script, bundle and sample. Copies that share a disk's blocks count each.
What a running job will leave is counted when it has ended: it may lead above the quota by what runs at once. Until there is room again
nothing new is taken, and what waits is not claimed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Connection, Float, Integer, ScalarSelect, Select, bindparam, func, select

from fumehood.batch import Batch
from fumehood.blob_bytes import bytes_of_job
from fumehood.errors import QuotaExceeded
from fumehood.job import Job, Lane
from fumehood.quota import DAY_SECONDS, Quota
from fumehood.schema import HOLDINGS, SHARES, USAGE
from fumehood.tenant_store import Tenants
from fumehood.usage import TOTAL, day_of

QUEUE_RETRY_SECONDS = 5
STORED_RETRY_SECONDS = 60
"""Somebody has to delete something first, or it has to expire."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """What a tenant has now of what its quota bounds."""

    running_jobs: int = 0
    queued_jobs: int = 0
    stored_bytes: int = 0
    cpu_seconds_per_day: float = 0.0
    """Today's (UTC), of what has ended."""


class Holdings(Tenants):
    """The part of `JobStore` that says what a tenant has."""

    def use_of(self, tenant: str) -> Use:
        with self._database.reading() as connection:
            return use(connection, tenant, now=self._clock())

    def check_room(self, tenant: str, quota: Quota, *, bytes: int) -> None:
        """Raises QuotaExceeded where so many more would be too many now; whoever stores them is asked again."""
        held = self.use_of(tenant).stored_bytes
        _check_stored(quota, held=held, after=held + bytes)


def use(connection: Connection, tenant: str, *, now: float) -> Use:
    row = connection.execute(_use(), {"of_tenant": tenant, "of_day": day_of(now)}).one()
    return Use(**row._mapping)


def check_job(connection: Connection, job: Job, quota: Quota, *, now: float) -> None:
    """Asked after the job was added, whose rows keep others of its tenant away until the end of the transaction. Raises QuotaExceeded."""
    stored = bytes_of_job(job)
    queued = int(job.kind.lane is Lane.JOBS and not job.state.final)
    _check(use(connection, job.tenant, now=now), quota, queued=queued, stored=stored, runs=not job.state.final, now=now)


def check_batch(connection: Connection, batch: Batch, quota: Quota, *, jobs: int, stored: int, now: float) -> None:
    """As `check_job`, of all its jobs."""
    _check(use(connection, batch.tenant, now=now), quota, queued=jobs, stored=stored, runs=True, now=now)


def check_stored(connection: Connection, tenant: str, quota: Quota, *, stored: int, now: float) -> None:
    """As `check_job`, of bytes alone."""
    held = use(connection, tenant, now=now).stored_bytes
    _check_stored(quota, held=held - stored, after=held)


def _check(now_used: Use, quota: Quota, *, queued: int, stored: int, runs: bool, now: float) -> None:
    if queued and now_used.queued_jobs > quota.queued_jobs:
        before = now_used.queued_jobs - queued
        detail = f"{before:,} jobs of the tenant wait, and {queued:,} more would be too many; the limit is {quota.queued_jobs:,}"
        raise _exceeded("queued_jobs", detail, quota.queued_jobs, before, QUEUE_RETRY_SECONDS)
    if runs and now_used.cpu_seconds_per_day >= quota.cpu_seconds_per_day:
        left = math.ceil((day_of(now) + 1) * DAY_SECONDS - now)
        used = now_used.cpu_seconds_per_day
        detail = f"{used:,.0f} CPU seconds were used today (UTC); the limit is {quota.cpu_seconds_per_day:,.0f}"
        raise _exceeded("cpu_seconds_per_day", detail, quota.cpu_seconds_per_day, used, max(1, left))
    if stored or queued:
        _check_stored(quota, held=now_used.stored_bytes - stored, after=now_used.stored_bytes)


def _check_stored(quota: Quota, *, held: int, after: int) -> None:
    if after > quota.stored_bytes:
        more = f", and {after - held:,} more would be too many" if after > held else ""
        detail = (
            f"the tenant holds {held:,} bytes{more}; the limit is {quota.stored_bytes:,}. "
            "Delete jobs, batches, datasets or scripts, or wait until some expire"
        )
        raise _exceeded("stored_bytes", detail, quota.stored_bytes, held, STORED_RETRY_SECONDS)


def _exceeded(quota: str, detail: str, limit: float, value: float, seconds: int) -> QuotaExceeded:
    return QuotaExceeded(detail, quota=quota, limit=limit, value=value, retry_after_seconds=seconds)


@cache
def _use() -> Select[Any]:
    """A few rows, each by its key."""
    tenant: BindParameter[str] = bindparam("of_tenant")
    day: BindParameter[int] = bindparam("of_day", type_=Integer())
    share = (SHARES.c.tenant == tenant, SHARES.c.lane == Lane.JOBS.value)
    total = (USAGE.c.label_name == TOTAL[0], USAGE.c.label_value == TOTAL[1])
    cpu = select(func.sum(USAGE.c.cpu_seconds)).where(USAGE.c.tenant == tenant, USAGE.c.day == day, *total)

    def number(query: Select[Any], kind: Any) -> Any:
        found: ScalarSelect[Any] = query.scalar_subquery()
        return func.coalesce(found, 0, type_=kind)

    return select(
        number(select(SHARES.c.running).where(*share), Integer()).label("running_jobs"),
        number(select(SHARES.c.queued).where(*share), Integer()).label("queued_jobs"),
        number(select(HOLDINGS.c.bytes).where(HOLDINGS.c.tenant == tenant), BigInteger()).label("stored_bytes"),
        number(cpu, Float()).label("cpu_seconds_per_day"),
    )
