"""Calling off: what waits of a batch is cancelled at once, because its tenant asks for it or because one of its items has failed.

A job that somebody has just locked is not waited for: whoever claims it may in turn wait for the batch's row, which is locked here. It is
found by the row: a claim of a batch that was called off starts a job with a cancel already asked for, a beat of a running one hears of
the batch's cancel, and none of them is handed back to the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Update, bindparam, delete, false, func, or_, select, update

from fumehood import fair_share
from fumehood.batch import OnFailure
from fumehood.expiry import expiry
from fumehood.job import Kind, Lane, State
from fumehood.outcome import Blame, Outcome, Reason
from fumehood.quota import Retention
from fumehood.rows import never_ran
from fumehood.schema import BATCH_ITEMS, BATCHES, JOB_NEEDS, JOBS
from fumehood.unfolding import give_up
from fumehood.usage import Amount, count

STEP = 500
"""Below what any database takes as parameters of one statement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalledOff:
    """What is cancelled, and yet to be told to those who count: `datasets` first, `settle` last, as everywhere."""

    batch: Row[Any]
    jobs: list[str]
    items: int
    """Those that had no job yet among them."""
    datasets: set[str | None]
    """That it needs no more."""


def call_off(connection: Connection, batch: Row[Any], message: str, *, now: float) -> CalledOff:
    """What waits of a batch, whose row is locked, ends as cancelled; items without a job end too. Locks jobs alone, and waits for none:
    datasets, holdings, shares and usage are locked in this order by everybody, and whoever asks may have some yet to come."""
    queued = select(JOBS.c.id).where(JOBS.c.batch == batch.id, JOBS.c.state == State.QUEUED.value)
    ended = list(connection.execute(queued.order_by(JOBS.c.seq).with_for_update(skip_locked=True)).scalars())
    outcome = Outcome(reason=Reason.CANCELLED, message=message).as_dict()
    expires = None if batch.retention is None else expiry(Retention(**batch.retention), now, batch=batch.id).next_at()
    cancelled = {"state": State.CANCELLED.value, "cancel_requested": True, "outcome": outcome, "finished_at": now, "expires_at": expires}
    used: set[str | None] = set()
    for begin in range(0, len(ended), STEP):
        some = ended[begin : begin + STEP]
        used |= set(connection.execute(delete(JOB_NEEDS).where(JOB_NEEDS.c.job_id.in_(some)).returning(JOB_NEEDS.c.dataset)).scalars())
        # The receipt of a job that never ran names nothing; one that was handed back has the receipt of that attempt.
        never = update(JOBS).where(JOBS.c.id.in_(some), JOBS.c.erasure.is_(None))
        connection.execute(never.values(erasure=never_ran(now=now)))
        connection.execute(update(JOBS).where(JOBS.c.id.in_(some)).values(cancelled))
    unmade, unneeded = give_up(connection, batch, message)
    return CalledOff(batch=batch, jobs=ended, items=len(ended) + unmade, datasets=used | unneeded)


def settle(connection: Connection, off: CalledOff, *, now: float) -> None:
    """Shares and usage hear of what was cancelled."""
    if off.items:
        fair_share.left(connection, off.batch.tenant, Lane.JOBS.value, jobs=off.items)
        count(connection, off.batch.tenant, Lane.JOBS, off.batch.labels, Amount(cancelled=off.items), now=now)


def stop_at_failure(connection: Connection, row: Row[Any], outcome: Outcome, *, now: float) -> CalledOff | None:
    """A job of a batch has just ended with `outcome`. Where it or one of its items failed, and that is to be the end of the batch, what
    waits is cancelled. A failure of the service's stops nothing."""
    if row.batch is None:
        return None
    failed = outcome.reason.blame is Blame.TENANT
    if row.kind == Kind.CHUNK.value:
        own = (BATCH_ITEMS.c.batch == row.batch, BATCH_ITEMS.c.job == row.id)
        mine = select(func.min(BATCH_ITEMS.c.number)).where(*own)
        own_doing = BATCH_ITEMS.c.ending["reason"].as_string().in_([reason.value for reason in Reason if reason.blame is Blame.TENANT])
        number = connection.execute(mine if failed else mine.where(BATCH_ITEMS.c.state == State.FAILED.value, own_doing)).scalar_one()
    else:
        number = row.item if failed else None
    if number is None:
        return None
    batch = connection.execute(_stop(), {"of_batch": row.batch, "new_number": number}).one_or_none()
    if batch is None:
        return None
    message = f"Cancelled before it ran: item {number} failed, and the batch ends with its first failure."
    return call_off(connection, batch, message, now=now)


def called_off(connection: Connection, batch_id: str | None) -> Row[Any] | None:
    """`cancel_requested` and `stopped_by` of a batch, if it has one of them."""
    return connection.execute(_called_off(), {"of_batch": batch_id}).one_or_none() if batch_id is not None else None


def is_called_off(batch_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """The same of the batch of a row, as part of a statement."""
    told = select(or_(BATCHES.c.cancel_requested, BATCHES.c.stopped_by.is_not(None))).where(BATCHES.c.id == batch_id)
    return func.coalesce(told.scalar_subquery(), false())


@cache
def _stop() -> Update:
    wanted = (BATCHES.c.on_failure == OnFailure.STOP.value, BATCHES.c.stopped_by.is_(None), BATCHES.c.cancel_requested.is_(False))
    stopped = update(BATCHES).where(BATCHES.c.id == bindparam("of_batch"), *wanted).values(stopped_by=bindparam("new_number"))
    return stopped.returning(*BATCHES.c)


@cache
def _called_off() -> Select[Any]:
    told = or_(BATCHES.c.cancel_requested, BATCHES.c.stopped_by.is_not(None))
    return select(BATCHES.c.cancel_requested, BATCHES.c.stopped_by).where(BATCHES.c.id == bindparam("of_batch"), told)
