"""Batches and items as the API shows them. What their runner said is cleaned here, and believed for display only."""

from __future__ import annotations

from typing import Any

from api.batch_schemas import BatchRecord, BatchSummary, Counts, ItemRecord, ItemSummary
from api.documents import presentable
from api.records import erasure_record, expires_record, input_of, output_table, report_of, whole
from fumehood.batch import Batch, Ran
from fumehood.job import Input, State
from fumehood.text import timestamp


def batch_summary(batch: Batch) -> BatchSummary:
    return BatchSummary(**_summary(batch))


def batch_record(batch: Batch) -> BatchRecord:
    return BatchRecord(
        **_summary(batch),
        counts=Counts(**counts_of(batch)),
        on_failure=batch.on_failure,
        stopped_by=batch.stopped_by,
        finished_at=timestamp(batch.finished_at),
        callback_url=batch.callback_url,
        expires_at=timestamp(batch.expires_at),
        parameters=batch.parameters,
        limits=batch.limits.as_dict(),
        inputs={port: input_of(given) for port, given in batch.inputs.items()},
    )


def counts_of(batch: Batch) -> dict[str, int]:
    """How many items are in each state, those that none is in too."""
    return {state.value: batch.counts.get(state, 0) for state in State}


def item_summary(batch: Batch, ran: Ran) -> ItemSummary:
    return ItemSummary(**_item(batch, ran))


def item_record(batch: Batch, ran: Ran) -> ItemRecord:
    ending, outcome = ran.ending, ran.job.outcome if ran.job is not None else None
    own = ran.own_job is not None
    report = report_of(outcome)
    log = report.get("log") if own else ending.log if ending else None
    notes = (report.get("notes") if own else ending.notes if ending else None) or []
    error = ending.error if ending else outcome.error if outcome and own else None
    size = (outcome.outputs.get("log", 0) if outcome else 0) if own else (log or {}).get("bytes", 0)
    truncated = isinstance(log, dict) and log.get("truncated") is True
    return ItemRecord(
        **_item(batch, ran),
        error=presentable(error),
        notes=presentable(notes if isinstance(notes, list) else []),
        result=output_table(_described(ran, "result"), _size(ran, "result")),
        result2=output_table(_described(ran, "result2"), _size(ran, "result2")),
        log={"bytes": size, "truncated": truncated} if ran.state.final else {},
        attempt=ran.job.attempt if ran.job is not None else 0,
        erasure=erasure_record(ran.job) if ran.job is not None else None,
        expires=expires_record(ran.job) if ran.job is not None else None,
    )


def table_of(ran: Ran, port: str) -> Input | None:
    """An item's table where it lies, as the input of an errand: a file of its own, or a window of its chunk's."""
    size = _size(ran, port)
    if size is None or ran.job is None:
        return None
    source = {"job": ran.job.id, "output": port}
    if ran.ending is None:
        return Input(blob=ran.job.output_blob(port), format="arrow", bytes=size, source=source)
    offset = int((_described(ran, port) or {})["offset"])
    return Input(blob=ran.job.output_blob("result"), format="arrow", bytes=size, source=source | {"output": "result"}, offset=offset)


def _summary(batch: Batch) -> dict[str, Any]:
    here = f"/v1/batches/{batch.id}"
    return {
        "id": batch.id,
        "isolation": batch.isolation,
        "items": batch.items,
        "labels": dict(batch.labels),
        "cancel_requested": batch.cancel_requested,
        "created_at": timestamp(batch.created_at) or "",
        "links": {"self": here, "items": f"{here}/items", "cancel": f"{here}/cancel"},
    }


def _item(batch: Batch, ran: Ran) -> dict[str, Any]:
    here = f"/v1/batches/{batch.id}/items/{ran.item.number}"
    ending, job, own = ran.ending, ran.job, ran.own_job
    outcome = job.outcome if job is not None else None
    message = ending.message if ending else outcome.message if outcome else ""
    spent = ending.milliseconds if ending else outcome.milliseconds.get("run") if outcome and own else None
    tables = [port for port in ("result", "result2") if _size(ran, port) is not None]
    there = [] if job is None else [*(tables if job.results_gone_at is None else []), *(["log"] if job.log_gone_at is None else [])]
    links = {"self": here, **{name: f"{here}/{name}" for name in (there if ran.state.final else [])}}
    return {
        "number": ran.item.number,
        "name": ran.item.name,
        "state": ran.state,
        "reason": ran.reason,
        "blame": ran.reason.blame if ran.reason else None,
        "message": presentable(message),
        "job": own.id if own else None,
        "retries": ran.item.retries,
        "milliseconds": spent,
        "rows": whole((_described(ran, "result") or {}).get("rows")),
        "links": links | ({"job": f"/v1/jobs/{own.id}"} if own else {}),
    }


def _described(ran: Ran, port: str) -> dict[str, Any] | None:
    said = getattr(ran.ending, port) if ran.ending else report_of(ran.own_job.outcome).get(port) if ran.own_job is not None else None
    return said if isinstance(said, dict) else None


def _size(ran: Ran, port: str) -> int | None:
    if ran.ending is not None:
        return whole((_described(ran, port) or {}).get("bytes"))
    return ran.own_job.outcome.outputs.get(port) if ran.own_job is not None and ran.own_job.outcome is not None else None
