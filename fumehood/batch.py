"""Batch: one script over many inputs. Its items are run by jobs: one each, or many in one (`Isolation`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fumehood.job import Input, Job, Kind, State, new_id
from fumehood.limits import KIB, MIB, Limits
from fumehood.outcome import Reason
from fumehood.quota import DAY_SECONDS, Retention

ITEMS_MAX = 10_000
ITEM_BYTES = 64 * MIB
"""Largest table that is sent with a batch; a larger one is stored as a dataset first."""
JOBS_PARAMETERS_BYTES = 32 * MIB
"""Parameters of all jobs of a batch whose items are jobs, those that they share counted in each: a small request must not fill the
store."""
PACK_ALIGNMENT_BYTES = 64
"""Tables lie in a pack as Arrow wants its buffers to lie."""

CHUNK_ITEMS_LEAST, CHUNK_ITEMS_MOST = 25, 500
# What is lost with one batch in as many slots, others may wait for.
CHUNKS_AT_ONCE_MOST = 16

ITEM_REPORT_BYTES = 8 * KIB
"""What a chunk's report may say about one item."""


class Isolation(StrEnum):
    """
    item        every item is a job like any other, in a sandbox of its own
    batch       the items of a chunk follow each other in one sandbox, each in a process and a directory of its own
    """

    ITEM = "item"
    BATCH = "batch"


class OnFailure(StrEnum):
    """
    continue    every item runs, whatever comes of the others
    stop        the first item that fails, through its tenant's doing, cancels those that have not begun; what runs ends by itself
    """

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What the jobs of a batch are made with, besides what it says itself."""

    attempts_max: int
    ceiling_seconds: float
    """The longest wall limit of a chunk."""
    slots: int
    """How many take jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One input of a batch. What is its own stands beside what all share, and wins."""

    number: int
    name: str = ""
    inputs: dict[str, Input] = field(default_factory=dict)
    """Its own, by port: `dataset1`, `dataset2`."""
    parameters: dict[str, Any] = field(default_factory=dict)
    retries: int = 0
    """How often its tenant had it run again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    id: str
    tenant: str
    isolation: Isolation = Isolation.ITEM
    items: int
    """How many."""
    inputs: dict[str, Input] = field(default_factory=dict)
    """Shared by all items, by port: `script`, `bundle`, `dataset2`."""
    parameters: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    """Of each item; a chunk's own wall limit is longer, its other limits are these."""
    labels: dict[str, str] = field(default_factory=dict)
    callback_url: str | None = None
    """Who is told of its end; of its jobs nobody is."""
    retention: Retention | None = field(default_factory=Retention)
    """As of a job; its jobs have the same."""
    on_failure: OnFailure = OnFailure.CONTINUE
    stopped_by: int | None = None
    """Number of the item whose failure cancelled those that had not begun; None where none did."""
    cancel_requested: bool = False
    created_at: float = 0.0
    finished_at: float | None = None
    counts: dict[State, int] = field(default_factory=dict)
    """How many items are in each state."""

    @property
    def final(self) -> bool:
        return self.finished_at is not None

    @property
    def expires_at(self) -> float | None:
        """When all of it goes, once it has ended."""
        if self.finished_at is None or self.retention is None:
            return None
        return self.finished_at + self.retention.record_days * DAY_SECONDS

    @property
    def blob_prefix(self) -> str:
        """Where all of it lies: what came with the request, and what its jobs leave."""
        return f"batches/{self.id}"

    @property
    def joined_prefix(self) -> str:
        """Where its results lie as one table, once that was asked for."""
        return f"{self.blob_prefix}/joined"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How one item of a chunk ended, in the words of the chunk's runner; what lies where in the chunk's outputs."""

    number: int
    reason: Reason
    message: str = ""
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    """`rows`, `columns`, and `offset`, `bytes` in the chunk's `result`; None where there is none."""
    result2: dict[str, Any] | None = None
    """The second table, in the chunk's `result` too."""
    log: dict[str, Any] = field(default_factory=dict)
    """`offset`, `bytes` in the chunk's `log`, and `truncated`."""
    notes: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """An item and the job that runs it. Without an `ending` of its own it ends as its job does."""

    item: Item
    job: Job | None
    """None as long as it waits without one, and where it was cancelled before it had one."""
    ending: Ending | None = None

    @property
    def state(self) -> State:
        if self.ending is not None:
            return {Reason.OK: State.SUCCEEDED, Reason.CANCELLED: State.CANCELLED}.get(self.ending.reason, State.FAILED)
        return self.job.state if self.job is not None else State.QUEUED

    @property
    def reason(self) -> Reason | None:
        if self.ending is not None:
            return self.ending.reason
        return self.job.outcome.reason if self.job is not None and self.job.outcome is not None else None

    @property
    def own_job(self) -> Job | None:
        """The job that is this item; None where many share one, or there is none."""
        return self.job if self.job is not None and self.job.item is not None else None


def chunk_sizes(items: int, slots: int) -> list[int]:
    """How many items each chunk takes: one chunk for each slot, as every further sandbox costs as much as some dozens of items; none
    so small that it costs more than its own."""
    size = max(CHUNK_ITEMS_LEAST, min(CHUNK_ITEMS_MOST, math.ceil(items / max(1, min(slots, CHUNKS_AT_ONCE_MOST)))))
    return [min(size, items - begin) for begin in range(0, items, size)]


def chunk_wall_seconds(items: int, wall_seconds: float, *, ceiling_seconds: float) -> float:
    """The wall limit of a chunk: that of all its items one after the other, as far as the service's ceiling allows."""
    return min(items * wall_seconds, max(ceiling_seconds, wall_seconds))


def job_of(batch: Batch, item: Item, *, attempts_max: int) -> Job:
    """The job that is an item."""
    return Job(
        id=new_id("job"),
        tenant=batch.tenant,
        batch=batch.id,
        item=item.number,
        inputs={**batch.inputs, **item.inputs},
        parameters={**batch.parameters, **item.parameters},
        limits=batch.limits,
        attempts_max=attempts_max,
        retention=batch.retention,
    )


def chunks_of(batch: Batch, items: Sequence[Item], terms: Terms) -> list[tuple[Job, Sequence[Item]]]:
    """The jobs that run many items each, in the order of the items, each with those that it runs."""
    made, begin = [], 0
    for size in chunk_sizes(len(items), terms.slots):
        wall = chunk_wall_seconds(size, batch.limits.wall_seconds, ceiling_seconds=terms.ceiling_seconds)
        job = Job(
            id=new_id("job"),
            tenant=batch.tenant,
            batch=batch.id,
            kind=Kind.CHUNK,
            inputs=batch.inputs,
            parameters=batch.parameters,
            limits=replace(batch.limits, wall_seconds=wall),
            attempts_max=terms.attempts_max,
            retention=batch.retention,
        )
        made.append((job, items[begin : begin + size]))
        begin += size
    return made
