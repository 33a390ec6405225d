"""Queues: the verbs of the job store that look at what waits and what runs, over all tenants: for workers, which serve them all."""

from __future__ import annotations

from sqlalchemy import select

from fumehood import fair_share
from fumehood.fair_share import Bounds
from fumehood.job import Job, Lane
from fumehood.moves import next_reserves, running_of
from fumehood.rows import job_from_row
from fumehood.schema import JOBS
from fumehood.tenant_store import Tenants
from fumehood.usage import day_of


class Queues(Tenants):
    """The part of `JobStore` that changes nothing, and asks for no tenant."""

    def _bounds(self) -> Bounds:
        quota = self._defaults.quota
        day = day_of(self._clock())
        return Bounds(
            running_jobs=quota.running_jobs, stored_bytes=quota.stored_bytes, cpu_seconds_per_day=quota.cpu_seconds_per_day, day=day
        )

    def too_large_for_disk(self, lane: Lane, *, disk_budget_bytes: int) -> int | None:
        """The bytes that the next job of `lane` reserves, where they exceed the budget although nothing runs: it waits for
        free space, not for a finish. None where it does not, or there is no such job."""
        with self._database.reading() as connection:
            reserved = next_reserves(connection, lane.value, self._bounds())
        return reserved if reserved is not None and reserved > disk_budget_bytes else None

    def running(self) -> list[Job]:
        """Every running job, all tenants: what the reaper looks at."""
        with self._database.reading() as connection:
            # Lane by lane: a planner with statistics may otherwise read the whole table, which is in the order asked for.
            rows = [row for lane in Lane for row in connection.execute(running_of(lane.value))]
            return [job_from_row(row) for row in sorted(rows, key=lambda row: row.seq)]

    def queued(self, lane: Lane) -> int:
        """How many wait."""
        with self._database.reading() as connection:
            return fair_share.count_waiting(connection, lane.value)

    def eligible(self, lane: Lane) -> int:
        """How many could start at once: those whose tenant is suspended, has as many running as it may, stores more than it may, or has no
        CPU seconds left today are not among them."""
        with self._database.reading() as connection:
            return fair_share.count_eligible(connection, lane.value, self._bounds())

    def errands(self, *, limit: int = 1000) -> list[Job]:
        """Errands, all tenants and states, the oldest of each state first.

        Whoever asked deletes its own, so these are few; the reaper looks for forgotten ones.
        """
        # In the order of an index: that of `seq` alone would read the whole table.
        query = select(JOBS).where(JOBS.c.lane == Lane.ERRANDS.value).order_by(JOBS.c.lane, JOBS.c.state, JOBS.c.seq).limit(limit)
        with self._database.reading() as connection:
            return [job_from_row(row) for row in connection.execute(query)]
