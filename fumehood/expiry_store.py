"""Expiry in the job store: what is due is taken away in steps of a few rows, each a transaction of its own.

A row that is due is itself the note of what is still to be done: it says that its part is gone (the API answers 410 from then on),
then the blobs go, then the row is settled. Whoever dies in between leaves a row that is due again after `AGAIN_SECONDS`. Datasets go
row first, because their foreign key says whether a job needs them; `BlobStore.unsettled` is the note there. What an unfinished job
reads is put off. Several workers at once pass over each other's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, Float, Select, Table, Update, bindparam, delete, exists, select, union, update
from sqlalchemy.exc import IntegrityError

from fumehood.batch_rows import WITHOUT_JOINED
from fumehood.batch_store import read_batch
from fumehood.blob_bytes import bytes_of_job
from fumehood.expiry import Expiry, Part, expiry_of
from fumehood.job import Job
from fumehood.outbox import forget_told
from fumehood.quota import DAY_SECONDS
from fumehood.records import Records
from fumehood.rows import job_from_row
from fumehood.schema import BATCH_ITEMS, BATCH_NEEDS, BATCHES, DATASETS, IDEMPOTENCY, JOB_NEEDS, JOBS, TENANTS, TOMBSTONES

STEP_ROWS = 100
"""So many rows are changed in one transaction: some milliseconds, for which others wait."""
AGAIN_SECONDS = 60.0
PUT_OFF_SECONDS = 600.0
TOMBSTONE_SECONDS = 90 * DAY_SECONDS
"""So long it is known when something expired; after that it is not there, as if it never had been."""

_EXPIRING = (JOBS, DATASETS, BATCHES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """What of a job goes now: the API says so already, its blobs are to be deleted."""

    job: Job
    expiry: Expiry
    parts: frozenset[Part]
    """With `Part.RECORD` all that there is."""


class Expiries(Records):
    """The part of `JobStore` that forgets."""

    def tenants_with_due(self, *, limit: int = 1000) -> list[str]:
        """Those of whom anything is due."""
        due = [exists().where(table.c.tenant == TENANTS.c.id, table.c.expires_at <= self._clock()) for table in _EXPIRING]
        query = union(*(select(TENANTS.c.id).where(each) for each in due)).limit(limit)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def expired_at(self, tenant: str, name: str) -> float | None:
        """When the job, batch or dataset of this id expired; None where it did not, is not this tenant's, or it was long ago."""
        with self._database.reading() as connection:
            found = connection.execute(_tombstone(), {"of_tenant": tenant, "of_id": name, "since": self._clock() - TOMBSTONE_SECONDS})
            return found.scalar_one_or_none()

    def forget_tombstones(self, *, limit: int = STEP_ROWS) -> int:
        """How many were forgotten."""
        old = select(TOMBSTONES.c.tenant, TOMBSTONES.c.id).where(TOMBSTONES.c.gone_at < self._clock() - TOMBSTONE_SECONDS)
        one = delete(TOMBSTONES).where(TOMBSTONES.c.tenant == bindparam("of_tenant"), TOMBSTONES.c.id == bindparam("of_id"))
        with self._database.writing() as connection:
            some = connection.execute(old.order_by(TOMBSTONES.c.gone_at).limit(limit).with_for_update(skip_locked=True)).all()
            if some:
                connection.execute(one, [{"of_tenant": tenant, "of_id": name} for tenant, name in some])
            return len(some)

    # jobs ------------------------------------------------------------------------------------------------------------
    def begin_expiry(self, tenant: str, *, limit: int = STEP_ROWS) -> list[Due]:
        """Mark what is due of a tenant's jobs. What an unfinished job reads is put off."""
        now, dues, marks = self._clock(), [], []
        with self._database.writing() as connection:
            rows = connection.execute(_due(JOBS), {"of_tenant": tenant, "now": now, "at_most": limit}).all()
            needed = _needed(connection, [row.id for row in rows])
            for row in rows:
                job = job_from_row(row)
                expiry = expiry_of(job)
                parts = expiry.due(now) if expiry is not None else frozenset()
                if job.id in needed:
                    parts -= {Part.RESULTS, Part.RECORD}
                log_at = job.log_gone_at or (now if Part.LOG in parts else None)
                results_at = job.results_gone_at or (now if Part.RESULTS in parts else None)
                again = None if expiry is None else now + (AGAIN_SECONDS if parts else PUT_OFF_SECONDS)
                # No more than before: of what was stored when nothing was counted nothing is.
                stored = min(row.stored_bytes, bytes_of_job(replace(job, log_gone_at=log_at, results_gone_at=results_at)))
                marks.append({"of_seq": row.seq, "new_log": log_at, "new_results": results_at, "again": again, "new_stored": stored})
                if expiry is not None and parts:
                    dues.append(Due(job=job, expiry=replace(expiry, log_gone_at=log_at, results_gone_at=results_at), parts=parts))
            # The joined table goes with the first of its results; batches are locked before what their tenant holds.
            for batch in sorted({due.job.batch for due in dues if due.job.batch is not None and Part.RESULTS in due.parts}):
                connection.execute(_forget_joined(), {"of_batch": batch})
            if marks:
                connection.execute(_mark(), marks)
        return dues

    def end_expiry(self, dues: Sequence[Due]) -> None:
        """Settle the rows of what `begin_expiry` gave, now that the blobs are gone."""
        ended = [due.job for due in dues if Part.RECORD in due.parts]
        later = [{"of_id": due.job.id, "again": self._next_at(due)} for due in dues if Part.RECORD not in due.parts]
        names = [job.id for job in ended]
        with self._database.writing() as connection:
            if ended:
                # Keys before jobs, as in `delete_job`.
                connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.job_id.in_(names)))
                # What its tenant deleted meanwhile did not expire.
                gone = delete(JOBS).where(JOBS.c.id.in_(names)).returning(JOBS.c.tenant, JOBS.c.id)
                for job in ended:
                    forget_told(connection, job.tenant, job.id)
                self._bury(connection, [(row.tenant, row.id) for row in connection.execute(gone).all()])
            if later:
                connection.execute(_later(), later)

    def _next_at(self, due: Due) -> float | None:
        at, now = due.expiry.next_at(), self._clock()
        return at if at is None or at > now else now + PUT_OFF_SECONDS  # A part of it is read by an unfinished job.

    # batches ---------------------------------------------------------------------------------------------------------
    def begin_batch_expiry(self, tenant: str, *, limit: int = STEP_ROWS) -> list[str]:
        """The batches of a tenant that are to be taken away; nobody finds them from now on. One that has not ended for long enough, or
        an output of which an unfinished job reads, is looked at again later."""
        now, gone = self._clock(), []
        with self._database.writing() as connection:
            for row in connection.execute(_due(BATCHES), {"of_tenant": tenant, "now": now, "at_most": limit}).all():
                if row.gone_at is None:
                    batch = read_batch(connection, tenant, row.id)
                    at = now + PUT_OFF_SECONDS if batch.expires_at is None or _is_read(connection, row.id) else batch.expires_at
                    if at > now:
                        connection.execute(update(BATCHES).where(BATCHES.c.seq == row.seq).values(expires_at=at))
                        continue
                    connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.job_id == row.id))
                    connection.execute(update(BATCHES).where(BATCHES.c.seq == row.seq).values(gone_at=now))
                    forget_told(connection, tenant, row.id)
                    self._bury(connection, [(tenant, row.id)])
                gone.append(row.id)
        return gone

    def shrink_batch(self, tenant: str, batch_id: str, *, limit: int = STEP_ROWS) -> bool:
        """Delete some items of a batch that is being taken away, then some of its jobs. True where none is left."""
        going = select(BATCHES.c.id).where(BATCHES.c.id == batch_id, BATCHES.c.tenant == tenant, BATCHES.c.gone_at.is_not(None))
        items = select(BATCH_ITEMS.c.number).where(BATCH_ITEMS.c.batch == batch_id).order_by(BATCH_ITEMS.c.number).limit(limit)
        jobs = select(JOBS.c.id).where(JOBS.c.batch == batch_id).limit(limit)
        try:
            with self._database.writing() as connection:
                if connection.execute(going).first() is None:
                    return False
                numbers = connection.execute(items.with_for_update(skip_locked=True)).scalars().all()
                if numbers:
                    connection.execute(delete(BATCH_ITEMS).where(BATCH_ITEMS.c.batch == batch_id, BATCH_ITEMS.c.number.in_(numbers)))
                    return False
                names = connection.execute(jobs.with_for_update(skip_locked=True)).scalars().all()
                self._bury(connection, [(tenant, name) for name in names])
                if names:
                    connection.execute(delete(JOBS).where(JOBS.c.id.in_(names)))
                return not names
        except IntegrityError:  # A job that was submitted at the last moment reads an output of it; until that one has ended.
            self._put_off(BATCHES, batch_id)
            return False

    def end_batch_expiry(self, batch_id: str) -> None:
        """Delete the row, now that nothing else is left. Another worker that is not done yet does it where this one cannot."""
        left = [exists().where(BATCH_ITEMS.c.batch == batch_id), exists().where(JOBS.c.batch == batch_id)]
        with self._database.writing() as connection:
            connection.execute(delete(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.gone_at.is_not(None), *(~one for one in left)))

    # datasets --------------------------------------------------------------------------------------------------------
    def due_datasets(self, tenant: str, *, limit: int = STEP_ROWS) -> list[str]:
        few = {"of_tenant": tenant, "now": self._clock(), "at_most": limit}
        with self._database.reading() as connection:
            return [row.id for row in connection.execute(_due(DATASETS, lock=False), few).all()]

    def expire_dataset(self, tenant: str, dataset_id: str) -> bool:
        """Delete its row; False where it was used, pinned or deleted meanwhile, or is put off because an unfinished job needs it."""
        here = (DATASETS.c.id == dataset_id, DATASETS.c.tenant == tenant, DATASETS.c.expires_at <= self._clock())
        try:
            with self._database.writing() as connection:
                if connection.execute(delete(DATASETS).where(*here)).rowcount == 0:
                    return False
                self._bury(connection, [(tenant, dataset_id)])
                return True
        except IntegrityError:  # the foreign key of job_needs
            self._put_off(DATASETS, dataset_id)
            return False

    def _put_off(self, table: Table, name: str) -> None:
        now = self._clock()
        with self._database.writing() as connection:
            here = (table.c.id == name, table.c.expires_at <= now)
            connection.execute(update(table).where(*here).values(expires_at=now + PUT_OFF_SECONDS))

    def _bury(self, connection: Connection, names: Sequence[tuple[str, str]]) -> None:
        rows = [{"tenant": tenant, "id": name, "gone_at": self._clock()} for tenant, name in names]
        self._database.insert_missing(connection, TOMBSTONES, rows)


def _needed(connection: Connection, jobs: Sequence[str]) -> set[str]:
    """Those of `jobs` whose outputs an unfinished job reads."""
    if not jobs:
        return set()
    read = [select(table.c.source_job).where(table.c.source_job.in_(jobs)) for table in (JOB_NEEDS, BATCH_NEEDS)]
    return set(connection.execute(union(*read)).scalars())


def _is_read(connection: Connection, batch_id: str) -> bool:
    # From the needs, which are few: only unfinished jobs have any.
    needs = [select(JOBS.c.seq).join(table, JOBS.c.id == table.c.source_job) for table in (JOB_NEEDS, BATCH_NEEDS)]
    return any(connection.execute(read.where(JOBS.c.batch == batch_id).limit(1)).first() is not None for read in needs)


@cache
def _due(table: Table, *, lock: bool = True) -> Select[Any]:
    """The rows of `of_tenant` that are due, the oldest first. Whoever is just about to need one of them has it locked."""
    here = (table.c.tenant == bindparam("of_tenant"), table.c.expires_at <= bindparam("now", type_=Float()))
    query = select(table).where(*here).order_by(table.c.expires_at).limit(bindparam("at_most"))
    return query.with_for_update(skip_locked=True) if lock else query


@cache
def _forget_joined() -> Update:
    return update(BATCHES).where(BATCHES.c.id == bindparam("of_batch"), BATCHES.c.joined_bytes > 0).values(WITHOUT_JOINED)


@cache
def _mark() -> Update:
    values: dict[str, Any] = {"log_gone_at": bindparam("new_log"), "results_gone_at": bindparam("new_results")}
    values |= {"expires_at": bindparam("again"), "stored_bytes": bindparam("new_stored")}
    return update(JOBS).where(JOBS.c.seq == bindparam("of_seq")).values(values)


@cache
def _later() -> Update:
    return update(JOBS).where(JOBS.c.id == bindparam("of_id")).values(expires_at=bindparam("again"))


@cache
def _tombstone() -> Select[Any]:
    here = (TOMBSTONES.c.tenant == bindparam("of_tenant"), TOMBSTONES.c.id == bindparam("of_id"))
    return select(TOMBSTONES.c.gone_at).where(*here, TOMBSTONES.c.gone_at >= bindparam("since", type_=Float()))
