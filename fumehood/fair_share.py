"""Fair share: whose turn it is. Start-time fair queueing (Goyal, Vin, Cheng 1996) over tenants, in seconds that jobs hold a slot.

Every tenant has a virtual time in each lane: the seconds that its jobs have held slots, divided by its weight. The tenant with
the least is next. The lane's own virtual time is that of the job that was started last, so that who comes back after a while neither
is owed what it did not use nor has to make up for what it used while nobody waited. Its first job then goes before all those that
stand in line: nobody who comes back waits longer than until a slot is free.

How long a job will hold its slot is known when it has ended. Until then its tenant is charged with what its jobs took lately.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    Row,
    ScalarSelect,
    Select,
    Update,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)

from fumehood.database import inserting
from fumehood.job import Lane
from fumehood.schema import HOLDINGS, JOBS, LANES, SHARES, TENANTS, USAGE
from fumehood.tenant import TenantState

MEAN_SECONDS_FIRST = 1.0
"""What a tenant's first job is charged with until it has ended."""
NEWEST_PART = 0.2
"""Of the running mean: what the job that ended last counts."""
CARRIED_SECONDS = 60.0
"""Slot time, of a tenant of weight 1, that is kept at most of what somebody used too much before it was away, or too little while it
was held up: fairness over the last minutes, not over the year."""
TENANTS_SEEN = 1000
"""Of those that wait, when a start is estimated."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tenant that waits, in the order of turns."""

    tenant: str
    weight: float
    virtual_time: float
    mean_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """The quotas of who has none of its own, and the day (UTC) whose CPU seconds count."""

    running_jobs: int
    stored_bytes: int
    cpu_seconds_per_day: float
    day: int

    def given(self) -> dict[str, Any]:
        return {
            "running_jobs": self.running_jobs,
            "most_bytes": self.stored_bytes,
            "cpu_seconds": self.cpu_seconds_per_day,
            "of_day": self.day,
        }


def joined(connection: Connection, tenant: str, lane: str, *, jobs: int = 1) -> None:
    """So many jobs of a tenant wait now besides those that did."""
    new = inserting(connection, SHARES).values(
        tenant=tenant,
        lane=lane,
        queued=jobs,
        running=0,
        in_line=False,
        mean_seconds=MEAN_SECONDS_FIRST,
        virtual_time=_now_in(lane),
        place=next_place(),
    )
    now, own = new.excluded.virtual_time, SHARES.c.virtual_time
    waits, runs = SHARES.c.queued > 0, SHARES.c.running > 0
    forgiven = now + CARRIED_SECONDS / _weight_of(tenant)
    changed = {
        "queued": SHARES.c.queued + new.excluded.queued,
        "in_line": case((waits, SHARES.c.in_line), else_=or_(runs, own > now)),
        "place": case((waits, SHARES.c.place), else_=new.excluded.place),
        "virtual_time": case((waits, own), (runs, _larger(own, now)), else_=_larger(now, _smaller(own, forgiven))),
    }
    connection.execute(new.on_conflict_do_update(index_elements=["tenant", "lane"], set_=changed))


def left(connection: Connection, tenant: str, lane: str, *, jobs: int = 1) -> None:
    """So many do not wait any more, and will not run."""
    connection.execute(_change("left"), {"of_tenant": tenant, "of_lane": lane, "jobs": jobs})


def candidates(connection: Connection, lane: str, bounds: Bounds) -> list[Candidate]:
    """Those who may have the next slot, whose turn it is first."""
    # The second is for where the first one's last job is just being cancelled.
    rows = connection.execute(_first_two(), {"of_lane": lane, **bounds.given()})
    return [Candidate(row.tenant, row.weight, row.virtual_time, row.mean_seconds) for row in rows]


def started(connection: Connection, lane: str, candidate: Candidate) -> None:
    """The first job of a candidate has a slot now, and is charged with the candidate's `mean_seconds`."""
    lane_now = connection.execute(select(_now_in(lane))).scalar_one()
    # Who was held up (suspended, at its quota) is owed a minute, not all of it.
    begins = max(candidate.virtual_time, lane_now - CARRIED_SECONDS / candidate.weight)
    step = begins - candidate.virtual_time + candidate.mean_seconds / candidate.weight
    connection.execute(_change("started"), {"of_tenant": candidate.tenant, "of_lane": lane, "step": step})
    if begins > lane_now:
        new = inserting(connection, LANES).values(lane=lane, virtual_time=begins)
        connection.execute(new.on_conflict_do_update(index_elements=["lane"], set_={"virtual_time": new.excluded.virtual_time}))


def ended(connection: Connection, row: Row[Any], *, now: float) -> None:
    """A job does not run any more, and does not wait again. The clock may have jumped: no job holds its slot for
    much longer than its limit."""
    held = max(0.0, min(now - row.started_at, 2 * row.limits["wall_seconds"] + CARRIED_SECONDS))
    values = {"of_tenant": row.tenant, "of_lane": row.lane, "held": held, "charged": row.charged or 0.0}
    connection.execute(_change("ended"), values)


def handed_back(connection: Connection, row: Row[Any]) -> None:
    """A running job waits again, through no fault of its tenant's, which is not charged."""
    connection.execute(_change("handed back"), {"of_tenant": row.tenant, "of_lane": row.lane, "charged": row.charged or 0.0})


def count_waiting(connection: Connection, lane: str) -> int:
    """Jobs of all tenants."""
    total = select(func.coalesce(func.sum(SHARES.c.queued), 0)).where(SHARES.c.lane == lane, SHARES.c.queued > literal_column("0"))
    return int(connection.execute(total).scalar_one())


def count_eligible(connection: Connection, lane: str, bounds: Bounds) -> int:
    """The jobs of those that could start at once, if there were slots for all."""
    waiting = _allowed().subquery()
    room = waiting.c.running_jobs - waiting.c.running
    counted = select(func.coalesce(func.sum(_smaller(waiting.c.queued, room)), 0))
    return int(connection.execute(counted, {"of_lane": lane, **bounds.given()}).scalar_one())


def seconds_until(connection: Connection, tenant: str, lane: str, *, ahead: int, slots: int) -> float | None:
    """About how long it takes until a job starts that has so many of its own tenant's ahead of it, where `slots` take jobs all the
    time. None where nobody can tell.

    As if slots could be shared by the second: until the tenant's virtual time has come to the job's turn, every other one that
    waits is served up to the same time, or until it has nothing left.
    """
    rows = connection.execute(_all_waiting(), {"of_lane": lane}).all()
    own = next((row for row in rows if row.tenant == tenant), None)
    if own is None or slots < 1:
        return None
    turn = own.virtual_time + ahead * own.mean_seconds / own.weight
    others = sum(min(row.queued * row.mean_seconds, max(0.0, turn - row.virtual_time) * row.weight) for row in rows if row.tenant != tenant)
    busy = connection.execute(_at_work(), {"of_lane": lane}).one()
    # Those that run are half done, one with another.
    rest = busy.seconds / 2 if busy.jobs >= slots else 0.0
    return float((others + ahead * own.mean_seconds + rest) / slots)


# the statements ----------------------------------------------------------------------------------------------------------


def next_place() -> ScalarSelect[Any]:
    """Behind all that were accepted before. Two at once may have the same; what is told apart then is who was stored first."""
    last = JOBS.alias("last")
    return select(func.coalesce(func.max(last.c.seq), 0) + 1).scalar_subquery()


def _now_in(lane: str) -> ColumnElement[float]:
    told: ScalarSelect[Any] = select(LANES.c.virtual_time).where(LANES.c.lane == lane).scalar_subquery()
    return func.coalesce(told, 0.0, type_=Float())


def _weight_of(tenant: Any) -> ColumnElement[float]:
    told: ScalarSelect[Any] = select(TENANTS.c.weight).where(TENANTS.c.id == tenant).scalar_subquery()
    return func.coalesce(told, 1.0, type_=Float())


# MAX of two is a function of SQLite, GREATEST one of PostgreSQL.
def _larger(one: ColumnElement[float], other: ColumnElement[float]) -> ColumnElement[float]:
    return case((one > other, one), else_=other)


def _smaller(one: ColumnElement[float], other: ColumnElement[float]) -> ColumnElement[float]:
    return case((one < other, one), else_=other)


def _shares(*columns: ColumnElement[Any]) -> Select[Any]:
    """Those who wait in a lane, with their weights, whose turn it is first. The order is that of an index of just these."""
    weight = func.coalesce(TENANTS.c.weight, 1.0).label("weight")
    return (
        select(SHARES.c.tenant, SHARES.c.virtual_time, SHARES.c.mean_seconds, weight, *columns)
        .join_from(SHARES, TENANTS, TENANTS.c.id == SHARES.c.tenant, isouter=True)
        .where(SHARES.c.lane == bindparam("of_lane"), SHARES.c.queued > literal_column("0"))
        .order_by(SHARES.c.lane, SHARES.c.in_line, SHARES.c.virtual_time, SHARES.c.place)
    )


@cache
def _allowed() -> Select[Any]:
    """Those of them that may have a slot now."""
    quota = func.coalesce(TENANTS.c.quota["running_jobs"].as_integer(), bindparam("running_jobs", type_=Integer()))
    active = func.coalesce(TENANTS.c.state, TenantState.ACTIVE.value) == TenantState.ACTIVE.value
    free = (active, SHARES.c.running < quota, _cpu_is_left(), _room_is_left())
    return _shares(SHARES.c.queued, SHARES.c.running, quota.label("running_jobs")).where(*free)


def _cpu_is_left() -> ColumnElement[bool]:
    """Of the day's quota. Two rows are read by their key for each tenant that waits. Errands go on: somebody waits for the answer."""
    total = (USAGE.c.label_name == literal_column("''"), USAGE.c.label_value == literal_column("''"))
    today = (USAGE.c.tenant == SHARES.c.tenant, USAGE.c.day == bindparam("of_day", type_=Integer()), *total)
    used = select(func.coalesce(func.sum(USAGE.c.cpu_seconds), 0.0)).where(*today).correlate(SHARES).scalar_subquery()
    quota = func.coalesce(TENANTS.c.quota["cpu_seconds_per_day"].as_float(), bindparam("cpu_seconds", type_=Float()))
    return or_(SHARES.c.lane != Lane.JOBS.value, used < quota)


def _room_is_left() -> ColumnElement[bool]:
    """In the bytes that a tenant may store: what a job will leave is not known before it has ended, so that a full tenant's wait."""
    held = select(HOLDINGS.c.bytes).where(HOLDINGS.c.tenant == SHARES.c.tenant).correlate(SHARES).scalar_subquery()
    quota = func.coalesce(TENANTS.c.quota["stored_bytes"].as_float(), bindparam("most_bytes", type_=Float()))
    return or_(SHARES.c.lane != Lane.JOBS.value, func.coalesce(held, 0) <= quota)


@cache
def _first_two() -> Select[Any]:
    return _allowed().limit(2)


@cache
def _all_waiting() -> Select[Any]:
    return _shares(SHARES.c.queued).limit(TENANTS_SEEN)


@cache
def _at_work() -> Select[Any]:
    jobs = func.coalesce(func.sum(SHARES.c.running), 0).label("jobs")
    seconds = func.coalesce(func.sum(SHARES.c.running * SHARES.c.mean_seconds), 0.0).label("seconds")
    return select(jobs, seconds).where(SHARES.c.lane == bindparam("of_lane"), SHARES.c.running > literal_column("0"))


@cache
def _change(what: str) -> Update:
    queued, running, mean = SHARES.c.queued, SHARES.c.running, SHARES.c.mean_seconds
    step, held, charged = (bindparam(name, type_=Float()) for name in ("step", "held", "charged"))
    weight = _weight_of(bindparam("of_tenant"))
    values: dict[str, dict[str, Any]] = {
        "left": {"queued": queued - bindparam("jobs", type_=queued.type)},
        "started": {"queued": queued - 1, "running": running + 1, "in_line": True, "virtual_time": SHARES.c.virtual_time + step},
        "ended": {
            "running": running - 1,
            "virtual_time": SHARES.c.virtual_time + (held - charged) / weight,
            "mean_seconds": mean + NEWEST_PART * (held - mean),
        },
        "handed back": {"running": running - 1, "queued": queued + 1, "virtual_time": SHARES.c.virtual_time - charged / weight},
    }
    return update(SHARES).where(SHARES.c.tenant == bindparam("of_tenant"), SHARES.c.lane == bindparam("of_lane")).values(values[what])
