"""Item tables: where the results of a batch lie, read from the rows without their documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, cast, func, select, update

from fumehood.batch import Batch
from fumehood.batch_rows import STATE_OF_ITEM
from fumehood.batch_store import find_batch, read_batch
from fumehood.errors import NotFinished
from fumehood.holdings import check_stored
from fumehood.job import Job, State
from fumehood.records import Records
from fumehood.schema import BATCH_ITEMS, BATCHES, JOBS


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemTable:
    """The result of an item that succeeded."""

    number: int
    name: str
    job: str
    """Whose output it is, or lies in."""
    blob: str
    bytes: int
    offset: int | None
    """Where it begins in its blob; None where it is the whole blob."""
    gone_at: float | None
    """When it expired."""


class ItemTables(Records):
    """The part of `JobStore` that finds results, and counts what is made of all of them."""

    def keep_joined(self, tenant: str, batch: Batch, *, size_bytes: int) -> None:
        """The joined table of a batch that has ended is the tenant's to hold, from now on and until an item runs again or results expire.

        Raises:
            NotFound: the batch.
            NotFinished: items of it run again.
            QuotaExceeded: it would be too many bytes.
        """
        with self._database.writing() as connection:
            quota = self._admit(connection, tenant)
            row = find_batch(connection, tenant, batch.id, lock=True)
            if read_batch(connection, tenant, batch.id).finished_at != batch.finished_at:
                raise NotFinished("items of the batch run again; expected a batch that has ended")
            held = {"stored_bytes": BATCHES.c.stored_bytes - BATCHES.c.joined_bytes + size_bytes, "joined_bytes": size_bytes}
            connection.execute(update(BATCHES).where(BATCHES.c.seq == row.seq).values(held))
            check_stored(connection, tenant, quota, stored=size_bytes - row.joined_bytes, now=self._clock())

    def tables_of_items(self, tenant: str, batch_id: str) -> list[ItemTable]:
        """By number; those of items that succeeded, and left a table. None of a batch that is not this tenant's."""
        of_tenant = select(BATCHES.c.id).where(BATCHES.c.id == batch_id, BATCHES.c.tenant == tenant).scalar_subquery()
        window = BATCH_ITEMS.c.ending["result"]
        size = func.coalesce(_bytes(window["bytes"]), _bytes(JOBS.c.outcome["outputs"]["result"])).label("bytes")
        job = (JOBS.c.id, JOBS.c.fence, JOBS.c.results_gone_at, JOBS.c.item)
        query = (
            select(BATCH_ITEMS.c.number, BATCH_ITEMS.c.name, _bytes(window["offset"]).label("offset"), size, *job)
            .select_from(BATCH_ITEMS.join(JOBS, JOBS.c.id == BATCH_ITEMS.c.job))
            .where(BATCH_ITEMS.c.batch == of_tenant, STATE_OF_ITEM.in_([State.SUCCEEDED.value]))
            .order_by(BATCH_ITEMS.c.number)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [
            ItemTable(
                number=row.number,
                name=row.name,
                job=row.id,
                blob=Job(id=row.id, tenant=tenant, batch=batch_id, fence=row.fence).output_blob("result"),
                bytes=row.bytes,
                offset=row.offset,
                gone_at=row.results_gone_at,
            )
            for row in rows
            # Of a chunk's item without a window there is no table, whatever lies in the chunk's file.
            if row.bytes is not None and (row.item is not None or row.offset is not None)
        ]


def _bytes(value: Any) -> ColumnElement[int]:
    """PostgreSQL's integers end at 2 GiB, and results do not."""
    return cast(value.as_string(), BigInteger)
