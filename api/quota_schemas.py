"""Schemas of the tenant's own quotas."""

from __future__ import annotations

from pydantic import BaseModel, Field


class QuotaLimits(BaseModel):
    """What holds: the tenant's own where it has one, else the operator's default."""

    running_jobs: int = Field(description="More wait, however many slots are free.")
    queued_jobs: int = Field(description="That wait, all jobs of batches among them.")
    stored_bytes: int = Field(description="Of datasets, of what was sent with jobs and batches, of results and logs.")
    dataset_bytes: int = Field(description="Of one dataset, or one table that is sent with a job.")
    requests_per_second: float = Field(description="A second's worth may come at once.")
    cpu_seconds_per_day: float = Field(description="Of jobs and conversions, by the day in UTC on which they end.")
    ceiling: dict[str, float] = Field(description="The highest limits that a job may ask for.")


class QuotaUse(BaseModel):
    """What is used now."""

    running_jobs: int
    queued_jobs: int
    stored_bytes: int
    cpu_seconds_per_day: float = Field(description="Today's (UTC), of what has ended.")


class QuotaRecord(BaseModel):
    quota: QuotaLimits
    used: QuotaUse
    day_ends_at: str = Field(description="When the CPU seconds of the day begin anew.", examples=["2025-02-01T00:00:00.000Z"])
