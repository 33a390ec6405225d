"""JobStore: the lifecycle verbs, each one transaction. The row is the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, insert, select
from sqlalchemy.exc import IntegrityError

from fumehood import fair_share
from fumehood.batch_retries import Retries
from fumehood.batch_store import end_items
from fumehood.cache import Cached, with_result_of
from fumehood.calling_off import called_off
from fumehood.database import BUSY_SECONDS
from fumehood.delivery_store import Deliveries
from fumehood.errors import BadRequest, Conflict, IdempotencyReuse, LeaseLost
from fumehood.expiry_store import Expiries
from fumehood.holdings import Holdings, check_job
from fumehood.item_ends import ItemEnds
from fumehood.item_tables import ItemTables
from fumehood.job import QUEUE_COUNTED, SHOWN, TRANSITIONS, Job, Kind, Lane, State
from fumehood.migrations import upgrade
from fumehood.moves import accept, change, claim_next, count_ahead, end, find, found, leased, move
from fumehood.needs import check_needs, needs_of
from fumehood.outbox import forget_told, tell_of_job
from fumehood.outcome import Erasure, Outcome, Reason
from fumehood.pages import read_page
from fumehood.prepared_store import Prepared, taken
from fumehood.queues import Queues
from fumehood.quota import Defaults
from fumehood.records import SEEN_SECONDS, slots_of
from fumehood.rows import erasure_to_row, job_from_row, job_to_row, never_ran
from fumehood.schema import IDEMPOTENCY, JOB_LABELS, JOB_NEEDS, JOBS
from fumehood.script_calls import Calls, check_call
from fumehood.tenant_erasure import TenantErasures
from fumehood.usage import count_ended
from fumehood.usage_store import Usages
from fumehood.webhook_secrets import WebhookSecrets

# Old idempotency keys are forgotten by the submits that follow, a few each, so that no transaction is long.
_FORGOTTEN_PER_SUBMIT = 20


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key and the SHA-256 (hex) of the request it stands for."""

    key: str
    request_sha256: str


@dataclass(frozen=True, slots=True)
class Submitted:
    job: Job
    replayed: bool
    """True where the idempotency key was known: `job` is then the first one, and nothing was stored."""


@dataclass(frozen=True, slots=True)
class Lease:
    cancel_requested: bool


class JobStore(
    Usages, Cached, Queues, Holdings, TenantErasures, Retries, ItemEnds, ItemTables, Calls, Prepared, Expiries, Deliveries, WebhookSecrets
):
    """SQLAlchemy 2 (Core) over SQLite (WAL, synchronous=FULL, BEGIN IMMEDIATE, busy_timeout) or PostgreSQL.

    Safe to share between threads. Every call raises `StoreUnavailable` when the database does not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        idempotency_hours: float = 24.0,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
        defaults: Defaults | None = None,
    ) -> None:
        super().__init__(url, busy_seconds=busy_seconds, clock=clock, defaults=defaults)
        self._idempotency_seconds = idempotency_hours * 3600

    def migrate(self) -> None:
        """Bring the schema to the newest revision; safe when several processes start at once.

        Raises Misconfigured where it is of a newer version than this one.
        """
        with self.migrating() as connection:
            upgrade(connection)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction on the schema itself, for `fumehood.migrations`."""
        self._database.prepare()
        with self._database.migrating() as connection:
            yield connection

    def close(self) -> None:
        self._database.close()

    def ping(self) -> None:
        """Raises StoreUnavailable where the schema cannot be read."""
        with self._database.reading() as connection:
            connection.execute(select(JOBS.c.seq).limit(1))

    # the front desk --------------------------------------------------------------------------------------------------
    def submit(self, job: Job, *, idempotency: Idempotency | None = None) -> Submitted:
        """Insert a queued job, or a final one of `submit_cached`, and the key, in one transaction. `created_at` is the store's where 0.

        Raises:
            IdempotencyReuse: the key stands for another request.
            BadRequest: an input dataset or job output was deleted meanwhile.
            QuotaExceeded: the tenant has too much waiting, stored, or used today.
            NotFound, TooManyCalls: as `check_call` does, of a call.
        """
        if job.state is not State.QUEUED and job.cached_from is None:
            raise ValueError(f"the job is {job.state}; expected a queued one")
        values = job_to_row(job) | {"created_at": job.created_at or self._clock()}
        try:
            with self._database.writing() as connection:
                if idempotency is not None:
                    first = self._remember(connection, job, idempotency)
                    if first is not None:
                        return Submitted(self._with_position(connection, first), replayed=True)
                quota = self._admit(connection, job.tenant)
                check_call(connection, job)
                check_needs(connection, job)
                row = connection.execute(accept(), values).one()
                labels = [{"tenant": job.tenant, "key": key, "value": value, "job_seq": row.seq} for key, value in job.labels.items()]
                if labels:
                    connection.execute(insert(JOB_LABELS), labels)
                if job.state.final:
                    count_ended(connection, job)
                    tell_of_job(connection, job_from_row(row), now=values["created_at"])
                else:
                    fair_share.joined(connection, job.tenant, job.kind.lane.value)
                    if needs := needs_of(job):
                        connection.execute(insert(JOB_NEEDS), needs)
                check_job(connection, job, quota, now=self._clock())
                self._note_job(connection, row)
                return Submitted(self._with_position(connection, row), replayed=False)
        except IntegrityError as error:
            # A foreign key of job_needs: deleted between our look and our insert (which SQLite's write lock excludes).
            raise BadRequest("an input of the job was deleted meanwhile") from error

    def submit_cached(self, job: Job, earlier: Job, *, idempotency: Idempotency | None = None) -> Submitted:
        """As `submit`, of a job that has the result of `earlier` and is final at once. Its outputs lie under its own keys already."""
        return self.submit(with_result_of(job, earlier, now=self._clock()), idempotency=idempotency)

    def find_idempotent(self, tenant: str, idempotency: Idempotency) -> Job | None:
        """The job that this key made, if it is remembered. Raises IdempotencyReuse as `submit` does."""
        remembered = select(IDEMPOTENCY).where(
            IDEMPOTENCY.c.tenant == tenant, IDEMPOTENCY.c.key == idempotency.key, IDEMPOTENCY.c.created_at > self._oldest_key_at()
        )
        with self._database.reading() as connection:
            known = connection.execute(remembered).one_or_none()
            if known is None:
                return None
            _check_same_request(known, idempotency)
            row = find(connection, tenant, known.job_id)
            return self._with_position(connection, row) if row else None

    def get_job(self, tenant: str, job_id: str) -> Job:
        """With `queue_position` while queued. Errands are found too (the API asks for its own). Raises NotFound."""
        with self._database.reading() as connection:
            return self._with_position(connection, found(find(connection, tenant, job_id), job_id))

    def list_jobs(
        self, tenant: str, *, state: str | None = None, labels: Sequence[tuple[str, str]] = (), before: str | None = None, limit: int = 50
    ) -> tuple[list[Job], str | None]:
        """Newest first, scripts only, those with all of `labels`; the second value is the cursor (opaque) of the next page.

        A page may be shorter than `limit` and have a next one (its documents are long). Raises BadRequest on a bad cursor.
        """
        query, seq = select(JOBS).where(JOBS.c.kind.in_(SHOWN)), JOBS.c.seq  # a chunk is shown by its items
        run = [(JOBS.c.tenant, tenant), (JOBS.c.lane, Lane.JOBS.value), *([(JOBS.c.state, state)] if state is not None else [])]
        for key, value in labels:
            stuck = JOB_LABELS.alias()
            facts = [(stuck.c.tenant, tenant), (stuck.c.key, key), (stuck.c.value, value)]
            if seq is JOBS.c.seq:
                # The page walks along the jobs of the first label instead, and asks for everything else job by job.
                query = query.join(stuck, stuck.c.job_seq == JOBS.c.seq).where(*([JOBS.c.state == state] if state is not None else []))
                run, seq = facts, stuck.c.job_seq
            else:
                query = query.where(exists().where(stuck.c.job_seq == JOBS.c.seq, *(column == wanted for column, wanted in facts)))
        documents: list[ColumnElement[Any]] = [JOBS.c.inputs, JOBS.c.parameters, JOBS.c.outcome]
        with self._database.reading() as connection:
            rows, cursor = read_page(connection, query, run=run, seq=seq, before=before, limit=limit, documents=documents)
        return [job_from_row(row) for row in rows], cursor

    def request_cancel(self, tenant: str, job_id: str) -> Job:
        """A queued job ends as cancelled at once (nothing of it exists: its receipt names no container, or is the one of
        the attempt that was handed back); a running one is marked. Asking twice is fine. Raises NotFound; Conflict where
        the job is final."""
        with self._database.writing() as connection:
            row = found(find(connection, tenant, job_id, lock=True), job_id)
            self._note_job(connection, row)
            state = State(row.state)
            if state.final:
                raise Conflict(f"job {job_id} is {state}; only a job that has not ended can be cancelled")
            if state is State.RUNNING:
                return job_from_row(change(connection, row, {"cancel_requested": True}))
            now = self._clock()
            outcome = Outcome(reason=Reason.CANCELLED, message="Cancelled before it ran.")
            return end(connection, change(connection, row, {"cancel_requested": True}), outcome, row.erasure or never_ran(now=now), now=now)

    def delete_job(self, tenant: str, job_id: str) -> Job:
        """Forget a final job, and the idempotency key that made it.

        Raises NotFound; Conflict while it is not final, or while a job that is not final reads its output.
        """
        try:
            with self._database.writing() as connection:
                # Key before job, in the order of `submit`: two that lock in different orders may wait for each other.
                connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.job_id == job_id, IDEMPOTENCY.c.tenant == tenant))
                row = found(find(connection, tenant, job_id, lock=True), job_id)
                if not State(row.state).final:
                    raise Conflict(f"job {job_id} is {row.state}; only a job that has ended can be deleted")
                connection.execute(delete(JOBS).where(JOBS.c.seq == row.seq))
                self._note_job(connection, row)
                forget_told(connection, tenant, job_id)
                return job_from_row(row)
        except IntegrityError as error:  # the foreign key of job_needs
            raise Conflict(f"an output of job {job_id} is read by a job that has not ended; cancel that job or wait for its end") from error

    # the workshop ----------------------------------------------------------------------------------------------------
    def claim(
        self, *, worker: str, lane: Lane, disk_budget_bytes: int, sandbox: str | None = None, scratch: str | None = None
    ) -> Job | None:
        """The next job of `lane`: queued → running, attempt + 1, fence + 1, beat 0, in one statement; first come first served.

        `disk_budget_bytes` is the free space that running jobs may fill, all of them together. None where there is nothing
        eligible, or where the next job's `reserved_bytes` exceed what the running ones leave of it: a large job is
        waited for, not overtaken for ever. `sandbox` and `scratch` name what the slot holds ready for whatever job comes; where
        nothing is ready, `name_sandbox` does so later.
        """
        assert State.RUNNING in TRANSITIONS[State.QUEUED]
        made = {"new_worker": worker, "new_sandbox": sandbox, "new_scratch": scratch, "now": self._clock()}
        with self._database.claiming() as connection:
            row = claim_next(connection, lane.value, budget_bytes=disk_budget_bytes, bounds=self._bounds(), made=made)
        return job_from_row(row) if row else None

    def name_sandbox(self, job: Job, *, sandbox: str, scratch: str) -> Job:
        """Record what this attempt is about to create; beat + 1, so that a reaper that saw the row before, and looked for
        nothing, cannot end the attempt any more. Raises LeaseLost."""
        with self._database.writing() as connection:
            held = leased(connection, job)
            taken(connection, sandbox)
            return job_from_row(change(connection, held, {"sandbox": sandbox, "scratch": scratch, "beat": held.beat + 1}))

    def renew(self, job: Job) -> Lease:
        """beat + 1. Raises LeaseLost where `job.fence` is not the row's any more, or the job is final."""
        with self._database.writing() as connection:
            held = leased(connection, job)
            row = change(connection, held, {"beat": held.beat + 1})
            batch = called_off(connection, row.batch)
            return Lease(cancel_requested=row.cancel_requested or (batch is not None and batch.cancel_requested))

    def finish(self, job: Job, outcome: Outcome, erasure: Erasure) -> Job:
        """running → final, in one atomic step. Raises LeaseLost.

        An outcome that is there stands, even where a cancel was asked for meanwhile. Raises ValueError for another attempt's receipt.
        """
        with self._database.writing() as connection:
            row = leased(connection, job)
            if job.kind is Kind.CHUNK:
                outcome = end_items(connection, job, outcome)
            return end(connection, row, outcome, _receipt_of(job, erasure), now=self._clock())

    def give_back(self, job: Job, erasure: Erasure, outcome: Outcome, *, beat: int | None = None, count_attempt: bool = True) -> Job:
        """End an attempt that was nobody's fault but the service's: running → queued (at the front of its lane, fence + 1),
        or final with `outcome` when `attempts_max` is reached, or cancelled when a cancel was requested.

        `beat`: only if the row's beat still is this one (the reaper's compare-and-set). `count_attempt=False` (a worker that
        shuts down in order) gives the attempt back too. Raises LeaseLost.
        """
        if outcome.reason is Reason.OK:
            raise ValueError("an attempt that succeeded is finished, not given back")
        with self._database.writing() as connection:
            row = leased(connection, job)
            if beat is not None and row.beat != beat:
                raise LeaseLost(f"job {job.id} was renewed meanwhile: its beat is {row.beat}, expected {beat}")
            if row.cancel_requested or called_off(connection, row.batch) is not None:
                cancelled = replace(outcome, reason=Reason.CANCELLED, message="Cancelled.", error=None)
                return end(connection, row, cancelled, _receipt_of(job, erasure), now=self._clock())
            if count_attempt and row.attempt >= row.attempts_max:
                return end(connection, row, outcome, _receipt_of(job, erasure), now=self._clock())
            values = {
                "attempt": row.attempt if count_attempt else row.attempt - 1,
                "fence": row.fence + 1,
                "worker": None,
                "sandbox": None,
                "scratch": None,
                "started_at": None,
                "erasure": _receipt_of(job, erasure),
            }
            return job_from_row(move(connection, row, State.QUEUED, values, now=self._clock()))

    # -----------------------------------------------------------------------------------------------------------------
    def _remember(self, connection: Connection, job: Job, idempotency: Idempotency) -> Row[Any] | None:
        """Take the key for `job`. The row of the first job where the key was taken before."""
        old = IDEMPOTENCY.c.created_at <= self._oldest_key_at()
        connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.tenant == job.tenant, IDEMPOTENCY.c.key == idempotency.key, old))
        values = asdict(idempotency) | {"tenant": job.tenant, "job_id": job.id, "created_at": self._clock()}
        known = self._database.insert_or_get(connection, IDEMPOTENCY, values, unique=("tenant", "key"))
        _check_same_request(known, idempotency)
        if known.job_id != job.id:
            return find(connection, job.tenant, known.job_id)
        # Last, and past what others have locked: whoever holds a lock and waits for the next may be waited for in turn.
        some = select(IDEMPOTENCY.c.tenant, IDEMPOTENCY.c.key).where(old).limit(_FORGOTTEN_PER_SUBMIT).with_for_update(skip_locked=True)
        for tenant, key in connection.execute(some).all():
            connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.tenant == tenant, IDEMPOTENCY.c.key == key))
        return None

    def _oldest_key_at(self) -> float:
        return self._clock() - self._idempotency_seconds

    def _with_position(self, connection: Connection, row: Row[Any]) -> Job:
        if row.state != State.QUEUED.value:
            return job_from_row(row)
        ahead = count_ahead(connection, row, at_most=QUEUE_COUNTED)
        slots = slots_of(connection, row.lane, seen_after=self._clock() - SEEN_SECONDS)
        seconds = fair_share.seconds_until(connection, row.tenant, row.lane, ahead=ahead, slots=slots)
        starts_at = None if seconds is None else self._clock() + seconds
        return replace(job_from_row(row), queue_position=ahead, estimated_start_at=starts_at)


def _check_same_request(known: Row[Any], idempotency: Idempotency) -> None:
    if known.request_sha256 != idempotency.request_sha256:
        raise IdempotencyReuse("the idempotency key was used with another request; use a new key for a new request")


def _receipt_of(job: Job, erasure: Erasure) -> dict[str, Any]:
    """Raises ValueError where it is the receipt of another attempt."""
    if (erasure.job, erasure.fence) != (job.id, job.fence):
        raise ValueError(f"the receipt is of {erasure.job}, fence {erasure.fence}; expected one of {job.id}, fence {job.fence}")
    return erasure_to_row(erasure)
