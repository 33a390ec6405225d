"""Moves: one row of the job table, found, locked, and moved from state to state. The steps that the store's verbs are made of.

Statements are built once and given their values when they are executed: building one costs many times what executing it does.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Integer,
    Row,
    ScalarSelect,
    Select,
    Update,
    bindparam,
    delete,
    func,
    select,
    update,
)

from fumehood.errors import Conflict, LeaseLost, NotFound
from fumehood.job import TRANSITIONS, Job, Lane, State
from fumehood.outcome import Outcome, Reason
from fumehood.pages import SEQ_MAX, Run, in_order, within
from fumehood.rows import job_from_row
from fumehood.schema import JOB_NEEDS, JOBS

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


def change(connection: Connection, row: Row[Any], values: dict[str, Any]) -> Row[Any]:
    """The row afterwards. `values` are plain ones, by column."""
    given = {f"new_{name}": value for name, value in values.items()}
    return connection.execute(_change(tuple(sorted(values))), {"of_seq": row.seq, **given}).one()


def move(connection: Connection, row: Row[Any], state: State, values: dict[str, Any]) -> Row[Any]:
    """The only way from one state to another, besides the claim. Raises Conflict."""
    if state not in TRANSITIONS[State(row.state)]:
        raise Conflict(f"job {row.id} is {row.state} and cannot become {state}")
    return change(connection, row, values | {"state": state.value})


def end(connection: Connection, row: Row[Any], outcome: Outcome, erasure: dict[str, Any], *, now: float) -> Job:
    """Into the final state that the outcome's reason means. A job that has ended needs nothing any more."""
    connection.execute(_need_nothing(), {"of_id": row.id})
    values = {"outcome": outcome.as_dict(), "erasure": erasure, "finished_at": now}
    return job_from_row(move(connection, row, FINAL_STATE[outcome.reason], values))


def count_queued(connection: Connection, lane: str, *, at_most: int, before_seq: int = SEQ_MAX) -> int:
    """The jobs of a lane that wait, those before a place in it; not counted further than `at_most`."""
    return int(connection.execute(_count_queued(), {"of_lane": lane, "before_seq": before_seq, "at_most": at_most}).scalar_one())


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


@cache
def next_queued() -> Select[Any]:
    """What the head of `of_lane` reserves, and what is running meanwhile."""
    return _queued(JOBS.c.reserved_bytes, reserved_by_running().label("running")).limit(1)


@cache
def claim_next() -> Update:
    """The head of a lane becomes running, where what it reserves fits into what the running ones leave of the budget."""
    # PostgreSQL: a cancel that has the row ends first; SQLite has one writer at a time anyway.
    head = _queued(JOBS.c.seq).limit(1).with_for_update().scalar_subquery()
    budget = bindparam("budget", type_=JOBS.c.reserved_bytes.type)
    return (
        update(JOBS)
        .where(JOBS.c.seq == head, JOBS.c.reserved_bytes <= budget - reserved_by_running())
        .values(
            state=State.RUNNING.value,
            attempt=JOBS.c.attempt + 1,
            fence=JOBS.c.fence + 1,
            beat=0,
            worker=bindparam("new_worker"),
            sandbox=bindparam("new_sandbox"),
            scratch=bindparam("new_scratch"),
            erasure=None,
            started_at=bindparam("now"),
        )
        .returning(*JOBS.c)
    )


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
def _need_nothing() -> Delete:
    return delete(JOB_NEEDS).where(JOB_NEEDS.c.job_id == bindparam("of_id"))


def _queued(*columns: ColumnElement[Any], before: Any = SEQ_MAX) -> Select[Any]:
    """The queue of `of_lane`, first come first."""
    run: Run = [(JOBS.c.lane, bindparam("of_lane", type_=JOBS.c.lane.type)), (JOBS.c.state, State.QUEUED.value)]
    return select(*columns).where(within(run, JOBS.c.seq, before)).order_by(*in_order(run, JOBS.c.seq))


@cache
def _count_queued() -> Select[Any]:
    before = bindparam("before_seq", type_=JOBS.c.seq.type)
    counted = _queued(JOBS.c.seq, before=before).limit(bindparam("at_most", type_=Integer())).subquery()
    return select(func.count()).select_from(counted)
