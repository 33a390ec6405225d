"""Schemas of the result cache."""

from __future__ import annotations

from pydantic import BaseModel


class CachedFrom(BaseModel):
    """The job that ran what this one has the result of. It may have been deleted since."""

    job: str
    finished_at: str
