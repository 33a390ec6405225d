"""The stock of the warm pool: every sandbox that waits, on its shelf or held for a claim, and the end of those that are not wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from fumehood.job import Lane
from fumehood.log import said
from worker.recipe import Making
from worker.sandbox import Sandbox
from worker.shelf import BACKOFF_SECONDS, BACKOFF_SECONDS_MAX, Shelf, Waiting

log = structlog.get_logger(__name__)

# Older ones are replaced; they end by themselves a little later, also where nobody is left to replace them.
AGE_SECONDS = 1800.0


class Stock:
    """Everything here is guarded by `changed`, which is notified on every change; a method whose name begins with a verb of taking or
    putting wants it held. Each removal has a short-lived thread."""

    def __init__(self, recipes: Mapping[Lane, Making], *, monotonic: Callable[[], float]) -> None:
        self.changed = threading.Condition()
        self.shelves = {lane: Shelf(recipe) for lane, recipe in recipes.items()}
        self.own: dict[str, Shelf] = {}
        """Shelves for jobs of one kind only, by the key of their recipe."""
        self.held: dict[str, Waiting] = {}
        """By the sandbox's name."""
        self.names: set[str] = set()
        """Of all that are neither handed out nor gone, those in the making too."""
        self.removing = 0
        self.closed = False
        self._monotonic = monotonic

    def all_shelves(self) -> list[Shelf]:
        return [*self.shelves.values(), *self.own.values()]

    @property
    def preparing(self) -> int:
        return sum(shelf.preparing for shelf in self.all_shelves())

    def take(self, shelf: Shelf) -> Waiting | None:
        """The one that would be the next to become too old."""
        while shelf.waiting and not self.closed:
            waiting = shelf.waiting.popleft()
            if self.is_good(waiting):
                return waiting
            self.throw_away(waiting)
        return None

    def take_named(self, names: set[str]) -> list[Waiting]:
        """Those that wait under these names."""
        found = [waiting for shelf in self.all_shelves() for waiting in shelf.waiting if waiting.sandbox.name in names]
        for waiting in found:
            waiting.shelf.waiting.remove(waiting)
        return found

    def take_all(self) -> list[Waiting]:
        found = [waiting for shelf in self.all_shelves() for waiting in shelf.waiting]
        for shelf in self.all_shelves():
            shelf.waiting.clear()
        return found

    def put(self, waiting: Waiting) -> None:
        if self.closed:
            self.throw_away(waiting)
        else:
            waiting.shelf.waiting.append(waiting)
            self.changed.notify_all()

    def is_good(self, waiting: Waiting) -> bool:
        """It lives, is not too old, and has left the processors alone."""
        if not waiting.sandbox.waits or self._monotonic() - waiting.ready_at >= AGE_SECONDS:
            return False
        most, began = waiting.shelf.recipe.idle_cpu_seconds, waiting.cpu_seconds
        if most is None or began is None:
            return True
        now = waiting.sandbox.cpu_seconds()
        return now is not None and now - began <= most

    def hand_out(self, waiting: Waiting) -> Sandbox:
        """Somebody else answers for it from now on."""
        self.names.discard(waiting.sandbox.name)
        return waiting.sandbox

    def throw_away(self, waiting: Waiting) -> None:
        self.removing += 1
        threading.Thread(target=self._remove, args=(waiting,), name="warm sandbox's end", daemon=True).start()

    def _remove(self, waiting: Waiting) -> None:
        """Container first: it could still write into its files. Tried again until we close; then it is left to the reaper of the
        next worker."""
        sandbox, rest_seconds = waiting.sandbox, BACKOFF_SECONDS
        while True:
            try:
                sandbox.destroy()
                sandbox.scratch.erase()
                waiting.shelf.recipe.gone(sandbox)
                break
            except Exception as error:
                log.error("warm sandbox not removed", sandbox=sandbox.name, error=said(error))
            with self.changed:
                if self.changed.wait_for(lambda: self.closed, timeout=rest_seconds):
                    break
            rest_seconds = min(BACKOFF_SECONDS_MAX, 2 * rest_seconds)
        with self.changed:
            self.removing -= 1
            self.names.discard(sandbox.name)
            self.changed.notify_all()
