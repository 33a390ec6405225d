"""Errands: what the service itself asks a sandbox to do with a tenant's bytes, because it never reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import anyio
import structlog

from api.desk import Desk
from api.waiting import wait_final
from fumehood.errors import BadRequest, Conflict, DiskFull, NotFound, Unavailable
from fumehood.job import Input, Job, Kind, State, new_id
from fumehood.limits import ERRAND_DISK_BYTES, FLOOR, MIB, Limits
from fumehood.outcome import Blame, Reason
from fumehood.settings import Settings
from fumehood.tenant import Tenant

log = structlog.get_logger()

FORGET_SECONDS = 120.0

# How many bytes one byte of input may become, and how much it may always: CSV holds an eight-byte number in two characters, and
# so does JSON; Arrow input may be compressed, and one bit of it becomes five letters of CSV, or of JSON with its name before it;
# Parquet writes a column of equal values in a few bytes.
GROWTH: dict[str, tuple[int, int]] = {
    "csv": (16, 16 * MIB),
    "json": (16, 16 * MIB),
    "ndjson": (16, 16 * MIB),
    "arrow": (32, 256 * MIB),
    "arrow-stream": (32, 256 * MIB),
    "parquet": (64, 256 * MIB),
    "zip": (0, 1 * MIB),
}
PROFILE_BYTES = 2 * MIB  # as docs/wall.md bounds it

# What remains of the wait for taking the ticket, starting the container and publishing. Without it a table that takes too long
# would be told as «no sandbox was free», with the advice to try again, for ever.
AROUND_THE_RUN_SECONDS = 5.0

# The endings that the worker tells in words about a script, in words about the bytes. `bad_input` has the runner's own.
SENTENCES: dict[Reason, str] = {
    Reason.TIMED_OUT: "the bytes are too large to be read within {wall_seconds:g} seconds",
    Reason.OUT_OF_MEMORY: "reading the bytes takes more than {memory_bytes:,} bytes of memory, which is the limit",
    Reason.OUTPUT_TOO_LARGE: "what is made of the bytes is larger than {output_bytes:,} bytes, which is the limit",
    Reason.DISK_FULL: "reading the bytes takes more than {disk_bytes:,} bytes of disk, which is the limit",
    Reason.TOO_MANY_PROCESSES: "reading the bytes takes more than {processes:,} processes and threads, which is the limit",
    Reason.CRASHED: "the reader crashed on these bytes",
}


def describe_limits(settings: Settings, *, format: str, size_bytes: int) -> Limits:
    """For an upload: what may become of it as an Arrow file; for a stored table: in any other form."""
    factor, always = GROWTH[format]
    return _limits(settings, factor * size_bytes + always)


def join_limits(settings: Settings, *, size_bytes: int) -> Limits:
    """For tables of `size_bytes` together as one: a column that few of them have takes room in all rows."""
    return _limits(settings, 4 * size_bytes + 64 * MIB)


def profile_limits(settings: Settings) -> Limits:
    return _limits(settings, PROFILE_BYTES)


def _limits(settings: Settings, output_bytes: int) -> Limits:
    """Just enough: an errand reserves disk by its `output_bytes`, and a small upload must not wait for gigabytes."""
    wait = settings.errand_wait_seconds
    wall = min(max(wait - AROUND_THE_RUN_SECONDS, wait / 2, FLOOR["wall_seconds"]), settings.ceiling.wall_seconds)
    output = max(int(FLOOR["output_bytes"]), min(output_bytes, settings.ceiling.output_bytes))
    return replace(
        settings.limits,
        wall_seconds=wall,
        output_bytes=output,
        disk_bytes=min(ERRAND_DISK_BYTES, settings.limits.disk_bytes),
    )


@asynccontextmanager
async def errand(
    desk: Desk,
    tenant: Tenant,
    *,
    kind: Kind,
    source: Input,
    limits: Limits,
    target_format: str | None = None,
    parameters: dict[str, Any] | None = None,
    gone: Callable[[], Awaitable[bool]],
) -> AsyncIterator[Job]:
    """The succeeded errand, while its output still lies in the store; afterwards nothing of it is left.

    Raises:
        BadRequest: the bytes are at fault, in the runner's words, or too large for the limits.
        Unavailable: no sandbox was free in time, or none soon enough to end in it, or the service failed.
    """
    job = Job(
        id=new_id("job"),
        tenant=tenant.id,
        kind=kind,
        inputs={"dataset1": source},
        limits=limits,
        target_format=target_format,
        parameters=parameters or {},
        attempts_max=2,
    )
    structlog.contextvars.bind_contextvars(errand=job.id)
    await require_space(desk, job.reserved_bytes)
    job = (await desk.ask(desk.store.submit, job)).job
    try:
        await desk.ask(desk.queue.send_ticket, kind.lane)
        job = await wait_final(desk, job, desk.settings.errand_wait_seconds, gone)
        _require_success(job, desk.settings.errand_wait_seconds)
        yield job
    finally:
        if job.state.final:
            with anyio.CancelScope(shield=True):
                await _forget(desk, job)
        else:
            desk.later(_abandon(desk, job))


async def require_space(desk: Desk, needed_bytes: int) -> None:
    """Raises DiskFull where the store's file system could not hold what is about to be taken on."""
    await desk.file(check_space, desk, needed_bytes)


def check_space(desk: Desk, needed_bytes: int) -> None:
    """The same, for who is in a thread already."""
    free, floor = desk.blobs.free_bytes(), desk.settings.disk_floor_bytes
    if free < floor + needed_bytes:
        # How many there are is the operator's to know: of two answers the difference would be what another tenant has stored.
        log.info("disk full", free_bytes=free, needed_bytes=needed_bytes, floor_bytes=floor)
        raise DiskFull(f"too few bytes are free for the {needed_bytes:,} that this needs", retry_after_seconds=30)


def _require_success(job: Job, waited_seconds: float) -> None:
    if job.state is State.SUCCEEDED:
        return
    outcome = job.outcome
    if outcome is None or not job.state.final:
        late = "the sandbox had not ended" if job.state is State.RUNNING else "no sandbox was free"
        raise Unavailable(f"{late} within {waited_seconds:g} seconds; nothing was stored", retry_after_seconds=5)
    if outcome.reason in SENTENCES:
        raise BadRequest(SENTENCES[outcome.reason].format_map(job.limits.as_dict()))
    if outcome.reason.blame is Blame.TENANT:
        raise BadRequest(outcome.message or f"the bytes cannot be used: {outcome.reason}")
    raise Unavailable(f"the sandbox failed ({outcome.reason}); nothing was stored", retry_after_seconds=5)


async def _forget(desk: Desk, job: Job) -> None:
    def row() -> None:
        with suppress(NotFound):
            desk.store.delete_job(job.tenant, job.id)

    await desk.forget(job.tenant, job.blob_prefix, row)
    await desk.ask(desk.events.forget, job.id)


async def _abandon(desk: Desk, job: Job) -> None:
    """End an errand that nobody waits for, and forget it when it has ended."""
    try:
        job = await desk.ask(desk.store.request_cancel, job.tenant, job.id)
        if job.state.final:
            await desk.ask(desk.events.publish, job.id, "end", {"state": job.state.value, "reason": "cancelled"})
    except Conflict:
        job = await desk.ask(desk.store.get_job, job.tenant, job.id)
    except NotFound:
        return

    async def nobody() -> bool:
        return False

    job = await wait_final(desk, job, FORGET_SECONDS, nobody)
    if job.state.final:
        await _forget(desk, job)
