"""Outbox: a message is written in the transaction that it tells of, so that it is there exactly when that happened."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Delete, Insert, Select, bindparam, delete, func, insert, select

from fumehood.batch import Batch
from fumehood.delivery import BATCH_FINISHED, QUEUE_MAX, DeliveryState, Trouble, Try, payload_of_job
from fumehood.job import Job, new_id
from fumehood.webhook_schema import DELIVERIES


def tell_of_job(connection: Connection, job: Job, *, now: float) -> None:
    """A job has just become final."""
    if job.callback_url is None:
        return
    values = _row(job.tenant, job.id, f"job.{job.state.value}", job.callback_url, now=now)
    values |= {"state": DeliveryState.PENDING.value, "payload": payload_of_job(job)}
    if connection.execute(_count_pending(), {"of_tenant": job.tenant}).scalar_one() >= QUEUE_MAX:
        full = Try(at=now, trouble=Trouble.QUEUE_FULL)
        values |= {"state": DeliveryState.FAILED.value, "tries": [full.as_dict()], "ended_at": now}
    connection.execute(_insert(), values)


def tell_of_batch_later(connection: Connection, batch: Batch, *, now: float) -> None:
    """A batch was submitted. Its message waits with it: when it has ended is found by looking, so that the end of an item costs
    nothing, and two that end at the same moment need not know of each other."""
    if batch.callback_url is not None:
        values = _row(batch.tenant, batch.id, BATCH_FINISHED, batch.callback_url, now=now)
        connection.execute(_insert(), values | {"state": DeliveryState.HELD.value})


def tell_of_batch_again(connection: Connection, batch: Batch, *, now: float) -> None:
    """Items of a batch run again: its end is told once more, unless the first one was not yet."""
    if batch.callback_url is not None:
        held = (DELIVERIES.c.tenant == batch.tenant, DELIVERIES.c.about == batch.id, DELIVERIES.c.state == DeliveryState.HELD.value)
        if connection.execute(select(DELIVERIES.c.seq).where(*held).limit(1)).first() is None:
            tell_of_batch_later(connection, batch, now=now)


def forget_told(connection: Connection, tenant: str, about: str) -> None:
    """A job or a batch is forgotten, and with it what was told of it, or was to be."""
    connection.execute(_forget(), {"of_tenant": tenant, "of_about": about})


def host_of(url: str) -> str:
    """What messages to the same server have in common."""
    return urlsplit(url).netloc.lower()


def _row(tenant: str, about: str, event: str, url: str, *, now: float) -> dict[str, Any]:
    return {
        "id": new_id("msg"),
        "tenant": tenant,
        "about": about,
        "event": event,
        "url": url,
        "host": host_of(url),
        "payload": None,
        "attempt": 0,
        "fence": 0,
        "due_at": now,
        "created_at": now,
        "ended_at": None,
        "tries": [],
    }


# built once and given their values when they are executed (see fumehood.moves) -------------------------------------------
@cache
def _insert() -> Insert:
    return insert(DELIVERIES)


@cache
def _count_pending() -> Select[Any]:
    here = (DELIVERIES.c.tenant == bindparam("of_tenant"), DELIVERIES.c.state == DeliveryState.PENDING.value)
    return select(func.count()).select_from(select(DELIVERIES.c.seq).where(*here).limit(QUEUE_MAX).subquery())


@cache
def _forget() -> Delete:
    return delete(DELIVERIES).where(DELIVERIES.c.tenant == bindparam("of_tenant"), DELIVERIES.c.about == bindparam("of_about"))
