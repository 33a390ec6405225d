"""Shelves of the warm pool: the sandboxes of one recipe that wait, who asked for them, and how many there should be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest

from worker.recipe import Making
from worker.sandbox import Sandbox

# After a failure, doubled with each one that follows.
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 60.0
DOUBLINGS_MAX = 10


@dataclass(frozen=True, slots=True)
class Offer:
    """What the pool has for a job. `reason` says why that is not a sandbox that was ready; None where it is."""

    sandbox: Sandbox | None
    reason: str | None
    prepared: bool = False
    """The job's own script is open in it."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One that waits, or is held for a claim under way. Moments are monotonic."""

    shelf: Shelf
    sandbox: Sandbox
    made_at: float
    """When its container was begun, whose own deadline counts from then."""
    cpu_seconds: float = 0.0
    """What it had used when it was ready."""
    looked_at: float = float("-inf")


@dataclass(slots=True, eq=False)
class Shelf:
    """What there is of one recipe; guarded by the pool's lock. Moments are monotonic."""

    recipe: Making
    waiting: deque[Waiting] = field(default_factory=deque)
    preparing: int = 0
    takers: int = 0
    """Jobs that wait for one that is being prepared."""
    asked_at: deque[float] = field(default_factory=deque)
    taken_at: float = float("-inf")
    """When the last one was taken, where it is a shelf of somebody's own."""
    failures: int = 0
    """Preparations that failed, and sandboxes that were no good before their time, one after the other."""
    rests_until: float = float("-inf")

    @property
    def is_over(self) -> bool:
        """Nobody has asked for long, and nothing is left."""
        return not (self.asked_at or self.waiting or self.preparing or self.takers)

    @property
    def asked_last_at(self) -> float:
        return self.asked_at[-1] if self.asked_at else float("-inf")

    @property
    def there(self) -> int:
        return len(self.waiting) + self.preparing

    def ask(self, now: float) -> None:
        self.asked_at.append(now)

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

    def proved_good(self) -> None:
        self.failures = 0

    def failed(self, now: float) -> None:
        self.failures += 1
        self.rests_until = now + min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2 ** min(self.failures - 1, DOUBLINGS_MAX))


def shares(shelves: Iterable[Shelf], room: int) -> dict[Shelf, int]:
    """How many each gets of what there is room for: in turns, of which each owner has one a round. Among an owner's shelves those that
    have something come first, so that nothing is thrown away for who asks next; then the one that was asked for last."""
    turns = [shelf for turn in zip_longest(*_by_owner(shelves)) for shelf in turn if shelf is not None]
    found = dict.fromkeys(turns, 0)
    while room > 0 and (lacking := [shelf for shelf in turns if found[shelf] < shelf.wanted]):
        for shelf in lacking[:room]:
            found[shelf] += 1
        room -= len(lacking)
    return found


def _by_owner(shelves: Iterable[Shelf]) -> list[list[Shelf]]:
    found: dict[str | None, list[Shelf]] = {}
    for shelf in sorted(shelves, key=lambda shelf: (shelf.there > 0, shelf.asked_last_at), reverse=True):
        found.setdefault(shelf.recipe.owner, []).append(shelf)
    return list(found.values())
