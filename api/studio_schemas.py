"""What clients of Azure Machine Learning Studio (classic) read of a job, in its names."""

from __future__ import annotations

from pydantic import BaseModel, Field


class StudioPlace(BaseModel):
    """The three put together are an address. It needs the key as any other."""

    BaseLocation: str
    RelativeLocation: str
    SasBlobToken: str = Field(description="Empty.")


class StudioJob(BaseModel):
    StatusCode: int = Field(ge=0, le=4, description="0 not started, 1 running, 2 failed, 3 cancelled, 4 finished.")
    Results: dict[str, StudioPlace] | None = Field(None, description="By output, where its table can be had as CSV.")
    Details: str | None = Field(None, description="Why it failed.")
    CreatedAt: str | None = None
    StartTime: str | None = None
    EndTime: str | None = None
