"""Telemetry: what a worker counts and tells of an attempt once it is over. It decides nothing, and costs a few microseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fumehood.job import Job
from fumehood.metrics import ROOMS, Source, Tally
from fumehood.outcome import Blame, Outcome
from fumehood.tracing import Span, Traces, Value, parse
from worker.rooms import Rooms

# The worker's own parts of `run`, in the record as `run.…`. The runner names others; those are the tenant's word.
PARTS = ("create", "start", "ready", "fit", "go", "end", "destroy")
UNFINISHED = "left to the reaper"


def _nobody() -> Tally:
    return Tally(Source.WORKER)


@dataclass(frozen=True, kw_only=True, slots=True)
class Telemetry:
    tally: Tally = field(default_factory=_nobody)
    traces: Traces | None = None
    """None where there is no collector."""

    def attempt(self, job: Job, outcome: Outcome, after: Job | None, rooms: Rooms, *, now: Callable[[], float]) -> None:
        """The attempt `job`, as it was claimed, is over. `after` is its row then; None where this worker did not end it."""
        if outcome.start is not None:
            self.tally.count("fumehood_sandbox_starts_total", job.kind.lane, outcome.start)
        if job.attempt == 1 and job.started_at is not None:
            self.tally.observe("fumehood_queue_wait_seconds", max(0.0, job.started_at - job.created_at), job.kind.lane)
        for room in ROOMS:
            if room in rooms.milliseconds:
                self.tally.observe("fumehood_room_seconds", rooms.milliseconds[room] / 1000, room)
        if after is not None:
            self.ended(after, outcome)
        if self.traces is not None:
            self.traces.tell(_spans(job, outcome, after, rooms, now=now()), parse(job.traceparent), kind="consumer")

    def taken_back(self, job: Job, outcome: Outcome, after: Job, *, now: float) -> None:
        """The attempt `job` of a worker that is lost: its rooms nobody knows."""
        self.ended(after, outcome)
        if self.traces is not None:
            lost = Span(
                name="attempt", began_at=job.started_at or now, ended_at=now, attributes=_facts(job, outcome), error=str(outcome.reason)
            )
            self.traces.tell([lost], parse(job.traceparent), kind="consumer")

    def ended(self, after: Job, outcome: Outcome) -> None:
        """An attempt was taken out of `running`, for good or back into the queue."""
        final = after.outcome if after.state.final and after.outcome is not None else outcome
        name = "fumehood_outcomes_total" if after.state.final else "fumehood_handed_back_total"
        self.tally.count(name, after.kind, final.reason, final.reason.blame)

    def leftover(self, what: str, *, by: int = 1) -> None:
        """A sweep found something that should not have been there any more."""
        self.tally.count("fumehood_leftovers_total", what, by=by)


def _spans(job: Job, outcome: Outcome, after: Job | None, rooms: Rooms, *, now: float) -> list[Span]:
    """The wait, where this attempt ended it, and the attempt with its rooms."""
    over = rooms.monotonic()
    parts = [
        Span(
            name=room,
            began_at=now - (over - began),
            ended_at=now - (over - began) + rooms.milliseconds[room] / 1000,
            attributes=_parts_of(outcome) if room == "run" else {},
            error="raised" if room == rooms.failed else None,
        )
        for room, began in rooms.began.items()
    ]
    began_at = min((part.began_at for part in parts), default=now)
    reason = outcome.reason
    error = UNFINISHED if after is None else str(reason) if reason.blame is not Blame.NOBODY else None
    attempt = Span(name="attempt", began_at=began_at, ended_at=now, attributes=_facts(job, outcome), error=error, parts=parts)
    if job.attempt != 1 or job.traceparent is None:
        return [attempt]
    return [Span(name="queue", began_at=job.created_at, ended_at=job.started_at or began_at, attributes=_about(job)), attempt]


def _about(job: Job) -> dict[str, Value]:
    """Who and what; never a script, a parameter, a label or a name that a tenant gave."""
    told: dict[str, Value] = {"fumehood.job.id": job.id, "fumehood.tenant.id": job.tenant, "fumehood.job.kind": str(job.kind)}
    if job.batch is not None:
        told["fumehood.batch.id"] = job.batch
    return told | ({"fumehood.attempt": job.attempt} if job.attempt else {})


def _facts(job: Job, outcome: Outcome) -> dict[str, Value]:
    start: dict[str, Value] = {} if outcome.start is None else {"fumehood.start": outcome.start}
    return {**_about(job), "fumehood.reason": str(outcome.reason), "fumehood.blame": str(outcome.reason.blame), **start}


def _parts_of(outcome: Outcome) -> dict[str, Value]:
    found = {part: outcome.milliseconds.get(f"run.{part}") for part in PARTS}
    return {f"fumehood.run.{part}_milliseconds": number for part, number in found.items() if number is not None}
