"""Moves: one row of the job table, found, locked, and moved from state to state. The steps that the store's verbs are made of.

Statements are built once and given their values when they are executed: building one costs many times what executing it does.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Integer,
    Row,
    ScalarSelect,
    Select,
    Update,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningDelete

from fumehood import fair_share
from fumehood.calling_off import is_called_off, settle, stop_at_failure
from fumehood.errors import Conflict, LeaseLost, NotFound
from fumehood.expiry import expires_at
from fumehood.fair_share import Bounds
from fumehood.job import TRANSITIONS, Job, Lane, State
from fumehood.needs import use_datasets
from fumehood.outbox import tell_of_job
from fumehood.outcome import Outcome, Reason
from fumehood.pages import SEQ_MAX, Run, in_order, within
from fumehood.rows import job_from_row
from fumehood.schema import JOB_NEEDS, JOBS
from fumehood.script_rows import decide_version
from fumehood.unfolding import count_unmade_ahead, lock_batch, unfold
from fumehood.usage import count_ended

# Which final state a reason means; every other reason is a failure.
FINAL_STATE = {reason: State.FAILED for reason in Reason} | {Reason.OK: State.SUCCEEDED, Reason.CANCELLED: State.CANCELLED}


def find(connection: Connection, tenant: str, job_id: str, *, lock: bool = False) -> Row[Any] | None:
    return connection.execute(_find(lock), {"of_id": job_id, "of_tenant": tenant}).one_or_none()


def found(row: Row[Any] | None, job_id: str) -> Row[Any]:
    """Raises NotFound."""
    if row is None:
        raise NotFound(f"there is no job {job_id!r}")
    return row


def leased(connection: Connection, job: Job) -> Row[Any]:
    """The row, locked, as long as `job` is the attempt that counts. Raises LeaseLost."""
    row = find(connection, job.tenant, job.id, lock=True)
    if row is None:
        raise LeaseLost(f"job {job.id} is not there any more")
    if row.state != State.RUNNING.value or row.fence != job.fence:
        raise LeaseLost(f"job {job.id} is {row.state} with fence {row.fence}; expected running with fence {job.fence}")
    return row


@cache
def accept() -> Insert:
    """A job into the queue; its place is behind all that were accepted before."""
    return insert(JOBS).values(place=fair_share.next_place()).returning(*JOBS.c)


def change(connection: Connection, row: Row[Any], values: dict[str, Any]) -> Row[Any]:
    """The row afterwards. `values` are plain ones, by column."""
    given = {f"new_{name}": value for name, value in values.items()}
    return connection.execute(_change(tuple(sorted(values))), {"of_seq": row.seq, **given}).one()


def move(connection: Connection, row: Row[Any], state: State, values: dict[str, Any], *, now: float) -> Row[Any]:
    """The only way from one state to another, besides the claim. Raises Conflict."""
    if state not in TRANSITIONS[State(row.state)]:
        raise Conflict(f"job {row.id} is {row.state} and cannot become {state}")
    after = change(connection, row, values | {"state": state.value})
    # Job before share, everywhere: two that lock in different orders may wait for each other.
    if state is State.QUEUED:
        fair_share.handed_back(connection, row)
    elif row.state == State.RUNNING.value:
        fair_share.ended(connection, row, now=now)
    else:
        if row.unfolds:
            unfold(connection, row.batch, now=now, traceparent=row.traceparent)
        fair_share.left(connection, row.tenant, row.lane)
    return after


def end(connection: Connection, row: Row[Any], outcome: Outcome, erasure: dict[str, Any], *, now: float) -> Job:
    """Into the final state that the outcome's reason means. A job that has ended needs nothing any more."""
    # In one order, as everybody: the batch, datasets, holdings (by the row's trigger), shares, usage.
    if row.unfolds:
        lock_batch(connection, row.batch)
    stopped = stop_at_failure(connection, row, outcome, now=now)
    # Before its needs go: whoever deletes the version has its row, and looks for needs then.
    decide_version(connection, row, outcome, now=now)
    used = set(connection.execute(_need_nothing(), {"of_id": row.id}).scalars())
    use_datasets(connection, used | (stopped.datasets if stopped else set()), now=now)
    values = {"outcome": outcome.as_dict(), "erasure": erasure, "finished_at": now, "expires_at": expires_at(row, now)}
    if outcome.outputs and row.lane == Lane.JOBS.value:
        values["stored_bytes"] = row.stored_bytes + sum(outcome.outputs.values())
    ended = job_from_row(move(connection, row, FINAL_STATE[outcome.reason], values, now=now))
    if stopped:
        settle(connection, stopped, now=now)
    count_ended(connection, ended)
    tell_of_job(connection, ended, now=now)
    return ended


def claim_next(connection: Connection, lane: str, *, budget_bytes: int, bounds: Bounds, made: dict[str, Any]) -> Row[Any] | None:
    """The first job of the tenant whose turn it is becomes running, where what it reserves fits into what the running ones leave of
    the budget. `made` names the worker and what it holds ready."""
    first = _first_of(connection, lane, bounds, lock=True)
    if first is None:
        return None
    candidate, head = first
    given = {"of_seq": head.seq, "budget": budget_bytes, "new_charged": candidate.mean_seconds, **made}
    row = connection.execute(_take(), given).one_or_none()
    if row is not None:
        if head.unfolds:
            unfold(connection, row.batch, now=made["now"], traceparent=row.traceparent)
        fair_share.started(connection, lane, candidate)
    return row


def next_reserves(connection: Connection, lane: str, bounds: Bounds) -> int | None:
    """The bytes that the next job of a lane reserves, where no job runs; None where there is none, or one runs."""
    if connection.execute(select(reserved_by_running())).scalar_one():
        return None
    first = _first_of(connection, lane, bounds, lock=False)
    return int(first[1].reserved_bytes) if first is not None else None


def _first_of(connection: Connection, lane: str, bounds: Bounds, *, lock: bool) -> tuple[fair_share.Candidate, Row[Any]] | None:
    """The tenant whose turn it is, and the first of what it has waiting."""
    for candidate in fair_share.candidates(connection, lane, bounds):
        head = connection.execute(_head(lock), {"of_tenant": candidate.tenant, "of_lane": lane}).one_or_none()
        if head is not None:
            return candidate, head
    return None


def count_ahead(connection: Connection, row: Row[Any], *, at_most: int) -> int:
    """The jobs of the same tenant and lane that are claimed before this one, which waits; not counted further than `at_most`."""
    place = {"of_tenant": row.tenant, "of_lane": row.lane, "of_rank": row.rank, "of_place": row.place, "before_seq": row.seq}
    made = int(connection.execute(_count_ahead(), place | {"at_most": at_most}).scalar_one())
    return min(at_most, made + count_unmade_ahead(connection, row.tenant, row.rank, row.place))


@cache
def reserved_by_running() -> ScalarSelect[Any]:
    """The disk that running jobs may fill, whichever worker runs them: one home is one disk."""
    running = JOBS.alias("running")
    lanes = [lane.value for lane in Lane]
    return (
        select(func.coalesce(func.sum(running.c.reserved_bytes), 0))
        .where(running.c.lane.in_(lanes), running.c.state == State.RUNNING.value)
        .scalar_subquery()
    )


def running_of(lane: str) -> Select[Any]:
    run: Run = [(JOBS.c.lane, lane), (JOBS.c.state, State.RUNNING.value)]
    return select(JOBS).where(within(run, JOBS.c.seq, SEQ_MAX)).order_by(*in_order(run, JOBS.c.seq))


# the statements ----------------------------------------------------------------------------------------------------------
@cache
def _find(lock: bool) -> Select[Any]:
    query = select(JOBS).where(JOBS.c.id == bindparam("of_id"), JOBS.c.tenant == bindparam("of_tenant"))
    return query.with_for_update() if lock else query


@cache
def _change(columns: tuple[str, ...]) -> Update:
    values = {name: bindparam(f"new_{name}", type_=JOBS.c[name].type) for name in columns}
    return update(JOBS).where(JOBS.c.seq == bindparam("of_seq")).values(values).returning(*JOBS.c)


@cache
def _need_nothing() -> ReturningDelete[Any]:
    return delete(JOB_NEEDS).where(JOB_NEEDS.c.job_id == bindparam("of_id")).returning(JOB_NEEDS.c.dataset)


def _queue(*columns: ColumnElement[Any]) -> Select[Any]:
    """What waits of a tenant and a lane, in the order of an index of just these."""
    ours = (JOBS.c.tenant == bindparam("of_tenant"), JOBS.c.lane == bindparam("of_lane"))
    return (
        select(*columns)
        .where(JOBS.c.state == literal_column(f"'{State.QUEUED.value}'"), *ours)
        .order_by(JOBS.c.tenant, JOBS.c.lane, JOBS.c.rank, JOBS.c.place, JOBS.c.seq)
    )


@cache
def _head(lock: bool) -> Select[Any]:
    head = _queue(JOBS.c.seq, JOBS.c.reserved_bytes, JOBS.c.unfolds).limit(1)
    # PostgreSQL: one that is just being cancelled is passed over; SQLite has one writer at a time anyway.
    return head.with_for_update(skip_locked=True) if lock else head


@cache
def _take() -> Update:
    budget = bindparam("budget", type_=JOBS.c.reserved_bytes.type)
    return (
        update(JOBS)
        .where(JOBS.c.seq == bindparam("of_seq"), JOBS.c.reserved_bytes <= budget - reserved_by_running())
        .values(
            state=State.RUNNING.value,
            attempt=JOBS.c.attempt + 1,
            fence=JOBS.c.fence + 1,
            beat=0,
            worker=bindparam("new_worker"),
            sandbox=bindparam("new_sandbox"),
            scratch=bindparam("new_scratch"),
            erasure=None,
            unfolds=None,
            # It waited while its batch was called off by somebody who did not wait for it.
            cancel_requested=or_(JOBS.c.cancel_requested, is_called_off(JOBS.c.batch)),
            charged=bindparam("new_charged", type_=JOBS.c.charged.type),
            started_at=bindparam("now"),
        )
        .returning(*JOBS.c)
    )


@cache
def _count_ahead() -> Select[Any]:
    place = tuple_(JOBS.c.rank, JOBS.c.place, JOBS.c.seq)
    types = [column.type for column in (JOBS.c.rank, JOBS.c.place, JOBS.c.seq)]
    own = tuple_(bindparam("of_rank"), bindparam("of_place"), bindparam("before_seq"), types=types)
    counted = _queue(JOBS.c.seq).where(place < own).limit(bindparam("at_most", type_=Integer())).subquery()
    return select(func.count()).select_from(counted)
