"""Rooms: where an attempt is on its way, since when, and how long it was in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Rooms:
    """Which room the attempt is in, and the milliseconds spent in each."""

    monotonic: Callable[[], float]
    milliseconds: dict[str, float] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    """By the monotonic clock."""
    failed: str | None = None
    """The room that raised, the last one if several did."""
    current: str = "claim"

    @contextmanager
    def enter(self, room: str) -> Iterator[None]:
        self.current = room
        self.began[room] = began = self.monotonic()
        try:
            yield
        except BaseException:
            self.failed = room
            raise
        finally:
            self.milliseconds[room] = round((self.monotonic() - began) * 1000, 3)
