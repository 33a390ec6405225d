"""Schemas of hosted scripts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas import LIMITS_SCHEMA, Column, Request, TableReference
from fumehood.outcome import Blame, Reason
from fumehood.script import CONCURRENCY_DEFAULT, CONCURRENCY_MAX, SHARES_MAX, VersionState


class ParameterDocument(Request):
    """A keyword parameter of `azureml_main`. The check needs a value of each: the default, or else the example."""

    type: Literal["int", "float", "str", "bool"]
    default: Any = Field(None, description="What a call has that does not say any; without it each call has to say one.")
    example: Any = Field(None, description="What the check uses where there is no default, and what the documentation shows.")
    description: str = Field("", description="One line of 1,000 characters at most.")


class VersionDocument(Request):
    """A version of a script. In a multipart request the part `version` is this document, and files may stand in parts of their own
    instead."""

    script: str | None = Field(None, description="Python source that defines `azureml_main`.")
    bundle: str | None = Field(None, description="Id of a dataset of format `zip`. The version keeps its own copy.")
    sample: TableReference | None = Field(
        None, description="What the check runs on, 64 MiB at most: id of a dataset, or an output of a job. The version keeps its own copy."
    )
    parameters: dict[str, ParameterDocument] | None = Field(
        None, description="By name; where it is left out, they are as the function's signature has them."
    )
    limits: dict[str, Any] = Field({}, description="Bounds of each call; the others keep their defaults.", json_schema_extra=LIMITS_SCHEMA)
    description: str = Field("", description="For people; one line of 1,000 characters at most.")
    concurrency: int = Field(
        CONCURRENCY_DEFAULT, description=f"Calls at once, from 1 to {CONCURRENCY_MAX}.", json_schema_extra={"minimum": 1}
    )


class TargetDocument(Request):
    number: int = Field(description="Of a version that is ready.")
    share: int | None = Field(None, description="Of the calls, in percent; may be left out where there is one version.")


class AliasDocument(Request):
    """What an alias stands for: one version, or several that share the calls."""

    versions: list[TargetDocument] = Field(description=f"1 to {SHARES_MAX}, whose shares are 100 together.")


# answers -----------------------------------------------------------------------------------------------------------------


class TargetRecord(BaseModel):
    number: int
    share: int = Field(description="Of the calls, in percent.")


class AliasRecord(BaseModel):
    """What a name stands for."""

    name: str
    versions: list[TargetRecord]
    previous: list[TargetRecord] = Field(description="What it stood for before; empty where it was nothing else.")
    changed_at: str | None = Field(description="Null of `latest`, which nobody moves: it is the newest version that is ready.")
    links: dict[str, str]


class AliasList(BaseModel):
    items: list[AliasRecord]


class ScriptSummary(BaseModel):
    """What a list shows of a script."""

    name: str
    latest: int | None = Field(description="Number of its newest version that is ready; null where none is.")
    versions: int = Field(description="How many there are.")
    created_at: str
    links: dict[str, str]


class ScriptPage(BaseModel):
    items: list[ScriptSummary]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class ScriptRecord(ScriptSummary):
    """A script, with all that its names stand for."""

    aliases: list[AliasRecord]


class ParameterRecord(BaseModel):
    name: str
    type: str | None = Field(description="Null where neither the publisher nor the signature says one.")
    required: bool
    default: Any = Field(None, description="There only where a call may leave it out.")
    example: Any = None
    description: str = ""


class PartRecord(BaseModel):
    """A file of a version's own."""

    format: str
    bytes: int
    sha256: str


class VersionSummary(BaseModel):
    """What a list shows of a version."""

    script: str
    number: int
    id: str
    state: VersionState = Field(description="`checking` as long as its check has not ended; then `ready` or `refused`, for ever.")
    reason: Reason | None = Field(description="How the check ended; null as long as it has not.")
    blame: Blame | None
    message: str = Field(description="One sentence about the end of the check.")
    description: str
    created_at: str
    decided_at: str | None
    links: dict[str, str]


class VersionPage(BaseModel):
    items: list[VersionSummary]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class Schemas(BaseModel):
    """What the check saw going in and coming out, by port."""

    inputs: dict[str, list[Column]]
    outputs: dict[str, list[Column]]


class VersionRecord(VersionSummary):
    """A version, whole. Nothing of it changes once its check has ended."""

    parameters: list[ParameterRecord] | None = Field(
        description="Null where nobody has said any, the function takes whatever it is given, or the check has not ended."
    )
    schemas: Schemas | None = Field(description="Null where it is not ready.")
    has_init: bool = Field(description="Whether the script has an `init()` whose value is its `context`.")
    limits: dict[str, int | float]
    concurrency: int = Field(description="Calls at once.")
    image: str | None = Field(description="Digest of the image that it was checked in.")
    job: str = Field(description="The check: its record and its log say more, as long as they are kept.")
    error: dict[str, Any] | None = Field(description="The script's exception, as in a job's record.")
    parts: dict[str, PartRecord] = Field(description="`script`, `bundle`, `sample`.")
    bytes: int = Field(description="What they hold together.")


class Difference(BaseModel):
    field: str = Field(description="JSON pointer into the records.", examples=["/limits/wall_seconds"])
    before: Any = None
    after: Any = None


class Comparison(BaseModel):
    """Where two versions are not the same. Of their files it is told whether they are the same bytes."""

    script: str
    before: int
    after: int
    differences: list[Difference]
