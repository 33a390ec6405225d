"""Prepared sandboxes in the job store: a row of each that waits with a version's script open, from before anything of the tenant's is
laid into it until nothing of it is left. The job that takes one names it in its own row, and takes its row here away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from fumehood.needs import owned
from fumehood.records import Records
from fumehood.schema import PREPARED, SCRIPT_VERSIONS, TENANTS
from fumehood.tenant import TenantState


@dataclass(frozen=True, slots=True)
class PreparedRow:
    sandbox: str
    """Name of the container."""
    unwanted: bool
    """Its version is gone, or its tenant may not run anything."""


class Prepared(Records):
    """The part of `JobStore` that knows prepared sandboxes."""

    def keep_prepared(self, *, tenant: str, version: str, worker: str, sandbox: str) -> bool:
        """False where the version is gone, or its tenant is not active; nothing is written then."""
        with self._database.writing() as connection:
            state = connection.execute(select(TENANTS.c.state).where(TENANTS.c.id == tenant)).scalar_one_or_none()
            # Who deletes the version meanwhile waits for this row, or is waited for.
            there = connection.execute(owned(SCRIPT_VERSIONS).where(SCRIPT_VERSIONS.c.id == version), {"of_tenant": tenant}).one_or_none()
            if there is None or state not in (None, TenantState.ACTIVE.value):
                return False
            connection.execute(insert(PREPARED).values(sandbox=sandbox, worker=worker, tenant=tenant, version=version))
            return True

    def forget_prepared(self, sandboxes: Sequence[str]) -> None:
        """They are gone, or a job's."""
        with self._database.writing() as connection:
            connection.execute(delete(PREPARED).where(PREPARED.c.sandbox.in_(sandboxes)))

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

    def forget_prepared_of(self, worker: str, *, but: Sequence[str] = ()) -> None:
        """A worker is dead, and what it had is gone, but these."""
        with self._database.writing() as connection:
            mine = delete(PREPARED).where(PREPARED.c.worker == worker)
            connection.execute(mine.where(PREPARED.c.sandbox.not_in(but)) if but else mine)


def taken(connection: Connection, sandbox: str) -> None:
    """A job names it from now on."""
    connection.execute(delete(PREPARED).where(PREPARED.c.sandbox == sandbox))
