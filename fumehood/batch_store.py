"""Batches in the job store: stored whole in one transaction, counted from their rows, ended by the jobs that run them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, String, Update, bindparam, cast, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from fumehood import fair_share
from fumehood.batch import Batch, Isolation, Item, Ran, Terms, chunks_of
from fumehood.batch_rows import STATE_OF_ITEM, batch_from_row, batch_to_row, item_from_row, item_to_row, ran_from_row, select_ran
from fumehood.blob_bytes import bytes_of_batch
from fumehood.calling_off import STEP, call_off, settle
from fumehood.columns import clean_text
from fumehood.database import inserting
from fumehood.errors import BadField, BadRequest, Conflict, IdempotencyReuse, NotFound
from fumehood.expiry import first_look_at
from fumehood.holdings import check_batch
from fumehood.job import Job, Kind, Lane, State
from fumehood.needs import NEEDED, needs_of, owned, use_datasets
from fumehood.outbox import forget_told, tell_of_batch_later
from fumehood.outcome import Outcome, Reason
from fumehood.pages import PAGE_BYTES, PAGE_ROWS, read_cursor, read_page, write_cursor
from fumehood.records import Records
from fumehood.rows import job_from_row, job_to_row
from fumehood.schema import BATCH_ITEMS, BATCH_NEEDS, BATCHES, IDEMPOTENCY, JOB_NEEDS, JOBS
from fumehood.unfolding import batch_needs, is_unfolding, unfold

_UNFINISHED = (State.QUEUED.value, State.RUNNING.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """What the job of a chunk runs."""

    wall_seconds: float
    """Of each item."""
    items: list[Item]


class Batches(Records):
    """The part of `JobStore` that knows which jobs belong together."""

    def submit_batch(
        self, batch: Batch, items: Sequence[Item], terms: Terms, *, key: str | None = None, request_sha256: str = ""
    ) -> tuple[Batch, bool]:
        """Insert a batch with its items and the first jobs that run them, in one transaction. The flag is True where the idempotency
        key was known: the batch is then the first one, and nothing was stored.

        Raises:
            IdempotencyReuse: the key stands for another request.
            BadRequest, QuotaExceeded: as `submit` does.
        """
        now = batch.created_at or self._clock()
        try:
            with self._database.writing() as connection:
                if key is not None and (first := self._take_key(connection, batch, key, request_sha256)) is not None:
                    return first, True
                quota = self._admit(connection, batch.tenant)
                self._note(connection, batch.id)
                # All of one place: they are claimed in their order, and before what is accepted later.
                place = connection.execute(select(fair_share.next_place())).scalar_one()
                own = {"created_at": now, "expires_at": first_look_at(batch, now), "attempts_max": terms.attempts_max, "place": place}
                own["stored_bytes"] = stored = bytes_of_batch(batch, items)
                connection.execute(insert(BATCHES), batch_to_row(batch) | own)
                if batch.isolation is Isolation.ITEM:
                    _insert_items(connection, [item_to_row(batch, item, None) for item in items])
                    queue_items(connection, batch, items, now=now)
                    jobs = len(items)
                else:
                    chunks = queue_chunks(connection, batch, items, terms, place=place, now=now)
                    _insert_items(connection, [item_to_row(batch, item, job.id) for job, some in chunks for item in some])
                    jobs = len(chunks)
                check_batch(connection, batch, quota, jobs=jobs, stored=stored, now=now)
                tell_of_batch_later(connection, batch, now=now)
                return read_batch(connection, batch.tenant, batch.id), False
        except IntegrityError as error:  # As in `submit`: a foreign key of job_needs.
            raise BadRequest("an input of the batch was deleted meanwhile") from error

    def find_idempotent_batch(self, tenant: str, key: str, request_sha256: str) -> Batch | None:
        """The batch that this key made, if it is remembered. Raises IdempotencyReuse."""
        with self._database.reading() as connection:
            kept = IDEMPOTENCY.c.created_at > self._oldest_key_at()
            known = connection.execute(
                select(IDEMPOTENCY).where(IDEMPOTENCY.c.tenant == tenant, IDEMPOTENCY.c.key == key, kept)
            ).one_or_none()
            return None if known is None else _first(connection, known, request_sha256)

    def get_batch(self, tenant: str, batch_id: str) -> Batch:
        """With its counts. Raises NotFound."""
        with self._database.reading() as connection:
            return read_batch(connection, tenant, batch_id)

    def list_batches(self, tenant: str, *, before: str | None = None, limit: int = 50) -> tuple[list[Batch], str | None]:
        """Newest first, without counts; the second value is the cursor (opaque) of the next page. Raises BadRequest on a bad cursor."""
        documents: list[ColumnElement[Any]] = [BATCHES.c.inputs, BATCHES.c.parameters]
        with self._database.reading() as connection:
            run, there = [(BATCHES.c.tenant, tenant)], select(BATCHES).where(BATCHES.c.gone_at.is_(None))
            rows, cursor = read_page(
                connection,
                there,
                run=run,
                seq=BATCHES.c.seq,
                before=before,
                limit=limit,
                documents=documents,
            )
        return [batch_from_row(row) for row in rows], cursor

    def list_items(
        self, tenant: str, batch_id: str, *, state: str | None = None, after: str | None = None, limit: int = 50
    ) -> tuple[list[Ran], str | None]:
        """By number, those in `state` alone where it is given; the second value is the cursor (opaque) of the next page, which may be
        short as any page may. Raises NotFound; BadRequest on a bad cursor."""
        limit = max(1, min(limit, PAGE_ROWS))
        length = func.coalesce(func.length(cast(JOBS.c.outcome, String)), 0) + func.coalesce(
            func.length(cast(BATCH_ITEMS.c.ending, String)), 0
        )
        query = select_ran().add_columns(length.label("document_bytes")).where(BATCH_ITEMS.c.batch == batch_id)
        if after is not None:
            query = query.where(BATCH_ITEMS.c.number > read_cursor(after))
        if state is not None:
            query = query.where(STATE_OF_ITEM.in_([state]))
        page: list[Ran] = []
        size = 0
        with self._database.reading() as connection:
            find_batch(connection, tenant, batch_id)
            rows = connection.execution_options(yield_per=50).execute(query.order_by(BATCH_ITEMS.c.number).limit(limit + 1))
            for row in rows:
                size += row.document_bytes
                if len(page) == limit or (page and size > PAGE_BYTES):
                    rows.close()
                    return page, write_cursor(page[-1].item.number)
                page.append(ran_from_row(row))
        return page, None

    def get_item(self, tenant: str, batch_id: str, number: int) -> Ran:
        """Raises NotFound."""
        with self._database.reading() as connection:
            find_batch(connection, tenant, batch_id)
            one = select_ran().where(BATCH_ITEMS.c.batch == batch_id, BATCH_ITEMS.c.number == number)
            row = connection.execute(one).one_or_none()
        if row is None:
            raise NotFound(f"the batch has no item {number}")
        return ran_from_row(row)

    def unfinished_job(self, tenant: str, batch_id: str) -> Job | None:
        """The job of a batch that is likely to end last; None where all have ended."""
        left = _unfinished(batch_id).where(JOBS.c.tenant == tenant)
        with self._database.reading() as connection:
            row = connection.execute(left.order_by(JOBS.c.seq.desc()).limit(1)).one_or_none()
        return job_from_row(row) if row else None

    def cancel_batch(self, tenant: str, batch_id: str) -> tuple[Batch, list[str]]:
        """What is queued ends as cancelled at once, what runs is marked. Asking twice is fine. Returns the jobs that ended, too.

        Raises NotFound; Conflict where all of it has ended.
        """
        now = self._clock()
        with self._database.writing() as connection:
            batch = find_batch(connection, tenant, batch_id, lock=True)
            self._note(connection, batch_id)
            if connection.execute(_unfinished(batch_id).limit(1)).first() is None:
                raise Conflict(f"batch {batch_id} has ended; only one that has not can be cancelled")
            off = call_off(connection, batch, "Cancelled before it ran.", now=now)
            use_datasets(connection, off.datasets, now=now)
            settle(connection, off, now=now)
            # Those that are locked just now hear of it from the batch.
            running = select(JOBS.c.seq).where(JOBS.c.batch == batch_id, JOBS.c.state == State.RUNNING.value)
            some = connection.execute(running.order_by(JOBS.c.seq).with_for_update(skip_locked=True)).scalars().all()
            if some:
                connection.execute(_mark_cancelled(), [{"of_seq": seq} for seq in some])
            connection.execute(update(BATCHES).where(BATCHES.c.seq == batch.seq).values(cancel_requested=True))
            return read_batch(connection, tenant, batch_id), off.jobs

    def delete_batch(self, tenant: str, batch_id: str) -> Batch:
        """Forget a batch that has ended with all its items and jobs, and the idempotency key that made it.

        Raises NotFound; Conflict while one of its jobs is not final, or while a job that is not final reads an output of it.
        """
        try:
            with self._database.writing() as connection:
                connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.job_id == batch_id, IDEMPOTENCY.c.tenant == tenant))
                find_batch(connection, tenant, batch_id, lock=True)
                batch = read_batch(connection, tenant, batch_id)
                if not batch.final:
                    raise Conflict(f"batch {batch_id} has not ended; cancel it or wait for its end")
                connection.execute(delete(BATCH_ITEMS).where(BATCH_ITEMS.c.batch == batch_id))
                connection.execute(delete(JOBS).where(JOBS.c.batch == batch_id))
                connection.execute(delete(BATCHES).where(BATCHES.c.id == batch_id))
                self._note(connection, batch_id)
                forget_told(connection, tenant, batch_id)
                return batch
        except IntegrityError as error:  # the foreign key of job_needs
            raise Conflict(f"an output of batch {batch_id} is read by a job that has not ended; cancel that job or wait") from error

    def chunk_of(self, job: Job) -> Chunk:
        """The items that the job of a chunk runs, by number. Raises NotFound: the batch is gone."""
        with self._database.reading() as connection:
            limits = connection.execute(select(BATCHES.c.limits).where(BATCHES.c.id == job.batch)).scalar_one_or_none()
            rows = connection.execute(select(BATCH_ITEMS).where(BATCH_ITEMS.c.job == job.id).order_by(BATCH_ITEMS.c.number)).all()
        if limits is None or not rows:
            raise NotFound(f"job {job.id} belongs to a batch that is gone")
        return Chunk(wall_seconds=limits["wall_seconds"], items=[item_from_row(row) for row in rows])

    def _take_key(self, connection: Connection, batch: Batch, key: str, request_sha256: str) -> Batch | None:
        """Take the idempotency key for `batch`. The first batch where it was taken before."""
        here = (IDEMPOTENCY.c.tenant == batch.tenant, IDEMPOTENCY.c.key == key)
        connection.execute(delete(IDEMPOTENCY).where(*here, IDEMPOTENCY.c.created_at <= self._oldest_key_at()))
        values = {"tenant": batch.tenant, "key": key, "request_sha256": request_sha256, "job_id": batch.id, "created_at": self._clock()}
        known = self._database.insert_or_get(connection, IDEMPOTENCY, values, unique=("tenant", "key"))
        return None if known.job_id == batch.id else _first(connection, known, request_sha256)

    def _oldest_key_at(self) -> float:
        raise NotImplementedError


def end_items(connection: Connection, job: Job, outcome: Outcome) -> Outcome:
    """Give every item of a chunk the ending that the chunk's report has for it; the outcome without them, for the chunk's own row."""
    said = outcome.report.get("items")
    if not said:
        return outcome  # They end as the chunk does.
    one = update(BATCH_ITEMS).where(
        BATCH_ITEMS.c.batch == job.batch, BATCH_ITEMS.c.job == job.id, BATCH_ITEMS.c.number == bindparam("of_number")
    )
    states = {True: State.SUCCEEDED.value, False: State.FAILED.value}
    connection.execute(
        one.values(state=bindparam("new_state"), ending=bindparam("new_ending", type_=BATCH_ITEMS.c.ending.type)),
        [
            {"of_number": ending["number"], "new_state": states[ending["reason"] == Reason.OK.value], "new_ending": ending}
            for ending in said
        ],
    )
    return replace(outcome, report={name: value for name, value in outcome.report.items() if name != "items"})


def queue_items(connection: Connection, batch: Batch, items: Sequence[Item], *, now: float) -> None:
    """Items that have no job wait from now on, and get jobs of their own as the queue comes to them. Raises BadRequest where an input
    is not this tenant's."""
    needs = batch_needs(batch, items)
    _check_there(connection, batch.tenant, needs)
    if needs:
        # Those of what all read may be there already.
        connection.execute(inserting(connection, BATCH_NEEDS).on_conflict_do_nothing(), needs)
    connection.execute(update(BATCHES).where(BATCHES.c.id == batch.id).values(unmade=BATCHES.c.unmade + len(items)))
    if not is_unfolding(connection, batch.id):
        unfold(connection, batch.id, now=now)
    fair_share.joined(connection, batch.tenant, Lane.JOBS.value, jobs=len(items))


def queue_chunks(
    connection: Connection, batch: Batch, items: Sequence[Item], terms: Terms, *, place: int, now: float
) -> list[tuple[Job, Sequence[Item]]]:
    """Chunks for these items wait from now on; the items are yet to be told. Raises BadRequest as `queue_items` does."""
    chunks = chunks_of(batch, items, terms)
    needs = [need for job, some in chunks for need in _needs(job, some)]
    _check_there(connection, batch.tenant, needs)
    connection.execute(insert(JOBS), [job_to_row(job) | {"created_at": now, "place": place} for job, _ in chunks])
    if needs:
        connection.execute(insert(JOB_NEEDS), needs)
    fair_share.joined(connection, batch.tenant, Lane.JOBS.value, jobs=len(chunks))
    return chunks


def _insert_items(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(insert(BATCH_ITEMS), rows)
        return
    # One document, which PostgreSQL takes apart: one by one, ten thousand rows take it a second.
    written = json.dumps([row | {"name": clean_text(row["name"])} for row in rows])
    connection.execute(_ROWS_OF_DOCUMENT, {"written": written})


_ROWS_OF_DOCUMENT = text(
    """
    INSERT INTO batch_items (batch, number, name, job, inputs, parameters)
    SELECT batch, number, name, job, inputs, parameters FROM json_to_recordset(CAST(:written AS json))
    AS rows (batch varchar, number integer, name varchar, job varchar, inputs json, parameters json)
    """
)


# rows --------------------------------------------------------------------------------------------------------------------


def _unfinished(batch_id: str) -> Select[Any]:
    # As long as an item has no job, one that has waits.
    return select(JOBS).where(JOBS.c.batch == batch_id, JOBS.c.state.in_(_UNFINISHED))


def _mark_cancelled() -> Update:
    return update(JOBS).where(JOBS.c.seq == bindparam("of_seq")).values(cancel_requested=True)


def find_batch(connection: Connection, tenant: str, batch_id: str, *, lock: bool = False) -> Row[Any]:
    query = select(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.tenant == tenant, BATCHES.c.gone_at.is_(None))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"there is no batch {batch_id!r}")
    return row


def read_batch(connection: Connection, tenant: str, batch_id: str) -> Batch:
    row = find_batch(connection, tenant, batch_id)
    counted = select(STATE_OF_ITEM.label("state"), func.count()).select_from(BATCH_ITEMS)
    counted = counted.outerjoin(JOBS, JOBS.c.id == BATCH_ITEMS.c.job).where(BATCH_ITEMS.c.batch == batch_id)
    counts = {State(state): int(count) for state, count in connection.execute(counted.group_by(text("1"))).all()}
    last = None
    if not any(state in counts for state in (State.QUEUED, State.RUNNING)):
        last = connection.execute(select(func.max(JOBS.c.finished_at)).where(JOBS.c.batch == batch_id)).scalar_one()
    return replace(batch_from_row(row), counts=counts, finished_at=last)


def _first(connection: Connection, known: Row[Any], request_sha256: str) -> Batch | None:
    if known.request_sha256 != request_sha256:
        raise IdempotencyReuse("the idempotency key was used with another request; use a new key for a new request")
    return read_batch(connection, known.tenant, known.job_id)


def _check_there(connection: Connection, tenant: str, needs: list[dict[str, Any]]) -> None:
    """Raises BadRequest where something that any item needs is not this tenant's."""
    for table, column, what in NEEDED:
        wanted = sorted({need[column] for need in needs if need[column] is not None})
        for begin in range(0, len(wanted), STEP):
            some = wanted[begin : begin + STEP]
            there = set(connection.execute(owned(table).where(table.c.id.in_(some)), {"of_tenant": tenant}).scalars())
            if gone := [name for name in some if name not in there]:
                fields = tuple(BadField("/items", f"there is no {what} {name!r}") for name in gone[:50])
                raise BadRequest("an input of the batch is not there", errors=fields)


def _needs(job: Job, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
    yield from needs_of(job)
    if job.kind is Kind.CHUNK:
        for item in items:
            own = replace(job, inputs=item.inputs)
            yield from (need | {"port": f"{item.number}/{need['port']}"} for need in needs_of(own))
