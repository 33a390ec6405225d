"""Retries: items that failed or were cancelled run again, each in a new job, and their batch has not ended any more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.exc import IntegrityError

from fumehood.batch import Batch, Isolation, Terms
from fumehood.batch_rows import STATE_OF_ITEM, WITHOUT_JOINED, batch_from_row, item_from_row, ran_from_row, select_ran
from fumehood.batch_store import Batches, find_batch, queue_chunks, queue_items, read_batch
from fumehood.calling_off import STEP
from fumehood.errors import BadRequest, Conflict, NotFound
from fumehood.expiry import first_look_at
from fumehood.holdings import check_batch
from fumehood.job import Input, State
from fumehood.outbox import tell_of_batch_again
from fumehood.schema import BATCH_ITEMS, BATCHES, JOBS

RETRIES_MAX = 20
"""Of one item."""
_AGAIN = (State.FAILED.value, State.CANCELLED.value)


class Retries(Batches):
    """The part of `JobStore` that has items run again."""

    def retry_items(self, tenant: str, batch_id: str, terms: Terms, *, number: int | None = None) -> tuple[Batch, int]:
        """Every item that failed or was cancelled, or the one of this number, waits again. The batch afterwards, and how many wait.

        Raises:
            NotFound: the batch, or the item.
            Conflict: there is no such item, it was retried too often, or the batch is being called off and has not ended.
            BadRequest: an input of an item is not there any more.
            QuotaExceeded: the tenant has too much waiting, or has used its day's processor time.
        """
        now = self._clock()
        try:
            with self._database.writing() as connection:
                quota = self._admit(connection, tenant)
                row = find_batch(connection, tenant, batch_id, lock=True)
                self._note(connection, batch_id)
                if (row.cancel_requested or row.stopped_by is not None) and not read_batch(connection, tenant, batch_id).final:
                    raise Conflict(f"batch {batch_id} is being called off; wait for its end")
                numbers = _numbers(connection, batch_id, number)
                _tell_own(connection, row, numbers)
                again = {"job": None, "state": None, "ending": None, "retries": BATCH_ITEMS.c.retries + 1}
                rows: list[Row[Any]] = []
                for begin in range(0, len(numbers), STEP):
                    here = (BATCH_ITEMS.c.batch == batch_id, BATCH_ITEMS.c.number.in_(numbers[begin : begin + STEP]))
                    rows += connection.execute(update(BATCH_ITEMS).where(*here).values(again).returning(*BATCH_ITEMS.c)).all()
                batch = batch_from_row(row)
                renewed = {"cancel_requested": False, "stopped_by": None, "expires_at": first_look_at(batch, now), **WITHOUT_JOINED}
                connection.execute(update(BATCHES).where(BATCHES.c.seq == row.seq).values(renewed))
                items = sorted((item_from_row(each) for each in rows), key=lambda item: item.number)
                if batch.isolation is Isolation.ITEM:
                    queue_items(connection, batch, items, now=now)
                    jobs = len(items)
                else:
                    chunks = queue_chunks(connection, batch, items, terms, place=row.place, now=now)
                    jobs = len(chunks)
                    for job, some in chunks:
                        own = (BATCH_ITEMS.c.batch == batch.id, BATCH_ITEMS.c.number.in_([item.number for item in some]))
                        connection.execute(update(BATCH_ITEMS).where(*own).values(job=job.id))
                check_batch(connection, batch, quota, jobs=jobs, stored=0, now=now)
                tell_of_batch_again(connection, batch, now=now)
                return read_batch(connection, tenant, batch_id), len(items)
        except IntegrityError as error:  # As in `submit_batch`.
            raise BadRequest("an input of the batch was deleted meanwhile") from error


def _numbers(connection: Connection, batch_id: str, number: int | None) -> list[int]:
    """The items that are to run again, by number."""
    found = select(BATCH_ITEMS.c.number, STATE_OF_ITEM.label("state"), BATCH_ITEMS.c.retries)
    found = found.select_from(BATCH_ITEMS.outerjoin(JOBS, JOBS.c.id == BATCH_ITEMS.c.job)).where(BATCH_ITEMS.c.batch == batch_id)
    if number is not None:
        one = connection.execute(found.where(BATCH_ITEMS.c.number == number)).one_or_none()
        if one is None:
            raise NotFound(f"the batch has no item {number}")
        if one.state not in _AGAIN:
            raise Conflict(f"item {number} is {one.state}; only one that failed or was cancelled can run again")
        if one.retries >= RETRIES_MAX:
            raise Conflict(f"item {number} has run again {one.retries} times, which is the limit")
        return [number]
    rows = connection.execute(found.where(STATE_OF_ITEM.in_(_AGAIN)).order_by(BATCH_ITEMS.c.number)).all()
    if not rows:
        raise Conflict(f"no item of batch {batch_id} failed or was cancelled; only such can run again")
    able = [row.number for row in rows if row.retries < RETRIES_MAX]
    if not able:
        raise Conflict(f"every item of batch {batch_id} that failed or was cancelled has run again {RETRIES_MAX} times, which is the limit")
    return able


def _tell_own(connection: Connection, batch: Row[Any], numbers: list[int]) -> None:
    """What was its own stood in the job of an item alone, before jobs were made late: it is written where the next job looks."""
    shared = batch_from_row(batch).inputs
    old = select_ran().where(BATCH_ITEMS.c.batch == batch.id, BATCH_ITEMS.c.inputs.is_(None))
    for begin in range(0, len(numbers), STEP):
        for row in connection.execute(old.where(BATCH_ITEMS.c.number.in_(numbers[begin : begin + STEP]))).all():
            job = ran_from_row(row).job
            if job is None:
                continue
            own: dict[str, Input] = {port: given for port, given in job.inputs.items() if shared.get(port) != given}
            values = {"inputs": {port: asdict(given) for port, given in own.items()}, "parameters": job.parameters}
            here = (BATCH_ITEMS.c.batch == batch.id, BATCH_ITEMS.c.number == row.number)
            connection.execute(update(BATCH_ITEMS).where(*here).values(values))
