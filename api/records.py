"""Records: domain values as the API shows them. The runner's word is cleaned here, and believed for display only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from api.cache_schemas import CachedFrom
from api.documents import presentable
from api.expiry_schemas import Expires
from api.schemas import (
    Column,
    DatasetRecord,
    ErasureRecord,
    InputRecord,
    JobOutput,
    JobRecord,
    JobSummary,
    OutputTable,
    UsageRecord,
)
from fumehood.dataset import ALL_FORMATS, Dataset
from fumehood.expiry import expiry_of
from fumehood.job import Input, Job, Origin
from fumehood.outcome import Outcome
from fumehood.receipt import document
from fumehood.text import timestamp

ANY_BYTES = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """One figure or artifact: a window of the job's `files` blob."""

    name: str
    media_type: str
    offset: int
    bytes: int


def dataset_record(dataset: Dataset) -> DatasetRecord:
    here = f"/v1/datasets/{dataset.id}"
    return DatasetRecord(
        id=dataset.id,
        name=dataset.name,
        format=dataset.format,
        bytes=dataset.bytes,
        sha256=dataset.sha256,
        rows=dataset.rows,
        columns=columns_of(dataset.columns),
        created_at=timestamp(dataset.created_at) or "",
        pinned=dataset.pinned,
        expires_at=timestamp(dataset.expires_at),
        links={"self": here, "content": f"{here}/content"} | ({"preview": f"{here}/preview"} if dataset.table_blob else {}),
    )


def job_summary(job: Job) -> JobSummary:
    return JobSummary(**_summary(job), links={"self": f"/v1/jobs/{job.id}"})


def job_record(job: Job) -> JobRecord:
    outcome, report = job.outcome, report_of(job.outcome)
    outputs = outcome.outputs if outcome else {}
    log = report.get("log")
    return JobRecord(
        **_summary(job),
        links=_links(job, outputs),
        queue_position=job.queue_position,
        estimated_start_at=timestamp(job.estimated_start_at),
        priority=job.priority,
        attempts_max=job.attempts_max,
        cancel_requested=job.cancel_requested,
        milliseconds=dict(outcome.milliseconds) if outcome else {},
        usage=UsageRecord.model_validate(outcome.usage, from_attributes=True) if outcome else None,
        image=outcome.image if outcome else None,
        start=outcome.start if outcome else None,
        start_reason=outcome.start_reason if outcome else None,
        error=presentable(outcome.error) if outcome else None,
        notes=presentable(_list(report.get("notes"))),
        result=output_table(report.get("result"), outputs.get("result")),
        result2=output_table(report.get("result2"), outputs.get("result2")),
        figures=len(files_of(job, "figure")),
        artifacts=len(files_of(job, "artifact")),
        outputs=dict(outputs),
        log={"bytes": outputs.get("log", 0), "truncated": isinstance(log, dict) and log.get("truncated") is True} if outcome else {},
        inputs={port: input_of(entry) for port, entry in job.inputs.items()},
        parameters=job.parameters,
        limits=job.limits.as_dict(),
        batch=job.batch,
        item=job.item,
        callback_url=job.callback_url,
        cached_from=_cached_from(job.cached_from),
        erasure=erasure_record(job),
        expires=expires_record(job),
    )


def expires_record(job: Job) -> Expires | None:
    expiry = expiry_of(job)
    if expiry is None:
        return None
    return Expires(
        record=timestamp(expiry.record_at),
        log=timestamp(expiry.log_at) or "",
        results=timestamp(expiry.results_at) or "",
        log_expired_at=timestamp(expiry.log_gone_at),
        results_expired_at=timestamp(expiry.results_gone_at),
    )


def input_record(job: Job, port: str) -> InputRecord:
    """`port` is one that is connected."""
    given = job.inputs[port]
    media_types, endings = ALL_FORMATS.get(given.format, (("text/x-python",), (".py",)))
    return InputRecord(
        port=port,
        name=f"{port}{endings[0]}",
        media_type=media_types[0],
        format=given.format,
        bytes=given.bytes,
        dataset=given.dataset,
        source=JobOutput.model_validate(given.source) if given.source else None,
        href=f"/v1/jobs/{job.id}/inputs/{port}",
    )


def files_of(job: Job, role: str) -> list[StoredFile]:
    """The figures or artifacts that really lie inside the stored `files` blob, in the runner's order."""
    if job.outcome is None:
        return []
    stored = job.outcome.outputs.get("files", 0)
    entries = [entry for entry in _list(report_of(job.outcome).get("files")) if isinstance(entry, dict) and entry.get("role") == role]
    return [file for entry in entries if (file := _file(entry, stored)) is not None]


def file_href(job: Job, file: StoredFile) -> str:
    return f"/v1/jobs/{job.id}/artifacts/{quote(file.name, safe='/')}"


def columns_of(value: Any) -> list[Column]:
    entries = [entry for entry in _list(value) if isinstance(entry, dict)]
    return [
        Column(
            name=presentable(str(entry.get("name", ""))),
            type=presentable(str(entry.get("type", ""))),
            nullable=entry.get("nullable") is not False,
        )
        for entry in entries
    ]


def report_of(outcome: Outcome | None) -> dict[str, Any]:
    return outcome.report if outcome is not None else {}


def whole(value: Any) -> int | None:
    """A count of the runner's, or None where it is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _summary(job: Job) -> dict[str, Any]:
    reason = job.outcome.reason if job.outcome else None
    return {
        "id": job.id,
        "state": job.state,
        "reason": reason,
        "blame": reason.blame if reason else None,
        "message": presentable(job.outcome.message) if job.outcome else "",
        "labels": dict(job.labels),
        "created_at": timestamp(job.created_at) or "",
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "attempt": job.attempt,
    }


def _links(job: Job, outputs: dict[str, int]) -> dict[str, str]:
    here = f"/v1/jobs/{job.id}"
    names = ["inputs", "log", "cancel"]
    if job.state.final:
        tables = [name for name in ("result", "result2") if name in outputs]
        log = ["log"] if job.log_gone_at is None else []
        results = ["figures", "artifacts", *tables, *(f"{name}/preview" for name in tables)] if job.results_gone_at is None else []
        names = ["inputs", *log, *results]
    links = {"self": here, **{name.replace("/", "_"): f"{here}/{name}" for name in names}}
    if job.outcome is not None and job.outcome.image is not None:
        links["image"] = f"/v1/images/{job.outcome.image}/packages"
    return links


def output_table(value: Any, size: int | None) -> OutputTable | None:
    if size is None or not isinstance(value, dict):
        return None if size is None else OutputTable(bytes=size, rows=None, columns=[])
    return OutputTable(bytes=size, rows=whole(value.get("rows")), columns=columns_of(value.get("columns")))


def input_of(given: Input) -> dict[str, Any]:
    origin: dict[str, Any] = {"dataset": given.dataset} if given.dataset else dict(given.source or {})
    origin |= {"version": given.version} if given.version else {}
    return {**origin, "format": given.format, "bytes": given.bytes}


def _cached_from(origin: Origin | None) -> CachedFrom | None:
    return CachedFrom(job=origin.job, finished_at=timestamp(origin.finished_at) or "") if origin is not None else None


def erasure_record(job: Job) -> ErasureRecord | None:
    return ErasureRecord(**document(job.erasure)) if job.erasure is not None else None


def _file(entry: dict[str, Any], stored: int) -> StoredFile | None:
    offset, size, name = whole(entry.get("offset")), whole(entry.get("bytes")), entry.get("name")
    if offset is None or size is None or offset + size > stored or not isinstance(name, str):
        return None
    # The runner names files as they lay below one directory. A name that leads elsewhere is a forgery, and would make an
    # address that clients shorten.
    if {"", ".", ".."} & set(name.split("/")):
        return None
    said = str(entry.get("media_type", "")).lower()
    return StoredFile(name=presentable(name), media_type=said if _MEDIA_TYPE.fullmatch(said) else ANY_BYTES, offset=offset, bytes=size)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
