"""Shelves of the warm pool: the sandboxes of one recipe that wait, who asked for them, and how many there should be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from worker.recipe import Making
from worker.sandbox import Sandbox

# After a failure, doubled with each one that follows.
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One that waits, or is held for a claim under way."""

    shelf: Shelf
    sandbox: Sandbox
    ready_at: float
    cpu_seconds: float | None
    """What it had used when it was ready; None where nobody can see."""


@dataclass(slots=True, eq=False)
class Shelf:
    """What there is of one recipe; guarded by the pool's lock. Moments are monotonic."""

    recipe: Making
    waiting: deque[Waiting] = field(default_factory=deque)
    preparing: int = 0
    takers: int = 0
    """Jobs that wait for one that is being prepared."""
    asked_at: deque[float] = field(default_factory=deque)
    failures: int = 0
    """Preparations that failed, one after the other."""
    rests_until: float = float("-inf")

    @property
    def is_over(self) -> bool:
        """Nobody has asked for long, and nothing is left."""
        return not (self.asked_at or self.waiting or self.preparing or self.takers)

    def forget_asked(self, now: float, idle_seconds: float) -> None:
        """Those of long ago, and more than can be kept for."""
        while self.asked_at and now - self.asked_at[0] >= idle_seconds:
            self.asked_at.popleft()
        while len(self.asked_at) > self.recipe.at_most:
            self.asked_at.popleft()

    @property
    def wanted(self) -> int:
        """How many should wait: one for each that asked, between the floor and the ceiling."""
        return max(self.recipe.at_least, min(self.recipe.at_most, len(self.asked_at)))

    def made_one(self) -> None:
        self.failures = 0

    def failed(self, now: float) -> None:
        self.failures += 1
        self.rests_until = now + min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2 ** (self.failures - 1))


def shares(shelves: Iterable[Shelf], room: int) -> dict[Shelf, int]:
    """How many each gets of what there is room for: one of each first, the last that was asked for before the others, then another
    of each, as many as are wanted."""
    waiting = sorted(shelves, key=lambda shelf: shelf.asked_at[-1] if shelf.asked_at else float("-inf"), reverse=True)
    found = dict.fromkeys(waiting, 0)
    while room > 0 and (lacking := [shelf for shelf in waiting if found[shelf] < shelf.wanted]):
        for shelf in lacking[:room]:
            found[shelf] += 1
        room -= len(lacking)
    return found
