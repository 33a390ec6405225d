"""Notices: what the streams of a batch and of a tenant hear of a job. Hints for who reads the rows, short as they are."""

from __future__ import annotations

from fumehood.events import Notice
from fumehood.job import Job

JOB, BATCH = "job", "batch"
"""Kinds of a tenant's notices: a job is in another state; look how far this batch is."""
ITEMS, CANCELLED, STATE = "items", "cancelled", "state"
"""Kinds of a batch's notices: the items of this job have ended; all that waited has; something runs or waits."""


def of_job(job: Job) -> list[Notice]:
    """What a job's new state means to others. Errands are nobody's to see, and of a chunk only its batch is."""
    told = []
    if job.batch is not None:
        told.append(Notice(job.batch, ITEMS, {"job": job.id}) if job.state.final else Notice(job.batch, STATE))
    if job.kind.shown:
        reason = job.outcome.reason.value if job.outcome is not None else None
        own = {"batch": job.batch, "item": job.item} if job.batch is not None else {}
        told.append(Notice(job.tenant, JOB, {"id": job.id, "state": job.state.value, "reason": reason, "attempt": job.attempt, **own}))
    elif job.batch is not None:
        told.append(Notice(job.tenant, BATCH, {"id": job.batch}))
    return told


def of_new_batch(tenant: str, batch_id: str) -> list[Notice]:
    return [Notice(batch_id, STATE), Notice(tenant, BATCH, {"id": batch_id})]


def of_retried_batch(tenant: str, batch_id: str) -> list[Notice]:
    """It has not ended any more, whoever was told that it had."""
    return [Notice(batch_id, STATE), Notice(tenant, BATCH, {"id": batch_id, "again": True})]


def of_cancelled_batch(tenant: str, batch_id: str) -> list[Notice]:
    """Of all jobs that it ended, however many."""
    return [Notice(batch_id, CANCELLED, {}), Notice(tenant, BATCH, {"id": batch_id})]
