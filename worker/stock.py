"""The stock of the warm pool: every sandbox that waits, on its shelf or held for a claim, and the end of those that are not wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from fumehood.job import Lane
from fumehood.log import said
from worker.recipe import Making
from worker.sandbox import Sandbox, Stop, StopSignal
from worker.shelf import BACKOFF_SECONDS, BACKOFF_SECONDS_MAX, Shelf, Waiting

log = structlog.get_logger(__name__)

# Older ones are replaced; they end by themselves a little later, also where nobody is left to replace them.
AGE_SECONDS = 1800.0
# How often those are looked at that a script is open in.
LOOK_SECONDS = 5.0


class Stock:
    """Everything here is guarded by `changed`, which is notified on every change and held by whoever calls. Each removal has a
    short-lived thread."""

    def __init__(self, recipes: Mapping[Lane, Making], *, monotonic: Callable[[], float]) -> None:
        self.changed = threading.Condition()
        self.shelves = {lane: Shelf(recipe) for lane, recipe in recipes.items()}
        self.own: dict[str, Shelf] = {}
        """Shelves for jobs of one kind only, by the key of their recipe."""
        self.held: dict[str, Waiting] = {}
        """By the sandbox's name."""
        self.making: dict[str, StopSignal] = {}
        """Names of those in the making, and what breaks it off."""
        self.names: dict[str, Shelf] = {}
        """All that are neither handed out nor gone, those in the making too."""
        self.owned: list[Making] = []
        """What those of them are made with that are for somebody only."""
        self.preparing = 0
        """Those in the making of all shelves, also of one that another has taken the place of."""
        self.removing = 0
        self.stuck = 0
        """Removals that were given up."""
        self.closed = False
        self._furnishing = 0
        self._monotonic = monotonic

    def all_shelves(self) -> list[Shelf]:
        return [*self.shelves.values(), *self.own.values()]

    def begin(self, name: str, shelf: Shelf) -> StopSignal:
        """One is being made from now on."""
        self.names[name], self.making[name] = shelf, StopSignal()
        if self.closed:
            self.making[name].set(Stop.SHUTDOWN)
        return self.making[name]

    @property
    def starting(self) -> int:
        """Those in the making that are not being furnished already."""
        return self.preparing - self._furnishing

    @property
    def reserved_bytes(self) -> int:
        """Of the disk, for those in which a script may write before it is called."""
        return sum(recipe.limits.reserved_bytes for recipe in self.owned)

    @contextmanager
    def furnishing(self) -> Iterator[None]:
        """Around what a recipe does to a sandbox that is ready. To be entered without the lock."""
        with self.changed:
            self._furnishing += 1
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self._furnishing -= 1

    def forget(self, name: str, recipe: Making) -> None:
        """It is gone, or somebody else's."""
        self.names.pop(name, None)
        if recipe.owner is not None:
            self.owned.remove(recipe)

    def take(self, shelf: Shelf) -> Waiting | None:
        """The one that would be the next to become too old."""
        while shelf.waiting and not self.closed:
            waiting = shelf.waiting.popleft()
            if self.is_good(waiting):
                return waiting
            self.throw_away(waiting)
        return None

    def drop(self, names: set[str]) -> None:
        """Those that wait, or are being made, under these names are for nobody any more, and no others are made in their place."""
        for name in names & self.making.keys():
            self.making[name].set(Stop.CANCELLED)
            self.names[name].asked_at.clear()
        for waiting in [each for shelf in self.all_shelves() for each in shelf.waiting if each.sandbox.name in names]:
            waiting.shelf.waiting.remove(waiting)
            waiting.shelf.asked_at.clear()
            self.throw_away(waiting)

    def make_room(self) -> None:
        """Whatever waits that is for somebody only is for nobody any more, until it is asked for again."""
        for shelf in self.own.values():
            shelf.asked_at.clear()
            self.thin_out(shelf, 0)

    def thin_out(self, shelf: Shelf, wanted: int) -> None:
        """Throw away what waits beyond `wanted`."""
        while len(shelf.waiting) > wanted:
            self.throw_away(shelf.waiting.popleft())

    def close(self) -> None:
        """All of it goes, and nothing is put back any more."""
        self.closed = True
        for stop in self.making.values():
            stop.set(Stop.SHUTDOWN)
        for shelf in self.all_shelves():
            self.thin_out(shelf, 0)
        self.changed.notify_all()

    def put(self, waiting: Waiting) -> None:
        if self.closed or waiting.shelf not in self.all_shelves():
            self.throw_away(waiting)
        else:
            waiting.shelf.waiting.append(waiting)
            self.changed.notify_all()

    def weed(self, shelf: Shelf) -> None:
        """Throw away what is no good any more. Where that came soon, the shelf rests: another would not last longer."""
        for waiting in [each for each in shelf.waiting if not self.is_good(each, look=True)]:
            shelf.waiting.remove(waiting)
            if self._age(waiting) < BACKOFF_SECONDS_MAX:
                shelf.failed(self._monotonic())
            else:
                shelf.proved_good()
            self.throw_away(waiting)

    def is_good(self, waiting: Waiting, *, look: bool = False) -> bool:
        """It lives, is not too old, and has left the processors alone, as far as somebody `look`s."""
        if not waiting.sandbox.waits or self._age(waiting) >= AGE_SECONDS:
            return False
        most, now = waiting.shelf.recipe.idle_cpu_seconds, self._monotonic()
        if most is None or not look or now - waiting.looked_at < LOOK_SECONDS:
            return True
        waiting.looked_at, used = now, waiting.sandbox.cpu_seconds()
        return used is not None and used - waiting.cpu_seconds <= most

    def hand_out(self, waiting: Waiting) -> Sandbox:
        """Somebody else answers for it from now on."""
        waiting.shelf.proved_good()
        self.forget(waiting.sandbox.name, waiting.shelf.recipe)
        return waiting.sandbox

    def throw_away(self, waiting: Waiting) -> None:
        self.removing += 1
        threading.Thread(target=self._remove, args=(waiting,), name="warm sandbox's end", daemon=True).start()

    def _age(self, waiting: Waiting) -> float:
        return self._monotonic() - waiting.made_at

    def _remove(self, waiting: Waiting) -> None:
        """Container first: it could still write into its files. Tried again until we close; then it is left to the reaper of the
        next worker."""
        sandbox, rest_seconds, gone = waiting.sandbox, BACKOFF_SECONDS, False
        used = waiting.cpu_seconds
        while not gone:
            try:
                used = max(used, sandbox.cpu_seconds() or 0.0)
                sandbox.destroy()
                sandbox.scratch.erase()
                waiting.shelf.recipe.gone(sandbox, cpu_seconds=used)
                gone = True
            except Exception as error:
                log.error("warm sandbox not removed", sandbox=sandbox.name, error=said(error))
                with self.changed:
                    if self.changed.wait_for(lambda: self.closed, timeout=rest_seconds):
                        break
                rest_seconds = min(BACKOFF_SECONDS_MAX, 2 * rest_seconds)
        with self.changed:
            self.removing -= 1
            if gone:
                self.forget(sandbox.name, waiting.shelf.recipe)
            else:
                self.stuck += 1
            self.changed.notify_all()
