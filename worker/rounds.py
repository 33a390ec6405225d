"""Rounds: the worker's recurring chores, each guarded, so that one that fails neither stops the others nor floods the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from fumehood.log import said

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """One step of a round; `every_seconds` 0 means each round."""

    name: str
    do: Callable[[], None]
    every_seconds: float = 0.0


class Rounds:
    """A thread that does the chores each `interval_seconds`, in their order. `pulse` is called after each chore."""

    def __init__(
        self,
        chores: Sequence[Chore],
        *,
        interval_seconds: float,
        pulse: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chores = tuple(chores)
        self._interval_seconds = interval_seconds
        self._pulse = pulse
        self._monotonic = monotonic
        self._done_at: dict[str, float] = {}
        self._failing: dict[str, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_round, name="rounds", daemon=True)

    def once(self) -> None:
        """One round, in this thread."""
        for chore in self._chores:
            now = self._monotonic()
            if now - self._done_at.get(chore.name, float("-inf")) < chore.every_seconds:
                continue
            self._done_at[chore.name] = now
            try:
                chore.do()
            except Exception as error:
                # A fault that lasts is one event, not one each round.
                text = said(error)
                if self._failing.get(chore.name) != text:
                    self._failing[chore.name] = text
                    log.error("chore failed", chore=chore.name, exc_info=error)
            else:
                if self._failing.pop(chore.name, None) is not None:
                    log.info("chore works again", chore=chore.name)
            try:
                self._pulse()
            except OSError as error:
                log.error("pulse failed", error=said(error))

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """True when the round under way has ended."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _go_round(self) -> None:
        while not self._over.wait(self._interval_seconds):
            self.once()
