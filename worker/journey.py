"""The journey: carries one claimed job through the rooms. `carry` is the only function that knows their order.

stage → run → collect → publish → erase → finish. Blame decides where it ends: what is the tenant's own doing is published and
finished; what is the service's is erased and handed back, to be run again. Nothing is finished or handed back before the
attempt's container and files were looked for and found gone; where that fails, the job stays running for the reaper.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from fumehood.errors import LeaseLost, NotFound, StoreUnavailable
from fumehood.job import Job, Kind, State
from fumehood.log import about, said
from fumehood.outcome import Blame, Erasure, Outcome, Reason, Usage
from worker import prepared
from worker.chunk import StagedItems, stage_items
from worker.collect import Report, collect
from worker.deps import Deps, announce, discard, insist, receipt
from worker.expected import expected_of
from worker.join import stage_results
from worker.lease import Lease
from worker.live_log import LiveLog
from worker.rooms import Rooms
from worker.sandbox import Container, Exit, Sandbox, Stop, StopSignal
from worker.scratch import OUTPUTS, Removed, Scratch
from worker.shelf import Offer
from worker.verdict import judge

log = structlog.get_logger(__name__)

FILE_OF_PORT = {**prepared.FILES, "dataset1": "dataset1", "dataset2": "dataset2"}
FILE_OF_OUTPUT = {"result": "result.arrow", "result2": "result2.arrow", "files": "files.bin", "log": "log"}
# What is not an input of the job's own.
STAGES_MORE = {Kind.CHUNK: stage_items, Kind.JOIN: stage_results}
# Published from every run that was not the service's fault, and only from one that succeeded.
ALWAYS = ("files", "log")
ON_SUCCESS = ("result", "result2")

# We ended the run for a reason that is not the job's: nothing of it counts.
HANDS_BACK = {
    Stop.SHUTDOWN: Outcome(reason=Reason.SANDBOX_ERROR, message="The worker was shut down while the job ran."),
    Stop.LEASE_LOST: Outcome(reason=Reason.LOST, message="The worker lost touch with the job store while the job ran."),
}
NEVER_RAN = Exit(
    exit_code=None, oom_killed=False, stopped=None, ready=False, done=False, wall_seconds=0.0, cpu_seconds=0.0, memory_peak_bytes=0
)
NO_POOL = Offer(None, "there is no warm pool")
SERVICE_FAULT = "The service could not run this job; that was not the script's fault."


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    job: Job
    scratch: Scratch
    sandbox: str
    """The container's name, already in the row although there may be no container yet."""
    bytes_in: int
    items: StagedItems
    """None but of a chunk."""


@dataclass(slots=True)
class Bench:
    """What of this attempt may exist on this machine: filled in before it is made, so that `erase` misses nothing."""

    scratch: Scratch | None = None
    sandbox: str | None = None
    removed: Container | None = None
    opened: Sandbox | None = None
    start: str | None = None
    start_reason: str | None = None
    laid: Collection[str] = ()
    """Ports whose files lie in the scratch already."""


def carry(job: Job, deps: Deps, stop: StopSignal) -> Job | None:
    """Take a claimed job to its end. Returns the row afterwards; None where it is not ours any more, or left to the reaper."""
    rooms, bench = Rooms(deps.monotonic), Bench()
    announce(deps.events, job)
    with (
        structlog.contextvars.bound_contextvars(**about(job)),
        deps.pool.running() if deps.pool is not None else nullcontext(),
        Lease(
            deps.store,
            job,
            stop,
            beat_seconds=deps.beat_seconds,
            lease_seconds=deps.lease_seconds,
            # Staging, starting, killing, erasing: each waits for the engine at most once.
            held_seconds=job.limits.wall_seconds + 90 + 3 * deps.engine_seconds + deps.lease_seconds,
            monotonic=deps.monotonic,
        ),
    ):
        try:
            with rooms.enter("stage"):
                staged = stage(job, deps, bench)
            with rooms.enter("run"):
                exit = run(staged, deps, bench, stop)
            if exit.stopped in HANDS_BACK:
                outcome = HANDS_BACK[exit.stopped]
            else:
                with rooms.enter("collect"):
                    report = collect(staged.scratch, job.limits, items=staged.items.numbers)
                outcome = excused(judge(exit, report), staged, deps)
                if outcome.reason.blame is Blame.SERVICE:
                    log.error("sandbox failed", job=job.id, attempt=job.attempt, reason=outcome.reason, engine_error=exit.engine_error)
                    # Not for what a script can bring about by itself: that would let one tenant hold up the others.
                    if exit.engine_error is not None or not exit.ready:
                        deps.doubt("the last sandbox did not start or the engine failed it")
                else:
                    with rooms.enter("publish"):
                        outcome = publish(staged, exit, report, outcome, deps)
        except LeaseLost:
            stop.set(Stop.LEASE_LOST)
            outcome = HANDS_BACK[Stop.LEASE_LOST]
        except Exception as error:  # Whatever the tenant does comes out as an Exit; what is raised is ours.
            log.error("attempt failed", job=job.id, attempt=job.attempt, room=rooms.current, exc_info=error)
            # No more than that: why a worker is not ready is told to everybody.
            deps.doubt(f"the last attempt failed in {rooms.current}")
            outcome = Outcome(reason=Reason.SANDBOX_ERROR, message=SERVICE_FAULT)
        with rooms.enter("erase"):
            erasure = erase(job, deps, bench)
        outcome = replace(
            outcome,
            milliseconds=outcome.milliseconds | rooms.milliseconds,
            image=deps.host.image,
            start=bench.start,
            start_reason=bench.start_reason,
        )
        counts = stop.reason is not Stop.SHUTDOWN
        after = finish(job, outcome, erasure, deps, count_attempt=counts) if erasure is not None else None
        deps.telemetry.attempt(job, outcome, after, rooms, now=deps.now)
        return after


# the rooms ------------------------------------------------------------------------------------------------------------


def stage(job: Job, deps: Deps, bench: Bench) -> Staged:
    """Choose the sandbox and lay out the inputs and the request. The row names scratch and sandbox before anything is put there."""
    scratch, sandbox = _place(job, deps, bench)
    bytes_in = 0
    for port, given in job.inputs.items():
        if port in bench.laid:
            bytes_in += given.bytes
        elif given.offset is None:
            bytes_in += deps.blobs.link_into(job.tenant, given.blob, scratch.inside, FILE_OF_PORT[port])
        else:
            # What lies beside it in the blob is for other jobs.
            window = {"offset": given.offset, "length": given.bytes}
            bytes_in += deps.blobs.copy_into(job.tenant, given.blob, scratch.inside, FILE_OF_PORT[port], **window)
    stage_more = STAGES_MORE.get(job.kind)
    items = stage_more(job, deps.store, deps.blobs, scratch.inside) if stage_more is not None else StagedItems()
    write_request(scratch.inside / "request.json", job, items.request | expected_of(job, deps.store))
    return Staged(job=job, scratch=scratch, sandbox=sandbox, bytes_in=bytes_in + items.bytes_in, items=items)


def _place(job: Job, deps: Deps, bench: Bench) -> tuple[Scratch, str]:
    """A sandbox that waits, or the directory of one to be made; in the bench, and named by the row."""
    with deps.pool.offer(job) if deps.pool is not None else nullcontext(NO_POOL) as offer:
        ready, bench.start_reason = offer.sandbox, offer.reason
        bench.start = "prepared" if offer.prepared else "warm" if offer.reason is None else "cold"
        bench.laid = prepared.FILES if offer.prepared else ()
        if ready is not None:
            bench.opened, bench.sandbox, bench.scratch = ready, ready.name, ready.scratch
        else:
            bench.scratch = Scratch.create(deps.home, worker=deps.worker)
        sandbox = bench.sandbox or deps.host.name_of(bench.scratch)
        if job.sandbox != sandbox:
            deps.store.name_sandbox(job, sandbox=sandbox, scratch=bench.scratch.name)
    return bench.scratch, sandbox


def run(staged: Staged, deps: Deps, bench: Bench, stop: StopSignal) -> Exit:
    """One container, from its creation to its death. Facts only."""
    if stop.reason is not None:
        return replace(NEVER_RAN, stopped=stop.reason)
    if bench.opened is None:
        bench.sandbox = staged.sandbox
        bench.opened = deps.host.prepare(staged.scratch, staged.job.limits)
    live_log = LiveLog(staged.job, staged.scratch, deps.events, monotonic=deps.monotonic)
    exit = bench.opened.run(staged.job.limits, stop=stop, on_log=live_log.grown)
    live_log.grown(staged.scratch.size("log"))
    # A cancel was accepted while the run was just ending by itself: the promise was «ends as cancelled».
    if stop.reason is Stop.CANCELLED and exit.stopped is None:
        exit = replace(exit, stopped=Stop.CANCELLED)
    return exit


def excused(outcome: Outcome, staged: Staged, deps: Deps) -> Outcome:
    """`disk_full` is the script's own doing only while the host has room: scripts write to memory, outputs to the host's disk.

    The attempt was promised `reserved_bytes`. Where what it wrote and what is free now are less than that, others had it.
    """
    if outcome.reason is not Reason.DISK_FULL:
        return outcome
    free_bytes = deps.blobs.free_bytes()
    had_bytes = free_bytes + sum(staged.scratch.size(file) for file in OUTPUTS)
    if free_bytes >= deps.floor_bytes and had_bytes >= staged.job.reserved_bytes:
        return outcome
    deps.doubt(f"the disk was full while a job ran: {free_bytes:,} bytes are free")
    return Outcome(reason=Reason.SANDBOX_ERROR, message="The host's disk was full while the job ran.")


def publish(staged: Staged, exit: Exit, report: Report, outcome: Outcome, deps: Deps) -> Outcome:
    """Link what the run left into the blob store, below the attempt's own fence.

    The log always, the files where the report lists some (else nobody could ask for a byte of them), the rest unless empty.
    """
    job, scratch = staged.job, staged.scratch
    finished: dict[str, tuple[int, Path]] = {}
    names = (*ON_SUCCESS, *ALWAYS) if outcome.reason is Reason.OK else ALWAYS
    for name in names:
        file = FILE_OF_OUTPUT[name]
        if name == "log" or (scratch.size(file) and (name != "files" or report.files)):
            finished[job.output_blob(name)] = (scratch.descriptors[file], scratch.outside[file])
    sizes = deps.blobs.publish_all(job.tenant, finished)
    outputs = {name: sizes[job.output_blob(name)] for name in names if job.output_blob(name) in sizes}
    usage = Usage(
        wall_seconds=exit.wall_seconds,
        cpu_seconds=exit.cpu_seconds,
        memory_peak_bytes=exit.memory_peak_bytes or report.memory_peak_bytes or 0,
        bytes_in=staged.bytes_in,
        bytes_out=sum(outputs.values()),
    )
    phases = {f"run.{phase}": milliseconds for phase, milliseconds in (exit.milliseconds | report.milliseconds).items()}
    return replace(outcome, outputs=outputs, usage=usage, milliseconds=outcome.milliseconds | phases)


def erase(job: Job, deps: Deps, bench: Bench) -> Erasure | None:
    """Remove the container and the files, and look that both are gone. None where that could not be had in time."""
    deadline = deps.monotonic() + deps.engine_seconds
    while True:
        try:
            return _erase_once(job, deps, bench)
        except Exception as error:
            deps.doubt(f"the last attempt could not be erased: {said(error)}")
            if deps.monotonic() >= deadline:
                log.error("attempt not erased; left to the reaper", job=job.id, attempt=job.attempt, error=said(error))
                return None
        deps.pause(deps.beat_seconds)


def finish(job: Job, outcome: Outcome, erasure: Erasure, deps: Deps, *, count_attempt: bool) -> Job | None:
    """One atomic step to a final state, or back to the queue. A stale attempt takes its outputs away and says no more."""
    ours_to_answer = outcome.reason.blame is not Blame.SERVICE
    if not ours_to_answer:
        discard(deps.blobs, job)

    def move() -> Job:
        if ours_to_answer:
            return deps.store.finish(job, outcome, erasure)
        return deps.store.give_back(job, erasure, outcome, count_attempt=count_attempt)

    try:
        after = insist(deps, move)
    except LeaseLost:
        known, row = _row(job, deps)
        # Our own first try may have been the one that got through, only its answer lost.
        if row is None or row.fence != job.fence or not row.state.final:
            log.warning("stale attempt dropped", job=job.id, attempt=job.attempt, fence=job.fence)
            if known:
                discard(deps.blobs, job)
            return None
        after = row
    except Exception as error:
        # Whether the step was taken is not known, so its outputs stay: the reaper knows, once the store answers.
        log.error("the store does not take the outcome; job left to the reaper", job=job.id, attempt=job.attempt, error=said(error))
        return None
    announce(deps.events, after)
    log.info(
        "job finished" if after.state.final else "job handed back",
        job=job.id,
        kind=job.kind,
        attempt=job.attempt,
        state=after.state,
        reason=outcome.reason,
        wall_seconds=round(outcome.usage.wall_seconds, 3),
        cpu_seconds=round(outcome.usage.cpu_seconds, 3),
        memory_peak_bytes=outcome.usage.memory_peak_bytes,
        milliseconds=outcome.milliseconds,
    )
    if after.state is State.QUEUED:
        deps.queue.send_ticket(job.kind.lane)
    return after


# helpers ---------------------------------------------------------------------------------------------------------------


def write_request(path: Path, job: Job, more: Mapping[str, Any] = MappingProxyType({})) -> None:
    request: dict[str, Any] = {
        **more,
        "version": 1,
        # Every kind is one of the runner's (docs/wall.md): of a check it tells more than of another run of a script.
        "kind": job.kind.value,
        "inputs": {port: {"format": given.format} for port, given in job.inputs.items() if port != "script"},
        "parameters": job.parameters,
        "limits": job.limits.as_dict(),
    }
    if job.target_format is not None:
        request["answer" if job.kind.runs_scripts else "target_format"] = job.target_format
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(request, file, allow_nan=False)
        # The sandbox's uid is not ours; the directories around keep everybody else out.
        os.fchmod(descriptor, 0o444)


def _erase_once(job: Job, deps: Deps, bench: Bench) -> Erasure:
    if bench.opened is not None:
        bench.removed = bench.opened.destroy()
    elif bench.sandbox is not None:
        # Creating it failed, or only its answer did. What an earlier try removed counts, though this one finds nothing.
        bench.removed = deps.host.remove(bench.sandbox) or bench.removed
    removed = bench.scratch.erase() if bench.scratch is not None else Removed()
    return receipt(job, deps, bench.removed, removed)


def _row(job: Job, deps: Deps) -> tuple[bool, Job | None]:
    """Whether the store could say, and the row if there is one."""
    try:
        return True, deps.store.get_job(job.tenant, job.id)
    except NotFound:
        return True, None
    except StoreUnavailable:
        return False, None
