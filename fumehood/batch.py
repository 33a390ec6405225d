"""Batch: one script over many inputs. Its items are run by jobs: one each, or many in one (`Isolation`)."""

from __future__ import annotations

import math
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One input of a batch. What is its own stands beside what all share, and wins."""

    number: int
    name: str = ""
    inputs: dict[str, Input] = field(default_factory=dict)
    """Its own, by port: `dataset1`, `dataset2`."""
    parameters: dict[str, Any] = field(default_factory=dict)


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
    job: Job
    ending: Ending | None = None

    @property
    def state(self) -> State:
        if self.ending is None:
            return self.job.state
        return State.SUCCEEDED if self.ending.reason is Reason.OK else State.FAILED

    @property
    def reason(self) -> Reason | None:
        if self.ending is not None:
            return self.ending.reason
        return self.job.outcome.reason if self.job.outcome is not None else None


def chunk_sizes(items: int, slots: int) -> list[int]:
    """How many items each chunk takes: one chunk for each slot, as every further sandbox costs as much as some dozens of items; none
    so small that it costs more than its own."""
    size = max(CHUNK_ITEMS_LEAST, min(CHUNK_ITEMS_MOST, math.ceil(items / max(1, min(slots, CHUNKS_AT_ONCE_MOST)))))
    return [min(size, items - begin) for begin in range(0, items, size)]


def chunk_wall_seconds(items: int, wall_seconds: float, *, ceiling_seconds: float) -> float:
    """The wall limit of a chunk: that of all its items one after the other, as far as the service's ceiling allows."""
    return min(items * wall_seconds, max(ceiling_seconds, wall_seconds))


def jobs_of(batch: Batch, items: list[Item], *, attempts_max: int, ceiling_seconds: float, slots: int) -> list[tuple[Job, list[Item]]]:
    """The jobs that run a batch in `slots` that take jobs, in the order of its items, each with the items that it runs."""
    shared: dict[str, Any] = {"tenant": batch.tenant, "batch": batch.id, "attempts_max": attempts_max, "retention": batch.retention}
    if batch.isolation is Isolation.ITEM:
        return [
            (
                Job(
                    id=new_id("job"),
                    item=item.number,
                    inputs={**batch.inputs, **item.inputs},
                    parameters={**batch.parameters, **item.parameters},
                    limits=batch.limits,
                    **shared,
                ),
                [item],
            )
            for item in items
        ]
    made, begin = [], 0
    for size in chunk_sizes(len(items), slots):
        wall = chunk_wall_seconds(size, batch.limits.wall_seconds, ceiling_seconds=ceiling_seconds)
        limits = replace(batch.limits, wall_seconds=wall)
        job = Job(id=new_id("job"), kind=Kind.CHUNK, inputs=batch.inputs, parameters=batch.parameters, limits=limits, **shared)
        made.append((job, items[begin : begin + size]))
        begin += size
    return made
