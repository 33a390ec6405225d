"""Schemas of what a record says about its end."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Expires(BaseModel):
    """When which part of a job that has ended goes. What was promised stays so, whatever its tenant's lifetimes are later; a part that an
    unfinished job reads stays for it."""

    record: str | None = Field(description="All of it, inputs included; null where it goes with its batch.")
    log: str
    results: str = Field(description="Tables, figures and artifacts.")
    log_expired_at: str | None = Field(description="When the log went; null as long as it is there.")
    results_expired_at: str | None = Field(description="When the results went.")
