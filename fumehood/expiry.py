"""Expiry: when which part of an ended job goes. What was promised at the submit holds: a later change of the tenant's lifetimes is
for later jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from fumehood.batch import Batch
from fumehood.job import Job, Lane
from fumehood.quota import DAY_SECONDS, Retention

RESULT_BLOBS = ("result", "result2", "files", "result.preview.json", "result2.preview.json")
"""What lies beside the log of an attempt: tables, figures and artifacts (`files`), previews."""


class Part(StrEnum):
    """What of a job has a lifetime. Its inputs go with the record, which says how it can be run again."""

    LOG = "log"
    RESULTS = "results"
    RECORD = "record"


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiry:
    """Of a job that has ended, in seconds since the epoch: when each part goes, or when it did. Nothing outlives the record."""

    log_at: float
    results_at: float
    record_at: float | None
    """None where it goes with its batch."""
    log_gone_at: float | None = None
    results_gone_at: float | None = None

    def next_at(self) -> float | None:
        """When something of it is to be taken away next."""
        left = [None if self.log_gone_at else self.log_at, None if self.results_gone_at else self.results_at, self.record_at]
        return min((at for at in left if at is not None), default=None)

    def due(self, now: float) -> frozenset[Part]:
        """What should not be there any more. Of what went before nobody knows whether it was seen through: that costs nothing twice."""
        times = {Part.LOG: self.log_at, Part.RESULTS: self.results_at, Part.RECORD: self.record_at}
        return frozenset(part for part, at in times.items() if at is not None and at <= now)


def expiry_of(job: Job) -> Expiry | None:
    """None of a job that has not ended, of an errand, and of what was stored before there were lifetimes."""
    if job.finished_at is None or job.retention is None or job.kind.lane is not Lane.JOBS:
        return None
    promised = expiry(job.retention, job.finished_at, batch=job.batch)
    return replace(promised, log_gone_at=job.log_gone_at, results_gone_at=job.results_gone_at)


def expiry(retention: Retention, finished_at: float, *, batch: str | None) -> Expiry:
    record_at = finished_at + retention.record_days * DAY_SECONDS
    return Expiry(
        log_at=min(record_at, finished_at + retention.log_days * DAY_SECONDS),
        results_at=min(record_at, finished_at + retention.result_days * DAY_SECONDS),
        record_at=record_at if batch is None else None,
    )


def expires_at(row: Any, finished_at: float) -> float | None:
    """The column of a row that is just about to become final."""
    if row.lane != Lane.JOBS.value or row.retention is None:
        return None
    return expiry(Retention(**row.retention), finished_at, batch=row.batch).next_at()


def first_look_at(batch: Batch, now: float) -> float | None:
    """The column of a batch that is just being stored: it cannot have ended for long enough any sooner."""
    return None if batch.retention is None else now + batch.retention.record_days * DAY_SECONDS
