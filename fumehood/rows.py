"""Rows ↔ values: jobs, datasets and images as the schema stores them."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Row

from fumehood.blob_bytes import bytes_of_job
from fumehood.dataset import Dataset
from fumehood.expiry import expiry_of
from fumehood.image import Image
from fumehood.job import Input, Job, Kind, Origin, State
from fumehood.limits import Limits
from fumehood.outcome import Erasure, Outcome, Reason, Usage
from fumehood.quota import Retention
from fumehood.tracing import current_traceparent

_DATASET_FIELDS = tuple(field.name for field in fields(Dataset))
_ERASURE_FIELDS = tuple(field.name for field in fields(Erasure) if field.name != "job")
_IMAGE_FIELDS = tuple(field.name for field in fields(Image))


def job_to_row(job: Job) -> dict[str, Any]:
    """Everything but `seq` and `place`, which the database gives, and what is counted when asked for. A job is part of the trace of
    whoever stores it."""
    expiry = expiry_of(job)  # of one that is stored as it ended
    return {
        "id": job.id,
        "tenant": job.tenant,
        "kind": job.kind.value,
        "lane": job.kind.lane.value,
        "state": job.state.value,
        "attempt": job.attempt,
        "attempts_max": job.attempts_max,
        "fence": job.fence,
        "beat": job.beat,
        "worker": job.worker,
        "sandbox": job.sandbox,
        "scratch": job.scratch,
        "cancel_requested": job.cancel_requested,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "target_format": job.target_format,
        "batch": job.batch,
        "item": job.item,
        "rank": -job.priority,
        "callback_url": job.callback_url,
        "traceparent": job.traceparent or current_traceparent(),
        "cache_key": job.cache_key,
        "cached_from": asdict(job.cached_from) if job.cached_from else None,
        "reserved_bytes": job.reserved_bytes,
        "limits": job.limits.as_dict(),
        "inputs": {port: asdict(connected) for port, connected in job.inputs.items()},
        "parameters": job.parameters,
        "labels": job.labels,
        "outcome": job.outcome.as_dict() if job.outcome else None,
        "erasure": erasure_to_row(job.erasure) if job.erasure else None,
        "retention": asdict(job.retention) if job.retention else None,
        "expires_at": expiry.next_at() if expiry is not None else None,
        "stored_bytes": bytes_of_job(job),
        "log_gone_at": job.log_gone_at,
        "results_gone_at": job.results_gone_at,
    }


def job_from_row(stored: Row[Any]) -> Job:
    row = stored._mapping
    return Job(
        id=row["id"],
        tenant=row["tenant"],
        kind=Kind(row["kind"]),
        inputs={port: Input(**connected) for port, connected in row["inputs"].items()},
        parameters=row["parameters"],
        limits=Limits.from_dict(row["limits"]),
        labels=row["labels"],
        target_format=row["target_format"],
        batch=row["batch"],
        item=row["item"],
        callback_url=row["callback_url"],
        traceparent=row["traceparent"],
        cache_key=row["cache_key"],
        cached_from=Origin(**row["cached_from"]) if row["cached_from"] else None,
        attempts_max=row["attempts_max"],
        priority=-row["rank"],
        state=State(row["state"]),
        attempt=row["attempt"],
        fence=row["fence"],
        beat=row["beat"],
        worker=row["worker"],
        sandbox=row["sandbox"],
        scratch=row["scratch"],
        cancel_requested=row["cancel_requested"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        outcome=outcome_from_dict(row["outcome"]) if row["outcome"] else None,
        erasure=Erasure(job=row["id"], **row["erasure"]) if row["erasure"] else None,
        retention=Retention(**row["retention"]) if row["retention"] else None,
        log_gone_at=row["log_gone_at"],
        results_gone_at=row["results_gone_at"],
    )


def erasure_to_row(erasure: Erasure) -> dict[str, Any]:
    """Without the job: that is the row's own."""
    return {name: getattr(erasure, name) for name in _ERASURE_FIELDS}


def never_ran(*, now: float) -> dict[str, Any]:
    """The receipt of a job that was never claimed, as a row holds it. Nobody signs it: nothing was there to be erased."""
    return dict.fromkeys(_ERASURE_FIELDS) | {"attempt": 0, "fence": 0, "files": 0, "bytes": 0, "erased_at": now}


def outcome_from_dict(values: dict[str, Any]) -> Outcome:
    return Outcome(**(values | {"reason": Reason(values["reason"]), "usage": Usage(**values["usage"])}))


def dataset_to_row(dataset: Dataset) -> dict[str, Any]:
    return {name: getattr(dataset, name) for name in _DATASET_FIELDS}


def dataset_from_row(stored: Row[Any]) -> Dataset:
    return Dataset(**{name: stored._mapping[name] for name in _DATASET_FIELDS})


def image_from_row(stored: Row[Any]) -> Image:
    return Image(**{name: stored._mapping[name] for name in _IMAGE_FIELDS})
