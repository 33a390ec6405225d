"""Rows ↔ values: batches and their items as the schema stores them."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select

from fumehood.batch import Batch, Ending, Isolation, Item, OnFailure, Ran
from fumehood.job import Input, State
from fumehood.limits import Limits
from fumehood.outcome import Reason
from fumehood.quota import Retention
from fumehood.rows import job_from_row
from fumehood.schema import BATCH_ITEMS, BATCHES, JOBS

_INPUT_FIELDS = tuple(field.name for field in fields(Input))
STATE_OF_ITEM: ColumnElement[str] = func.coalesce(BATCH_ITEMS.c.state, JOBS.c.state, literal_column(f"'{State.QUEUED.value}'"))
"""Of an item beside its job, where it has one."""
WITHOUT_JOINED: dict[str, Any] = {"stored_bytes": BATCHES.c.stored_bytes - BATCHES.c.joined_bytes, "joined_bytes": 0}
"""A batch whose joined table is taken away."""


def batch_to_row(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "tenant": batch.tenant,
        "isolation": batch.isolation.value,
        "items": batch.items,
        "inputs": {port: asdict(given) for port, given in batch.inputs.items()},
        "parameters": batch.parameters,
        "limits": batch.limits.as_dict(),
        "labels": batch.labels,
        "callback_url": batch.callback_url,
        "on_failure": batch.on_failure.value,
        "cancel_requested": False,
        "retention": asdict(batch.retention) if batch.retention else None,
    }


def batch_from_row(row: Row[Any]) -> Batch:
    return Batch(
        id=row.id,
        tenant=row.tenant,
        isolation=Isolation(row.isolation),
        items=row.items,
        inputs={port: Input(**given) for port, given in row.inputs.items()},
        parameters=row.parameters,
        limits=Limits.from_dict(row.limits),
        labels=row.labels,
        callback_url=row.callback_url,
        on_failure=OnFailure(row.on_failure),
        stopped_by=row.stopped_by,
        cancel_requested=row.cancel_requested,
        retention=Retention(**row.retention) if row.retention else None,
        created_at=row.created_at,
    )


def item_to_row(batch: Batch, item: Item, job_id: str | None) -> dict[str, Any]:
    # Ten thousand times; `asdict` takes ten times as long.
    inputs = {port: {name: getattr(given, name) for name in _INPUT_FIELDS} for port, given in item.inputs.items()}
    return {"batch": batch.id, "number": item.number, "name": item.name, "job": job_id, "inputs": inputs, "parameters": item.parameters}


def item_from_row(row: Row[Any]) -> Item:
    inputs = {port: Input(**given) for port, given in (row.inputs or {}).items()}
    return Item(number=row.number, name=row.name, inputs=inputs, parameters=row.parameters or {}, retries=row.retries)


def select_ran() -> Select[Any]:
    own = [BATCH_ITEMS.c.number, BATCH_ITEMS.c.name, BATCH_ITEMS.c.ending, BATCH_ITEMS.c.retries]
    item = [BATCH_ITEMS.c.inputs.label("item_inputs"), BATCH_ITEMS.c.parameters.label("item_parameters")]
    return select(JOBS, *own, *item).select_from(BATCH_ITEMS.outerjoin(JOBS, JOBS.c.id == BATCH_ITEMS.c.job))


def ran_from_row(row: Row[Any]) -> Ran:
    inputs = {port: Input(**given) for port, given in (row.item_inputs or {}).items()}
    item = Item(number=row.number, name=row.name, inputs=inputs, parameters=row.item_parameters or {}, retries=row.retries)
    ending = Ending(**(row.ending | {"reason": Reason(row.ending["reason"])})) if row.ending else None
    return Ran(item=item, job=job_from_row(row) if row.id is not None else None, ending=ending)
