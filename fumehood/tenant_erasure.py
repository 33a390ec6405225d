"""Erasure of a tenant: the verbs of the job store that take away all that one has, in steps that hold up nobody.

What a tenant has is found in the schema itself: every row of a table that has a column `tenant`, and every row that hangs on such a
one by a foreign key. A table of tenants' things that comes later is erased without a word here; what is kept is named in `KEPT`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_, update

from fumehood.batch_store import Batches
from fumehood.calling_off import CalledOff, settle
from fumehood.errors import NotFinished, NotFound
from fumehood.job import State
from fumehood.moves import change, end
from fumehood.needs import use_datasets
from fumehood.outcome import Outcome, Reason
from fumehood.receipt import TENANT_VERSION
from fumehood.rows import never_ran
from fumehood.schema import API_KEYS, BATCHES, JOBS, METADATA, TENANT_ERASURES, TENANTS
from fumehood.tenant import Tenant, TenantState
from fumehood.tenant_store import find_tenant
from fumehood.text import timestamp
from fumehood.unfolding import give_up, unmade_batches

KEPT = {
    "audit": "who did what is the operator's, and ends by its own age",
    "tenant_erasures": "that it is gone",
    "api_keys": "go with the tenant itself, in the step that makes the receipt",
}
JOBS_AT_ONCE = 100
# Workers take these rows away, once what they tell of is gone.
WAITED_FOR = {"prepared"}
ROWS_AT_ONCE = 500
COUNTED = ("jobs", "batches", "datasets")


class TenantErasures(Batches):
    """The part of `JobStore` that erases tenants."""

    def begin_erasure(self, which: str) -> Tenant:
        """From now on nothing is accepted for the tenant, and nothing of it is claimed. Asking twice is fine. Raises NotFound."""
        with self._database.writing() as connection:
            row = find_tenant(connection, which, lock=True)
            begun = {"tenant": row.id, "name": row.name, "requested_at": self._clock(), "erased": {}}
            self._database.insert_or_get(connection, TENANT_ERASURES, begun, unique=("tenant",))
            going = update(TENANTS).where(TENANTS.c.id == row.id).values(state=TenantState.DELETING.value).returning(*TENANTS.c)
            row = connection.execute(going).one()
            self._note(connection, row.id, tenant=row.id)
            return self._tenant(row)

    def tenant_receipt(self, tenant: str) -> dict[str, Any]:
        """Raises NotFound where there was no such tenant, or nobody deletes it; NotFinished while something of it is left."""
        with self._database.reading() as connection:
            row = connection.execute(select(TENANT_ERASURES).where(TENANT_ERASURES.c.tenant == tenant)).one_or_none()
        if row is None:
            raise NotFound("there is no receipt of such a tenant")
        if row.receipt is None:
            raise NotFinished(f"tenant {tenant} is still being erased")
        return dict(row.receipt)

    def tenants_to_erase(self, *, limit: int = 10) -> list[str]:
        """Those that wait longest first."""
        left = select(TENANT_ERASURES.c.tenant).where(TENANT_ERASURES.c.receipt.is_(None)).order_by(TENANT_ERASURES.c.requested_at)
        with self._database.reading() as connection:
            return list(connection.execute(left.limit(limit)).scalars())

    def end_jobs_of(self, tenant: str) -> int:
        """Cancel some of the jobs that have not ended: those that wait end at once. How many are left; those run."""
        now = self._clock()
        outcome = Outcome(reason=Reason.CANCELLED, message="Cancelled: its tenant is deleted.")
        with self._database.writing() as connection:
            # First, and by itself: the end of a job would make the next ones of its batch, and locks its row before the batch's.
            for batch in unmade_batches(connection, tenant, limit=1):
                jobs, datasets = give_up(connection, batch, outcome.message)
                use_datasets(connection, datasets, now=now)
                settle(connection, CalledOff(batch=batch, jobs=[], items=jobs, datasets=datasets), now=now)
                return JOBS_AT_ONCE
        with self._database.writing() as connection:
            # First: `end` locks shares, and whoever ends a job that runs has its row when it waits for them.
            running = (JOBS.c.tenant == tenant, JOBS.c.state == State.RUNNING.value)
            connection.execute(update(JOBS).where(*running, JOBS.c.cancel_requested.is_(False)).values(cancel_requested=True))
            waiting = select(JOBS).where(JOBS.c.tenant == tenant, JOBS.c.state == State.QUEUED.value).order_by(JOBS.c.seq)
            for row in connection.execute(waiting.limit(JOBS_AT_ONCE).with_for_update()).all():
                end(connection, change(connection, row, {"cancel_requested": True}), outcome, row.erasure or never_ran(now=now), now=now)
            left = select(JOBS.c.seq).where(JOBS.c.tenant == tenant, JOBS.c.state.in_((State.QUEUED.value, State.RUNNING.value)))
            return len(connection.execute(left.limit(JOBS_AT_ONCE)).all())

    def some_streams_of(self, tenant: str) -> list[str]:
        """Ids of the jobs and batches that are erased next, and of the tenant: what events are told of."""
        some = [select(table.c.id).where(table.c.tenant == tenant).order_by(table.c.seq).limit(ROWS_AT_ONCE) for table in (JOBS, BATCHES)]
        with self._database.reading() as connection:
            return [*(name for query in some for name in connection.execute(query).scalars()), tenant]

    def erase_rows_of(self, tenant: str) -> int:
        """Some rows of one table; how many. 0 where no table has any that are ours to erase."""
        with self._database.writing() as connection:
            for table, owned in _tables():
                if table.name in WAITED_FOR:
                    continue
                key = list(table.primary_key.columns)
                some = select(*key).where(owned(tenant)).order_by(*key).limit(ROWS_AT_ONCE)
                gone = connection.execute(delete(table).where(tuple_(*key).in_(some))).rowcount
                if gone:
                    self._count(connection, tenant, {table.name: gone})
                    return gone
        return 0

    def count_erased(self, tenant: str, *, files: int, bytes: int) -> None:
        with self._database.writing() as connection:
            self._count(connection, tenant, {"files": files, "bytes": bytes})

    def end_erasure(
        self, tenant: str, *, worker: str, nothing_left: Callable[[], bool], seal: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """The tenant itself and its keys go, and the receipt comes, in one step: only where no table has a row of it any more, and
        `nothing_left` (asked last) says the same of its files. None where something is left."""
        with self._database.writing() as connection:
            connection.execute(select(TENANTS.c.id).where(TENANTS.c.id == tenant).with_for_update())
            begun = connection.execute(select(TENANT_ERASURES).where(TENANT_ERASURES.c.tenant == tenant).with_for_update()).one()
            if begun.receipt is not None:
                return dict(begun.receipt)  # another worker was faster
            if any(connection.execute(select(table).where(owned(tenant)).limit(1)).first() for table, owned in _tables()):
                return None
            if not nothing_left():
                return None
            keys = connection.execute(delete(API_KEYS).where(API_KEYS.c.tenant == tenant)).rowcount
            connection.execute(delete(TENANTS).where(TENANTS.c.id == tenant))
            others = sum(count for name, count in begun.erased.items() if name not in (*COUNTED, "files", "bytes"))
            receipt = seal(
                {
                    "version": TENANT_VERSION,
                    "tenant": tenant,
                    "name": begun.name,
                    "worker": worker,
                    "requested_at": timestamp(begun.requested_at),
                    "erased_at": timestamp(self._clock()),
                    **{name: begun.erased.get(name, 0) for name in (*COUNTED, "files", "bytes")},
                    "keys": keys,
                    "rows": others,
                }
            )
            connection.execute(update(TENANT_ERASURES).where(TENANT_ERASURES.c.tenant == tenant).values(receipt=receipt))
            return receipt

    def _count(self, connection: Connection, tenant: str, gone: Mapping[str, int]) -> None:
        here = TENANT_ERASURES.c.tenant == tenant
        known = connection.execute(select(TENANT_ERASURES.c.erased).where(here).with_for_update()).scalar_one()
        connection.execute(update(TENANT_ERASURES).where(here).values(erased=dict(Counter(known) + Counter(gone))))


Owned = Callable[[str], ColumnElement[bool]]


@cache
def _tables() -> list[tuple[Table, Owned]]:
    """Every table with rows of tenants, and which rows of it are one's: what hangs on another comes before it."""
    found = [(table, _owned(table)) for table in reversed(METADATA.sorted_tables) if table.name not in KEPT and table is not TENANTS]
    return [(table, owned) for table, owned in found if owned is not None]


def _owned(table: Table) -> Owned | None:
    if "tenant" in table.c:
        return lambda tenant: table.c.tenant == tenant
    # Along a column that is never null, or rows would be missed.
    for key in sorted(table.foreign_keys, key=lambda key: key.parent.nullable is not False):
        above = key.column.table
        if "tenant" in above.c:
            column, parent = key.column, key.parent
            return lambda tenant: parent.in_(select(column).where(column.table.c.tenant == tenant))
    return None
