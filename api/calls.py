"""Calls: which version of a script a request is for. What it is called with stands in the body, and in the rest of the query."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query

from api.desk import Desk
from api.script_names import asked_for_script, is_number, no_alias, no_script, no_version
from fumehood.errors import BadField, BadRequest, Conflict, FumehoodError, NotFound
from fumehood.script import LATEST, NAME, Version
from fumehood.tenant import Tenant

AskedVersion = Annotated[int | None, Query(description="Number of a version that is ready.", examples=[1])]
AskedAlias = Annotated[
    str | None, Query(description="An alias, instead of `version`. Without either it is `latest`: the newest version that is ready.")
]


@dataclass(frozen=True, slots=True)
class Asked:
    """The version that a job or a batch runs, or why there is none, and what was said of it: an alias may stand for another one the next
    time."""

    script: str
    number: int | None
    alias: str | None
    found: Version | FumehoodError

    @property
    def version(self) -> Version:
        """Raises what `asked_version` raises."""
        if isinstance(self.found, FumehoodError):
            raise self.found
        return self.found

    def beside(self, raw: dict[str, Any]) -> dict[str, Any]:
        """The document, which is another request where another version is asked for."""
        return {**raw, "/script": [self.script, self.number, self.alias]}


async def asked(desk: Desk, tenant: Tenant, script: str, number: int | None, alias: str | None, *, again: bool = False) -> Asked:
    """`again`: the request may have come before, while there still was what it asks for; then that it is not there is told by whoever
    reads `version`. Raises as `asked_version` otherwise."""
    try:
        return Asked(script, number, alias, await asked_version(desk, tenant, script, number, alias))
    except (NotFound, Conflict) as error:
        if not again:
            raise
        return Asked(script, number, alias, error)


async def asked_version(desk: Desk, tenant: Tenant, script: str, number: int | None, alias: str | None) -> Version:
    """The version that a call is for.

    Raises:
        NotFound: there is no such script, version or alias.
        BadRequest: both are said.
        Conflict: the version is not ready, or none is.
    """
    asked_for_script(script, number if number is not None else alias)
    if number is not None and alias is not None:
        raise BadRequest("a parameter of the request cannot be used", errors=(BadField("/query/alias", "stands beside version; say one"),))
    if alias is not None and not NAME.fullmatch(alias):
        alias = ""  # No alias is called so. Whether there is such a script is asked all the same.
    if number is not None and not is_number(number):
        number = 0
    draw = random.random()
    try:
        version = await desk.ask(
            desk.store.version_for, tenant.id, script, number=number, alias=LATEST if alias is None else alias, draw=draw
        )
    except NotFound as error:
        raise _absent(error) from None
    asked_for_script(script, version.number)
    return version


def _absent(error: NotFound) -> FumehoodError:
    told = (("no version", no_version), ("no alias", no_alias))
    return next((absent for words, absent in told if words in error.detail), no_script)()
