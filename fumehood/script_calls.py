"""Calls of scripts in the job store: which version one is for, and whether it may be one more of those that have not ended."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from fumehood.alias_store import Aliases, no_alias
from fumehood.errors import Conflict, NotFound, TooManyCalls
from fumehood.job import Job, Kind
from fumehood.needs import CALL
from fumehood.schema import JOB_NEEDS, SCRIPT_VERSIONS, SCRIPTS
from fumehood.script import LATEST, Version, VersionState
from fumehood.script_rows import version_from_row
from fumehood.script_store import aliases_of, find_script, find_version, latest_of


class Calls(Aliases):
    """The part of `JobStore` that knows what a call is for."""

    def version_for(self, tenant: str, name: str, *, number: int | None = None, alias: str = LATEST, draw: float = 0.0) -> Version:
        """The version of this number, or else the one that `alias` stands for; of several the one that `draw` (from 0 up to 1, without
        it) picks.

        Raises:
            NotFound: there is no such script, version or alias.
            Conflict: the version is not ready, or none is.
        """
        with self._database.reading() as connection:
            script = find_script(connection, tenant, name)
            if number is None and alias == LATEST:
                number = latest_of(connection, script)
                if number is None:
                    raise Conflict(f"the script {name} has no version that is ready")
            elif number is None:
                found = next((one for one in aliases_of(connection, script) if one.name == alias), None)
                if found is None:
                    raise no_alias(name, alias)
                number = found.pick(draw)
            version = version_from_row(find_version(connection, script, number))
        if version.state is not VersionState.READY:
            raise Conflict(f"version {number} of {name} is {version.state}; only one that is ready can be called")
        return version


def check_call(connection: Connection, job: Job) -> None:
    """Asked before a job is added; of anything but a call it says nothing. Who calls the same version meanwhile waits for this
    transaction's end.

    Raises:
        NotFound: the version was deleted meanwhile.
        TooManyCalls: as many calls of it as may have not ended.
    """
    if job.kind is not Kind.SCORE:
        return
    given = {"of_version": job.inputs["script"].version, "of_tenant": job.tenant}
    version = connection.execute(_locked(), given).one_or_none()
    if version is None:
        raise NotFound("the script has no version of this number")
    calls = connection.execute(_count(), {"of_version": given["of_version"]}).scalar_one()
    if calls >= version.concurrency:
        name = f"version {version.number} of {version.script_name}"
        raise TooManyCalls(f"{calls:,} calls of {name} have not ended, which is the limit")


@cache
def _locked() -> Select[Any]:
    named = select(SCRIPT_VERSIONS.c.number, SCRIPT_VERSIONS.c.concurrency, SCRIPTS.c.name.label("script_name"))
    mine = (SCRIPT_VERSIONS.c.id == bindparam("of_version"), SCRIPT_VERSIONS.c.tenant == bindparam("of_tenant"))
    # Jobs that are no calls of it need the version too, and need not wait.
    here = named.join(SCRIPTS, SCRIPTS.c.seq == SCRIPT_VERSIONS.c.script).where(*mine)
    return here.with_for_update(of=SCRIPT_VERSIONS, key_share=True)


@cache
def _count() -> Select[Any]:
    calls = (JOB_NEEDS.c.version == bindparam("of_version"), JOB_NEEDS.c.port == CALL)
    return select(func.count()).select_from(JOB_NEEDS).where(*calls)
