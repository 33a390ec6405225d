"""Names of scripts and of aliases, and numbers of versions, as they stand in addresses."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import Path

from fumehood.audit import CALL
from fumehood.errors import BadField, BadRequest, NotFound
from fumehood.script import NAME, NUMBER_MAX

ScriptName = Annotated[str, Path(description="A script's name.", examples=["score"])]
AliasName = Annotated[str, Path(description="An alias: `latest`, or one of your own.", examples=["prod"])]
VersionNumber = Annotated[int, Path(description="A version's `number`, from 1 on.", examples=[1])]


def asked_for_script(name: str, below: str | int | None = None) -> str:
    """The script that a request is about, in every event of it from now on, and in the audit log with the version or the alias. A name
    that nothing can have never reaches the store.

    Raises:
        NotFound: in the very words that an absent one gets.
    """
    if not NAME.fullmatch(name):
        raise no_script()
    structlog.contextvars.bind_contextvars(script=name)
    call = CALL.get()
    if call is not None and below is not None:
        call.target = f"{name}/{below}"
    return name


def new_name(name: str, what: str) -> str:
    """Raises BadRequest where it cannot be a name."""
    if not NAME.fullmatch(name):
        expected = "expected a small letter, and then at most 62 small letters, digits and '-'"
        raise BadRequest("the name cannot be used", errors=(BadField(f"/path/{what}", f"is {name[:80]!r}; {expected}"),))
    return name


def is_number(number: int) -> bool:
    return 1 <= number <= NUMBER_MAX


def no_script() -> NotFound:
    return NotFound("there is no script of this name")


def no_version() -> NotFound:
    return NotFound("the script has no version of this number")


def no_alias() -> NotFound:
    return NotFound("the script has no alias of this name")
