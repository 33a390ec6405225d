"""Readings: what the store says of the whole service, for those who watch it. Each is read from an index, however many jobs have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, func, select

from fumehood.database import Database
from fumehood.fair_share import count_waiting
from fumehood.job import Lane, State
from fumehood.metrics import Document
from fumehood.schema import JOBS, WORKERS


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneReading:
    queued: int
    oldest_age_seconds: float
    """0 where nothing is queued."""
    running: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerReading:
    worker: str
    facts: dict[str, Any]
    tally: Document


class Readings:
    """The part of `JobStore` that looks at all tenants' jobs at once and tells numbers only."""

    _database: Database
    _clock: Callable[[], float]

    def read_lanes(self) -> dict[Lane, LaneReading]:
        now = self._clock()
        with self._database.reading() as connection:
            read = {}
            for lane in Lane:
                oldest_at = connection.execute(oldest_queued(), {"of_lane": lane.value}).scalar_one_or_none()
                read[lane] = LaneReading(
                    queued=count_waiting(connection, lane.value),
                    # By the clock of whoever submitted it, which may be ahead of ours.
                    oldest_age_seconds=0.0 if oldest_at is None else max(0.0, now - oldest_at),
                    running=int(connection.execute(count_running(), {"of_lane": lane.value}).scalar_one()),
                )
        return read

    def read_workers(self, *, seen_within_seconds: float) -> list[WorkerReading]:
        seen = select(WORKERS).where(WORKERS.c.seen_at >= self._clock() - seen_within_seconds).order_by(WORKERS.c.id)
        with self._database.reading() as connection:
            return [WorkerReading(worker=row.id, facts=row.facts, tally=row.tally or {}) for row in connection.execute(seen)]


@cache
def oldest_queued() -> Select[Any]:
    """The one that was submitted first: a job that is handed back keeps its number."""
    here = (JOBS.c.lane == bindparam("of_lane"), JOBS.c.state == State.QUEUED.value)
    return select(JOBS.c.created_at).where(*here).order_by(JOBS.c.lane, JOBS.c.state, JOBS.c.seq).limit(1)


@cache
def count_running() -> Select[Any]:
    here = (JOBS.c.lane == bindparam("of_lane"), JOBS.c.state == State.RUNNING.value)
    return select(func.count()).select_from(JOBS).where(*here)
