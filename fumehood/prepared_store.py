"""Prepared sandboxes in the job store: a row of each that waits with a version's script open, from before anything of the tenant's is
laid into it until nothing of it is left. The job that takes one names it in its own row, and takes its row here away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from fumehood.errors import Suspended
from fumehood.holdings import use
from fumehood.job import Lane
from fumehood.needs import owned
from fumehood.records import Records
from fumehood.schema import PREPARED, SCRIPT_VERSIONS, TENANTS
from fumehood.tenant import TenantState
from fumehood.usage import Amount, count


@dataclass(frozen=True, slots=True)
class PreparedRow:
    sandbox: str
    """Name of the container."""
    unwanted: bool
    """Its version is gone, or its tenant may not run anything."""


class Prepared(Records):
    """The part of `JobStore` that knows prepared sandboxes."""

    def keep_prepared(self, *, tenant: str, version: str, worker: str, sandbox: str) -> bool:
        """False where the version is gone, or its tenant may not run anything, or no more today; nothing is written then."""
        with self._database.writing() as connection:
            try:
                quota = self._admit(connection, tenant)
            except Suspended:
                return False
            state = connection.execute(select(TENANTS.c.state).where(TENANTS.c.id == tenant)).scalar_one_or_none()
            # Who deletes the version meanwhile waits for this row, or is waited for.
            there = connection.execute(owned(SCRIPT_VERSIONS).where(SCRIPT_VERSIONS.c.id == version), {"of_tenant": tenant}).one_or_none()
            if there is None or state not in (None, TenantState.ACTIVE.value):
                return False
            if use(connection, tenant, now=self._clock()).cpu_seconds_per_day >= quota.cpu_seconds_per_day:
                return False
            connection.execute(insert(PREPARED).values(sandbox=sandbox, worker=worker, tenant=tenant, version=version))
            return True

    def forget_prepared(self, sandboxes: Sequence[str]) -> None:
        """They are a job's, or were taken away by one."""
        with self._database.writing() as connection:
            connection.execute(delete(PREPARED).where(PREPARED.c.sandbox.in_(sandboxes)))

    def end_prepared(self, sandbox: str, *, cpu_seconds: float) -> None:
        """It is gone, and served nobody: what it used counts for its tenant. Asked again it counts nothing."""
        with self._database.writing() as connection:
            gone = delete(PREPARED).where(PREPARED.c.sandbox == sandbox).returning(PREPARED.c.tenant)
            tenant = connection.execute(gone).scalar_one_or_none()
            if tenant is not None and cpu_seconds > 0:
                count(connection, tenant, Lane.JOBS, {}, Amount(cpu_seconds=cpu_seconds), now=self._clock())

    def prepared_of(self, worker: str) -> list[PreparedRow]:
        there = PREPARED.outerjoin(SCRIPT_VERSIONS, SCRIPT_VERSIONS.c.id == PREPARED.c.version)
        there = there.outerjoin(TENANTS, TENANTS.c.id == PREPARED.c.tenant)
        active = func.coalesce(TENANTS.c.state, TenantState.ACTIVE.value) == TenantState.ACTIVE.value
        wanted = (SCRIPT_VERSIONS.c.id.is_not(None) & active).label("wanted")
        mine = select(PREPARED.c.sandbox, wanted).select_from(there).where(PREPARED.c.worker == worker).order_by(PREPARED.c.sandbox)
        with self._database.reading() as connection:
            return [PreparedRow(row.sandbox, not row.wanted) for row in connection.execute(mine)]

    def prepared_with(self, versions: Sequence[str]) -> int:
        """How many have one of these versions."""
        with self._database.reading() as connection:
            counted = select(func.count()).select_from(PREPARED).where(PREPARED.c.version.in_(versions))
            return int(connection.execute(counted).scalar_one())

    def forget_prepared_of(self, worker: str) -> None:
        """It is dead, and what it had is gone."""
        with self._database.writing() as connection:
            connection.execute(delete(PREPARED).where(PREPARED.c.worker == worker))


def taken(connection: Connection, sandbox: str) -> None:
    """A job names it from now on."""
    connection.execute(delete(PREPARED).where(PREPARED.c.sandbox == sandbox))
