"""Unfolding: the items of a batch get their jobs some at a time, as the queue comes to them.

A batch of ten thousand is ten thousand short rows, and the jobs of its first items. Of the jobs that a batch has so far the last is
marked: when it leaves the queue, by a claim or a cancel, the next ones are made in that very transaction. So as long as an item has
no job, one that has waits before it in the queue, and nobody has to look for what is still to be made. Items without a job wait like
any other: they count in their tenant's share and in its quota, and what they read is needed.

The lock of a batch's row comes behind those of its jobs' rows, and before all of its tenant's. Whoever takes it first may not wait
for a job that is queued.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from fumehood.batch import Batch, Item, job_of
from fumehood.batch_rows import batch_from_row, item_from_row
from fumehood.job import State
from fumehood.needs import needs_of, needs_of_inputs
from fumehood.outcome import Reason
from fumehood.rows import job_to_row
from fumehood.schema import BATCH_ITEMS, BATCH_NEEDS, BATCHES, JOB_NEEDS, JOBS

WINDOW_JOBS = 100
"""So many are made at once: some milliseconds of one claim in a hundred."""
SHARED = -1
"""The number, among needs, of what all items read that have no job yet."""


def unfold(connection: Connection, batch_id: str, *, now: float, traceparent: str | None = None) -> None:
    """Make the jobs of the next items, if any has none; the last of them is marked in turn."""
    row = connection.execute(_batch(), {"of_batch": batch_id}).one_or_none()
    if row is None or row.unmade == 0:
        return
    batch, items = batch_from_row(row), connection.execute(_next(), {"of_batch": batch_id, "at_most": WINDOW_JOBS}).all()
    jobs = [replace(job_of(batch, item_from_row(item), attempts_max=row.attempts_max), traceparent=traceparent) for item in items]
    left = row.unmade - len(jobs)
    marked = [*(None for _ in jobs[1:]), True if left else None]
    # An item waits since its batch was submitted, or since it was told to run again.
    since = [now if item.retries else batch.created_at for item in items]
    given = [{"created_at": at, "place": row.place, "unfolds": unfolds} for at, unfolds in zip(since, marked, strict=True)]
    connection.execute(insert(JOBS), [job_to_row(job) | own for job, own in zip(jobs, given, strict=True)])
    connection.execute(_name_job(), [{"of_batch": batch_id, "of_number": job.item, "new_job": job.id} for job in jobs])
    connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(unmade=left))
    if needs := [need for job in jobs for need in needs_of(job)]:
        connection.execute(insert(JOB_NEEDS), needs)
    last = SHARED if left else None
    connection.execute(_forget_needs(last is None), {"of_batch": batch_id, "to_number": items[-1].number})


def is_unfolding(connection: Connection, batch_id: str) -> bool:
    """True where a job that waits is marked."""
    return connection.execute(_marked(), {"of_batch": batch_id}).first() is not None


def give_up(connection: Connection, batch: Row[Any], message: str) -> tuple[int, set[str | None]]:
    """What has no job of a batch, whose row is locked, is cancelled without one. How many, and the datasets that it needs no more."""
    if batch.unmade == 0:
        return 0, set()
    ending = {"number": -1, "reason": Reason.CANCELLED.value, "message": message}
    here = (BATCH_ITEMS.c.batch == batch.id, BATCH_ITEMS.c.job.is_(None), BATCH_ITEMS.c.state.is_(None))
    cancelled = connection.execute(update(BATCH_ITEMS).where(*here).values(state=State.CANCELLED.value, ending=ending)).rowcount
    unneeded = delete(BATCH_NEEDS).where(BATCH_NEEDS.c.batch == batch.id).returning(BATCH_NEEDS.c.dataset)
    datasets = set(connection.execute(unneeded).scalars())
    connection.execute(update(BATCHES).where(BATCHES.c.id == batch.id).values(unmade=0))
    return cancelled, datasets


def lock_batch(connection: Connection, batch_id: str) -> None:
    """For who will unfold it, before anything of its tenant's is locked."""
    connection.execute(_batch(), {"of_batch": batch_id})


def batch_needs(batch: Batch, items: Iterable[Item]) -> list[dict[str, Any]]:
    """Rows of `batch_needs`: what items read that get their jobs later."""
    of_all = [(SHARED, batch.inputs), *((item.number, item.inputs) for item in items)]
    return [need | {"batch": batch.id, "number": number} for number, inputs in of_all for need in needs_of_inputs(inputs)]


def count_unmade_ahead(connection: Connection, tenant: str, rank: int, place: int) -> int:
    """The items without a job that are ahead of a job of their tenant's at this place."""
    return int(connection.execute(_count_ahead(), {"of_tenant": tenant, "of_rank": rank, "of_place": place}).scalar_one())


def unmade_batches(connection: Connection, tenant: str, *, limit: int) -> Sequence[Row[Any]]:
    """Some of a tenant's batches with items that have no job; locked."""
    return connection.execute(_unmade_batches(), {"of_tenant": tenant, "at_most": limit}).all()


# built once and given their values when they are executed (see fumehood.moves) -------------------------------------------
# In the words of the index.
_BATCH_UNMADE: ColumnElement[bool] = literal_column("unmade > 0")


@cache
def _batch() -> Select[Any]:
    return select(BATCHES).where(BATCHES.c.id == bindparam("of_batch")).with_for_update()


@cache
def _next() -> Select[Any]:
    waits = (BATCH_ITEMS.c.job.is_(None), BATCH_ITEMS.c.state.is_(None))
    here = select(BATCH_ITEMS).where(BATCH_ITEMS.c.batch == bindparam("of_batch"), *waits)
    return here.order_by(BATCH_ITEMS.c.batch, BATCH_ITEMS.c.number).limit(bindparam("at_most"))


@cache
def _name_job() -> Update:
    here = (BATCH_ITEMS.c.batch == bindparam("of_batch"), BATCH_ITEMS.c.number == bindparam("of_number"))
    return update(BATCH_ITEMS).where(*here).values(job=bindparam("new_job"))


@cache
def _forget_needs(all_of_them: bool) -> Delete:
    here = delete(BATCH_NEEDS).where(BATCH_NEEDS.c.batch == bindparam("of_batch"))
    made = here.where(BATCH_NEEDS.c.number <= bindparam("to_number"))
    return made if all_of_them else made.where(BATCH_NEEDS.c.number != SHARED)


@cache
def _marked() -> Select[Any]:
    return select(JOBS.c.seq).where(JOBS.c.batch == bindparam("of_batch"), JOBS.c.state == State.QUEUED.value, JOBS.c.unfolds.is_(True))


@cache
def _count_ahead() -> Select[Any]:
    # All of a batch's have rank 0.
    ahead = (bindparam("of_rank") > 0) | ((bindparam("of_rank") == 0) & (BATCHES.c.place < bindparam("of_place")))
    unmade = select(func.coalesce(func.sum(BATCHES.c.unmade), 0))
    return unmade.where(BATCHES.c.tenant == bindparam("of_tenant"), _BATCH_UNMADE, ahead)


@cache
def _unmade_batches() -> Select[Any]:
    here = select(BATCHES).where(BATCHES.c.tenant == bindparam("of_tenant"), _BATCH_UNMADE)
    return here.order_by(BATCHES.c.seq).limit(bindparam("at_most")).with_for_update()
