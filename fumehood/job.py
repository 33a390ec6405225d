"""Job: one run of a script (or one of the service's own errands on a dataset), and its only state machine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fumehood.limits import Limits
from fumehood.outcome import Erasure, Outcome
from fumehood.quota import Retention


class State(StrEnum):
    """
    queued      entered by `submit`, and again when an attempt is handed back; left by `claim` or `cancel`
    running     entered by `claim`; left by `finish`, `give_back`
    succeeded   final: the script returned and its result is published. A job begins in it, by `submit_cached`, where it has the result
                of an earlier one: it was never queued and never ran
    failed      final: any reason but `ok`, `cancelled`; out of `queued` only as `expired`, which no verb brings about yet
    cancelled   final: somebody asked for it
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


class Kind(StrEnum):
    """What the sandbox is asked to do. Errands are the service's own jobs: they never appear in a tenant's lists."""

    SCRIPT = "script"
    DESCRIBE = "describe"
    CONVERT = "convert"
    PROFILE = "profile"
    JOIN = "join"
    """The results of the items of a batch as one table. `parameters` names the batch, `dataset1` is one of its results."""
    CHUNK = "chunk"
    """Many items of one batch, one after the other in one sandbox: the tenant's own work, shown item by item."""
    CHECK = "check"
    """A run of a script's version on its sample: how it ends decides whether the version is ready."""
    SCORE = "score"
    """A call of a script's version, whose caller waits for the answer."""

    @property
    def lane(self) -> Lane:
        return Lane.JOBS if self.runs_scripts else Lane.ERRANDS

    @property
    def runs_scripts(self) -> bool:
        return self in (Kind.SCRIPT, Kind.CHUNK, Kind.CHECK, Kind.SCORE)

    @property
    def shown(self) -> bool:
        """Whether its tenant sees it as a job: in lists, by its id, in events and in the audit log."""
        return self.value in SHOWN


SHOWN = (Kind.SCRIPT.value, Kind.CHECK.value, Kind.SCORE.value)


class Lane(StrEnum):
    """Which slots may claim a job: errands have slots of their own, so that an upload never waits behind a long script."""

    JOBS = "jobs"
    ERRANDS = "errands"


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One connected port: a blob of the job's tenant and its format."""

    blob: str
    """Key in the blob store."""
    format: str
    bytes: int
    dataset: str | None = None
    """The dataset's id, where the input is a stored one."""
    source: dict[str, str] | None = None
    """`{"job": id, "output": "result"}` where the input is another job's output."""
    version: str | None = None
    """The id of the script's version whose file it is."""
    offset: int | None = None
    """Where the input begins in its blob, and it has `bytes`; None where it is the whole blob."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The job that a result is of. It may have been deleted since."""

    job: str
    finished_at: float


QUEUE_COUNTED = 1000
"""A place in the queue is counted so far: whoever is behind a thousand others has no use for the rest, and counting takes time."""

PRIORITIES = range(-10, 11)

PORTS = ("script", "dataset1", "dataset2", "bundle")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One row of the truth, frozen at the moment it was read."""

    id: str
    tenant: str
    kind: Kind = Kind.SCRIPT
    inputs: dict[str, Input] = field(default_factory=dict)
    """By port: `script`, `dataset1`, `dataset2`, `bundle`."""
    parameters: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    labels: dict[str, str] = field(default_factory=dict)
    target_format: str | None = None
    """What a convert makes of its table; of a job that runs a script, what the runner writes its result in, where that is not Arrow."""
    batch: str | None = None
    """The batch that it belongs to; `item` is the number there, None for a chunk."""
    item: int | None = None
    attempts_max: int = 3
    priority: int = 0
    """Within its tenant's queue: PRIORITIES, the highest first."""
    callback_url: str | None = None
    """Who is told of its end."""
    traceparent: str | None = None
    """The span that submitted it (fumehood.tracing), where traces are on."""
    cache_key: str | None = None
    """What the result cache knows it by (`fumehood.cache`); None where the cache was not asked for."""
    cached_from: Origin | None = None
    """Whose result it has; None where it ran, or was to run."""
    retention: Retention | None = field(default_factory=Retention)
    """The lifetimes that its tenant had when it was submitted; None where nothing of it expires."""

    state: State = State.QUEUED
    attempt: int = 0
    """How often it was claimed; names the attempt that is running or was last."""
    fence: int = 0
    """Rises with every claim and every taking-back; a write that names an older one is dropped."""
    beat: int = 0
    """Rises while a worker holds the lease; a beat that stands still is an expired lease."""
    worker: str | None = None
    sandbox: str | None = None
    """Name of the container of the current attempt, set before its go line."""
    scratch: str | None = None
    cancel_requested: bool = False
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    outcome: Outcome | None = None
    erasure: Erasure | None = None
    log_gone_at: float | None = None
    results_gone_at: float | None = None
    """When its log and its results expired; what they were stays in the record."""
    queue_position: int | None = None
    """Jobs of its own tenant and lane ahead of this one, while queued; QUEUE_COUNTED means that many or more. Only where a single
    record is read, as `estimated_start_at`."""
    estimated_start_at: float | None = None

    @property
    def blob_prefix(self) -> str:
        """Where the job's own blobs live (its script and inline files, and each attempt's outputs)."""
        return f"jobs/{self.id}" if self.batch is None else f"batches/{self.batch}/{self.id}"

    @property
    def reserved_bytes(self) -> int:
        """Disk that an attempt may fill. A script can write to every output; an errand runs the runner alone, which fills one."""
        return self.limits.reserved_bytes if self.kind.runs_scripts else self.limits.file_bytes

    def output_format(self, name: str) -> str:
        """Of a table that it left."""
        asked = self.target_format if name == "result" and self.kind.runs_scripts else None
        return asked or "arrow"

    def output_blob(self, name: str) -> str:
        """Key of an output of the last attempt. The fence is part of it: a stale attempt writes elsewhere."""
        return f"{self.blob_prefix}/{self.fence}/{name}"


def new_id(prefix: str) -> str:
    """An unguessable id such as `job_9f…` (128 random bits)."""
    return f"{prefix}_{secrets.token_hex(16)}"
