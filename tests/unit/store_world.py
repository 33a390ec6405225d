"""What the machine of rules (store_life.py) knows beside the store: what exists outside, and what must hold of a job."""

from __future__ import annotations

from dataclasses import dataclass, field

from fumehood.job import Job, State
from fumehood.outcome import Erasure
from fumehood.testing import erasure

STEPS = ("make", "name", "lay", "start", "erase")
RAISES_FENCE = {(State.QUEUED, State.RUNNING), (State.RUNNING, State.QUEUED)}
REACHED_FROM: dict[State, set[State]] = {
    State.QUEUED: {State.RUNNING, State.CANCELLED},
    State.RUNNING: {State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED},
    State.SUCCEEDED: set(),
    State.FAILED: set(),
    State.CANCELLED: set(),
}


@dataclass(eq=False)
class Attempt:
    """One claim, in the hands of whoever made it. `job` is what its holder knows, however old that is."""

    job: Job
    name: str
    """Of its sandbox and its scratch."""
    next: int = 0
    """The place in `STEPS` of what comes next."""
    receipt: Erasure | None = None


@dataclass(eq=False)
class Overdue:
    """A running job whose beat stood still between two looks of the reaper, as it was at the second one."""

    job: Job
    receipt: Erasure | None = None


@dataclass
class World:
    """What exists on the machine of the workers, by the name of its attempt."""

    directories: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)
    containers: set[str] = field(default_factory=set)

    def discard(self, name: str | None) -> None:
        for names in (self.directories, self.inputs, self.containers):
            names.discard(name or "")

    def erase(self, name: str | None, of: Job, *, at: float) -> Erasure:
        """Take away what an attempt left under `name`; the receipt says what there was."""
        container = name if name in self.containers else None
        files = int(name in self.inputs)
        self.discard(name)
        made = {"container": container, "files": files, "bytes": files, "erased_at": at}
        return erasure(of, **made if container else {**made, "container_id": None, "began_at": None})


def broken(before: Job, row: Job, *, started: int, left: set[str], receipt: Erasure | None) -> list[str]:
    """What does not hold of a job that was `before` and is `row`, in sentences that its name begins.

    `started`: how often it was, by our count; `left`: what exists of its attempts that are over; `receipt`: the last that the store
    was given for it.
    """
    way = (before.state, row.state)
    ended = row.state.final
    promises = {
        f"was {before.state}, then written again: {row}": not before.state.final or row == before,
        f"went from {before.state} to {row.state}": before.state is row.state or row.state in REACHED_FROM[before.state],
        f"has fence {row.fence} after {before.fence}, {way[0]} → {way[1]}": row.fence == before.fence + int(way in RAISES_FENCE),
        f"has counted {row.attempt} attempts, after {started}": row.attempt == started,
        f"was started {row.attempt} times; at most {row.attempts_max} were allowed": row.attempt <= row.attempts_max,
        f"is {row.state} with fence {row.fence}, and {sorted(left)} of attempts that are over exist": not left,
        "was cancelled, and runs again": not before.cancel_requested or way not in RAISES_FENCE,
        "has lost its cancel": row.cancel_requested or not before.cancel_requested,
        "ended without an outcome": not ended or (row.outcome is not None and row.finished_at is not None),
        f"ended with the receipt {row.erasure}": not ended or (row.erasure == receipt if receipt else _never_ran(row)),
        f"is {row.state}, and has an outcome": ended or row.outcome is None,
    }
    return [sentence for sentence, holds in promises.items() if not holds]


def _never_ran(row: Job) -> bool:
    nothing = row.erasure is not None and (row.erasure.container, row.erasure.files, row.erasure.bytes) == (None, 0, 0)
    return row.state is State.CANCELLED and nothing
