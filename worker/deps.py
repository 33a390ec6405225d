"""Deps: what the rooms of the journey and the worker's chores work with, and the few steps that both take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from fumehood import notices
from fumehood.blob_store import BlobStore
from fumehood.errors import StoreUnavailable
from fumehood.job import Job, Lane, State
from fumehood.job_store import JobStore
from fumehood.log import said
from fumehood.outcome import Erasure
from worker.live_log import Publishes
from worker.sandbox import Container, SandboxHost
from worker.scratch import Removed
from worker.telemetry import Telemetry
from worker.warm_pool import WarmPool

log = structlog.get_logger(__name__)


class Tickets(Protocol):
    def send_ticket(self, lane: Lane) -> bool: ...


def unsigned(erasure: Erasure) -> Erasure:
    """What signs where there is no key."""
    return erasure


@dataclass(frozen=True, kw_only=True, slots=True)
class Deps:
    """What the rooms work with. `doubt` hears of every fault of the service's own: claim nothing until it was looked into."""

    home: Path
    worker: str
    store: JobStore
    blobs: BlobStore
    events: Publishes
    queue: Tickets
    host: SandboxHost
    pool: WarmPool | None = None
    """None where every sandbox is started for its job."""
    sign: Callable[[Erasure], Erasure] = unsigned
    """Signs receipts."""
    telemetry: Telemetry = field(default_factory=Telemetry)
    """What is counted and told of the attempts."""
    doubt: Callable[[str], None]
    floor_bytes: int
    """Free disk below which the service takes no work."""
    beat_seconds: float
    lease_seconds: float
    engine_seconds: float
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep


def receipt(job: Job, deps: Deps, container: Container | None, files: Removed) -> Erasure:
    """Of the attempt `job`, now that its container and `files` were looked for and are gone; signed."""
    erasure = Erasure(
        job=job.id,
        attempt=job.attempt,
        fence=job.fence,
        worker=deps.worker,
        container=container.name if container else None,
        container_id=container.id if container else None,
        began_at=container.began_at if container else None,
        files=files.files,
        bytes=files.bytes,
        erased_at=deps.now(),
    )
    return deps.sign(erasure)


def announce(events: Publishes, job: Job) -> None:
    """Tell those who follow a job, its batch or its tenant what its row says now."""
    reason = job.outcome.reason if job.outcome is not None else None
    state: dict[str, Any] = {"state": str(job.state), "reason": str(reason) if reason is not None else None}
    told: list[tuple[str, dict[str, Any]]] = [("state", state)]
    if job.state is State.RUNNING:
        told.insert(0, ("attempt", {"attempt": job.attempt}))
    if job.state.final:
        told.append(("end", state))
    events.publish_all(job.id, told, notices.of_job(job))


def discard(blobs: BlobStore, job: Job) -> None:
    """Take away what the attempt `job` (its fence) published; only once it is certain that the attempt does not count."""
    try:
        blobs.delete(job.tenant, f"{job.blob_prefix}/{job.fence}")
    except Exception as error:  # It is nobody's output and goes with the job.
        log.warning("outputs of a stale attempt not removed", job=job.id, fence=job.fence, error=said(error))


def insist(deps: Deps, move: Callable[[], Job]) -> Job:
    """Try again while the store is away, for as long as a lease may be silent."""
    deadline = deps.monotonic() + deps.lease_seconds
    while True:
        try:
            return move()
        except StoreUnavailable:
            if deps.monotonic() >= deadline:
                raise
        deps.pause(deps.beat_seconds)
