"""Schemas of usage."""

from __future__ import annotations

from pydantic import BaseModel, Field

from fumehood.usage import OTHER, Work
from fumehood.usage_store import By


class UsageRow(BaseModel):
    """What was used. `succeeded`, `failed`, `cancelled` and `cached` exclude each other; `jobs` is their sum."""

    day: str | None = Field(description="The day in UTC; null where the row is of the whole period.", examples=["2025-01-31"])
    label: str | None = Field(
        description=f"Value of the label that was asked for; null where the row is of all. `{OTHER}`: further values of that day, together."
    )
    work: Work = Field(description="`jobs`: scripts. `conversions`: what sandboxes did with tables without one.")
    jobs: int = Field(description="How many have ended.")
    succeeded: int
    failed: int
    cancelled: int
    cached: int = Field(description="Succeeded with the result of an earlier job, without running.")
    cpu_seconds: float
    gb_seconds: float = Field(description="Of each run, the peak of its memory in GB (10⁹ bytes) times its wall seconds.")
    wall_seconds: float
    bytes_in: int
    bytes_out: int


class UsagePage(BaseModel):
    first: str = Field(alias="from", description="The first day.", examples=["2025-01-01"])
    last: str = Field(alias="to", description="The last day.", examples=["2025-01-31"])
    by: By
    label: str | None = Field(description="Name of the label.")
    items: list[UsageRow]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")
