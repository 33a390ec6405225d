"""Schemas of batches."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.expiry_schemas import Expires
from api.schemas import LIMITS_SCHEMA, ErasureRecord, OutputTable, Request, TableReference
from api.webhook_schemas import CALLBACK
from fumehood.batch import ITEMS_MAX, Isolation, OnFailure
from fumehood.job import State
from fumehood.outcome import Blame, Reason

_BATCH_ID = "bat_00000000000000000000000000000000"


class BatchItemDocument(Request):
    """One input. What it names wins over what the batch names for all."""

    name: str | None = Field(None, description="To recognise it by; one line of 200 characters at most.")
    dataset1: TableReference | None = Field(None, description="Id of a dataset, or an output of a job.")
    dataset2: TableReference | None = Field(None, description="Instead of the batch's `dataset2`.")
    parameters: dict[str, Any] = Field({}, description="Beside those of the batch, and before them where a name is the same.")


class BatchDocument(Request):
    """One script over many inputs. In a multipart request the part `batch` is this document; each part `item` is one item's `dataset1`:
    instead of `items`, or beside as many that name none. And `script`, `dataset2` and `bundle` may be parts as for a job."""

    script: str | None = Field(None, description="Python source that defines `azureml_main`.")
    dataset2: TableReference | None = Field(None, description="Second table of every item: id of a dataset, or an output of a job.")
    bundle: str | None = Field(None, description="Id of a dataset of format `zip`.")
    parameters: dict[str, Any] = Field({}, description="Keyword parameters of every item, 64 KiB at most with the item's own.")
    limits: dict[str, Any] = Field({}, description="Bounds of the run of one item.", json_schema_extra=LIMITS_SCHEMA)
    labels: dict[str, str] = Field({}, description="Of the batch; as those of a job.")
    callback_url: str | None = Field(None, description=f"{CALLBACK} Once, when its last item has ended.")
    isolation: Literal["item", "batch"] = Field(
        "item",
        description="`item`: every item is a job in a sandbox of its own. `batch`: up to 500 items follow each other in one sandbox, each "
        "in a process and an empty directory of its own; for thousands of small tables.",
    )
    on_failure: Literal["continue", "stop"] = Field(
        "continue",
        description="`stop`: the first item that fails, through its script or its input, cancels those that have not begun. What runs ends "
        "by itself.",
    )
    items: list[BatchItemDocument] | None = Field(None, description=f"1 to {ITEMS_MAX:,} inputs, in the order of their numbers from 0 on.")


class BatchSummary(BaseModel):
    """What a list shows of a batch."""

    id: str
    isolation: Isolation
    items: int = Field(description="How many.")
    labels: dict[str, str]
    cancel_requested: bool
    created_at: str
    links: dict[str, str]


class BatchPage(BaseModel):
    items: list[BatchSummary]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class Counts(BaseModel):
    """How many items are in each state."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class BatchRecord(BatchSummary):
    counts: Counts
    on_failure: OnFailure = Field(description="What the first failure of an item means for the others.")
    stopped_by: int | None = Field(description="Number of the item whose failure cancelled those that had not begun; else null.")
    finished_at: str | None = Field(description="When its last item ended; null as long as it has not.")
    callback_url: str | None = Field(description="Who is told of its end.")
    expires_at: str | None = Field(
        description="When all of it goes; null as long as it has not ended. Logs and results of its items may go before, as a job's do."
    )
    parameters: dict[str, Any]
    limits: dict[str, int | float]
    inputs: dict[str, dict[str, Any]] = Field(description="What all items share, by port.")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _BATCH_ID,
                    "isolation": "batch",
                    "items": 1000,
                    "labels": {"team": "chemistry"},
                    "cancel_requested": False,
                    "created_at": "2025-01-01T00:00:00.000Z",
                    "counts": {"queued": 0, "running": 0, "succeeded": 799, "failed": 1, "cancelled": 200},
                    "on_failure": "stop",
                    "stopped_by": 17,
                    "finished_at": "2025-01-01T00:00:10.000Z",
                    "callback_url": "https://example.com/hook",
                    "expires_at": "2025-04-01T00:00:10.000Z",
                    "parameters": {"threshold": 0.5},
                    "limits": {"wall_seconds": 60},
                    "inputs": {"script": {"format": "python", "bytes": 120}},
                    "links": {"self": f"/v1/batches/{_BATCH_ID}", "items": f"/v1/batches/{_BATCH_ID}/items"},
                }
            ]
        }
    )


class ItemSummary(BaseModel):
    """What a list shows of an item."""

    number: int
    name: str
    state: State
    reason: Reason | None = Field(description="How it ended; null as long as it has not.")
    blame: Blame | None
    message: str = Field(description="One sentence about the end.")
    job: str | None = Field(description="The job that is this item; null in isolation `batch`, and as long as it has none.")
    retries: int = Field(description="How often it was told to run again, in a new job each time; all else here is of the last.")
    milliseconds: float | None = Field(description="How long it ran.")
    rows: int | None = Field(description="Rows of its result.")
    links: dict[str, str]


class ItemPage(BaseModel):
    items: list[ItemSummary]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class ItemRecord(ItemSummary):
    """An item, whole. `error`, `notes` and the tables are the runner's word."""

    error: dict[str, Any] | None = Field(description="The script's exception, as in a job's record; shortened for a chunk's item.")
    notes: list[Any]
    result: OutputTable | None
    result2: OutputTable | None
    log: dict[str, Any] = Field(description="`bytes` and `truncated` of its log, once it is stored.")
    attempt: int
    erasure: ErasureRecord | None = Field(description="The receipt of the sandbox that it ran in.")
    expires: Expires | None = Field(description="When its log and its results go; the record goes with the batch.")
