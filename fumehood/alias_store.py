"""Aliases of scripts in the job store: what a name stands for, moved in one step, and moved back."""

from __future__ import annotations

from sqlalchemy import delete, update

from fumehood.errors import BadField, BadRequest, Conflict, NotFound
from fumehood.schema import SCRIPT_ALIASES
from fumehood.script import LATEST, Alias, Target
from fumehood.script_rows import targets_to_row
from fumehood.script_store import Scripts, aliases_of, find_script, latest_of, require_ready

ALIASES_MAX = 100


class Aliases(Scripts):
    """The part of `JobStore` that says which version a call is for."""

    def list_aliases(self, tenant: str, name: str) -> list[Alias]:
        """By name, `latest` first where a version is ready. Raises NotFound."""
        with self._database.reading() as connection:
            script = find_script(connection, tenant, name)
            number = latest_of(connection, script)
            latest = [Alias(name=LATEST, targets=(Target(number),))] if number is not None else []
            return latest + aliases_of(connection, script)

    def get_alias(self, tenant: str, name: str, alias: str) -> Alias:
        """Raises NotFound."""
        for one in self.list_aliases(tenant, name):
            if one.name == alias:
                return one
        raise no_alias(name, alias)

    def set_alias(self, tenant: str, name: str, alias: str, targets: tuple[Target, ...]) -> Alias:
        """It stands for these versions from now on; what it stood for is kept for `roll_back`. The same again changes nothing.

        Raises:
            NotFound: there is no such script.
            BadRequest: a version is not there, or not ready.
            Conflict: the script has as many aliases as it may have.
        """
        with self._database.writing() as connection:
            script = find_script(connection, tenant, name, lock=True)
            wrong = require_ready(connection, script, targets)
            if wrong:
                fields = tuple(BadField(f"/versions/{place}/number", detail) for place, detail in wrong)
                raise BadRequest("the alias cannot stand for that", errors=fields)
            known = {one.name: one for one in aliases_of(connection, script)}
            before = known.get(alias)
            if before is None and len(known) >= ALIASES_MAX:
                raise Conflict(f"the script has {len(known)} aliases, which is the limit; delete some of them")
            if before is not None and before.targets == targets:
                return before
            made = Alias(name=alias, targets=targets, previous=before.targets if before else (), changed_at=self._clock())
            own = {"script": script.seq, "name": alias, "changed_at": made.changed_at}
            row = {**own, "targets": targets_to_row(made.targets), "previous": targets_to_row(made.previous)}
            self._database.upsert(connection, SCRIPT_ALIASES, row, unique=("script", "name"))
            self._note(connection, f"{name}/{alias}")
            return made

    def roll_back(self, tenant: str, name: str, alias: str) -> Alias:
        """It stands again for what it stood for before; asked once more, for what it stands for now.

        Raises NotFound; Conflict where it never stood for anything else, or a version of then is not there or not ready any more.
        """
        with self._database.writing() as connection:
            script = find_script(connection, tenant, name, lock=True)
            now = next((one for one in aliases_of(connection, script) if one.name == alias), None)
            if now is None:
                raise no_alias(name, alias)
            if not now.previous:
                raise Conflict(f"the alias {alias} never stood for anything else")
            wrong = require_ready(connection, script, now.previous)
            if wrong:
                raise Conflict(f"the alias {alias} cannot go back: {'; '.join(detail for _, detail in wrong)}")
            made = Alias(name=alias, targets=now.previous, previous=now.targets, changed_at=self._clock())
            values = {"targets": targets_to_row(made.targets), "previous": targets_to_row(made.previous), "changed_at": made.changed_at}
            here = (SCRIPT_ALIASES.c.script == script.seq, SCRIPT_ALIASES.c.name == alias)
            connection.execute(update(SCRIPT_ALIASES).where(*here).values(values))
            self._note(connection, f"{name}/{alias}")
            return made

    def delete_alias(self, tenant: str, name: str, alias: str) -> None:
        """Raises NotFound."""
        with self._database.writing() as connection:
            script = find_script(connection, tenant, name, lock=True)
            here = (SCRIPT_ALIASES.c.script == script.seq, SCRIPT_ALIASES.c.name == alias)
            if connection.execute(delete(SCRIPT_ALIASES).where(*here)).rowcount == 0:
                raise no_alias(name, alias)
            self._note(connection, f"{name}/{alias}")


def no_alias(name: str, alias: str) -> NotFound:
    return NotFound(f"the script {name} has no alias {alias!r}")
