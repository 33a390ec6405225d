"""Item ends: what streams tell of a batch and of a tenant, read from the rows in short steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select

from fumehood.job import SHOWN, Kind, Lane, State
from fumehood.outcome import Reason
from fumehood.records import Records
from fumehood.schema import BATCH_ITEMS, BATCHES, JOBS

ENDS_STEP = 500
_FINAL = tuple(state.value for state in State if state.final)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemEnd:
    """How an item ended, in few words. `job` is the job that is this item; None where many share one."""

    number: int
    name: str
    state: State
    reason: Reason | None
    job: str | None
    retries: int
    """How often its tenant had it run again: an item may end more than once."""


class ItemEnds(Records):
    """The part of `JobStore` that tells ends without reading documents."""

    def item_ends(
        self,
        tenant: str,
        batch_id: str,
        *,
        jobs: Sequence[str] | None = None,
        since: float | None = None,
        after: int = -1,
        limit: int = ENDS_STEP,
    ) -> list[ItemEnd]:
        """The items that have ended, by number, those behind `after`: of these `jobs` alone, or those that ended at or after `since`
        (seconds since the epoch), where it is given. None of a batch that is not this tenant's."""
        state = func.coalesce(BATCH_ITEMS.c.state, JOBS.c.state)
        reason = func.coalesce(BATCH_ITEMS.c.ending["reason"].as_string(), JOBS.c.outcome["reason"].as_string())
        item = (BATCH_ITEMS.c.number, BATCH_ITEMS.c.name, BATCH_ITEMS.c.retries)
        of_tenant = select(BATCHES.c.id).where(BATCHES.c.id == batch_id, BATCHES.c.tenant == tenant).scalar_subquery()
        query = (
            select(*item, state.label("state"), reason.label("reason"), JOBS.c.id, JOBS.c.kind)
            .select_from(BATCH_ITEMS.outerjoin(JOBS, JOBS.c.id == BATCH_ITEMS.c.job))
            .where(BATCH_ITEMS.c.batch == of_tenant, BATCH_ITEMS.c.number > after, state.in_(_FINAL))
            .order_by(BATCH_ITEMS.c.number)
            .limit(limit)
        )
        if jobs is not None:
            query = query.where(BATCH_ITEMS.c.job.in_(list(jobs)))
        if since is not None:
            # Without a job there is no time of the end; told twice is better than not at all.
            query = query.where(or_(JOBS.c.finished_at.is_(None), JOBS.c.finished_at >= since))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [
            ItemEnd(
                number=row.number,
                name=row.name,
                state=State(row.state),
                reason=Reason(row.reason) if row.reason else None,
                job=row.id if row.kind == Kind.SCRIPT.value else None,
                retries=row.retries,
            )
            for row in rows
        ]

    def count_live(self, tenant: str, *, at_most: int) -> dict[State, int]:
        """How many jobs of the tenant wait and run; neither is counted further than `at_most`."""
        counts = {}
        with self._database.reading() as connection:
            for state in (State.QUEUED, State.RUNNING):
                here = (JOBS.c.tenant == tenant, JOBS.c.lane == Lane.JOBS.value, JOBS.c.state == state.value)
                some = select(JOBS.c.seq).where(*here, JOBS.c.kind.in_(SHOWN)).limit(at_most).subquery()
                counts[state] = int(connection.execute(select(func.count()).select_from(some)).scalar_one())
        return counts
