"""The warm pool: sandboxes that wait with their libraries imported, each for one job.

A sandbox here was made as every other one is, and nothing of any tenant has been near it; but that of a script's version has the
version's own script open in it, and serves a call of that version only (worker/prepared.py). A job takes it, alone; what was
taken is used and destroyed. The pool follows demand between a floor and a ceiling, makes new ones only while a processor is
free, and never hands out one that is not as it was when it got ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from fumehood.errors import SandboxError
from fumehood.job import Job, Lane
from fumehood.limits import Limits
from fumehood.log import said
from worker.recipe import Making
from worker.sandbox import READY_SECONDS_MAX, Sandbox, SandboxHost
from worker.scratch import Scratch
from worker.shelf import Offer, Shelf, Waiting, shares
from worker.stock import AGE_SECONDS, LOOK_SECONDS, Stock

log = structlog.get_logger(__name__)

AGE_SLACK_SECONDS = 120.0
CLOSE_SECONDS = 30.0
# How long a claim waits for the disk that others give up; then it is tried again with the next ticket.
ROOM_SECONDS = 5.0
# So long a call's end is waited for, before another sandbox is opened for its script beside it.
PATIENCE_SECONDS = 0.25
# How many a job tries that are not as they should be; an engine that cannot change a limit would spoil them all.
FITS_MAX = 3


class WarmPool:
    """Safe between threads. A thread of its own decides; each preparation and each removal has a short-lived one."""

    def __init__(
        self,
        recipes: Mapping[Lane, Making],
        *,
        host: SandboxHost,
        home: Path,
        worker: str,
        cpus: int,
        idle_seconds: float,
        may_fill: Callable[[], bool],
        recipe_of: Callable[[Job], tuple[str, Making] | None] = lambda job: None,
        room: int = 0,
        has_room: Callable[[int], bool] = lambda size: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`may_fill` says whether the worker takes work at all; `poke` where that may have changed. `recipe_of` says what a sandbox
        for such jobs only is made with, and its key; at most `room` of those are there, and none where the disk has no room (`has_room`)
        for what its script may write."""
        self._host, self._home, self._worker = host, home, worker
        self._cpus, self._idle_seconds = cpus, idle_seconds
        self._may_fill, self._monotonic = may_fill, monotonic
        self._recipe_of, self._room, self._has_room = recipe_of, room, has_room
        self._stock = Stock(recipes, monotonic=monotonic)
        self._changed = self._stock.changed
        self._running = 0
        self._thread = threading.Thread(target=self._keep, name="warm pool", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # for the slots -------------------------------------------------------------------------------------------------------
    def hold(self, lane: Lane) -> Sandbox | None:
        """One that waits, for a claim to name. Nobody else gets it until the job takes it, or `put_back`, or `discard`."""
        with self._changed:
            waiting = self._stock.take(self._stock.shelves[lane])
            if waiting is not None:
                self._stock.held[waiting.sandbox.name] = waiting
            return waiting.sandbox if waiting else None

    def put_back(self, sandbox: Sandbox) -> None:
        """It was not claimed for any job: no row names it."""
        with self._changed:
            self._stock.put(self._stock.held.pop(sandbox.name))

    def discard(self, sandbox: Sandbox) -> None:
        """Whether a row names it is not known."""
        with self._changed:
            self._stock.throw_away(self._stock.held.pop(sandbox.name))

    @contextmanager
    def offer(self, job: Job) -> Iterator[Offer]:
        """The job's sandbox, fitted to its limits, or why there is none: the one that was held for it, or another one.

        Within the block the caller lets the row name what it really uses. What was held and is not used goes back at the end
        of the block, when no row names it any more; it is thrown away where the block fails.
        """
        with self._changed:
            shelf, held = self._stock.shelves[job.kind.lane], self._stock.held.pop(job.sandbox or "", None)
            own = self._shelf_of(job)
        try:
            found = None if own is None else self._find_own(own, job.limits)
            if found is None:
                with self._changed:
                    shelf.ask(self._monotonic())
                    self._changed.notify_all()
            reason = shelf.recipe.unfit(job.limits)
            if found is not None:
                yield found
            elif reason is None:
                held, first = None, held
                yield self._find(shelf, first, job.limits)
            else:
                yield Offer(None, reason)
        except BaseException:
            if held is not None:
                with self._changed:
                    self._stock.throw_away(held)
            raise
        if held is not None:
            with self._changed:
                self._stock.put(held)

    def settle(self, job: Job) -> None:
        """The job is over: a sandbox that was held for it, and that it never asked for, is thrown away."""
        with self._changed:
            if (waiting := self._stock.held.pop(job.sandbox or "", None)) is not None:
                self._stock.throw_away(waiting)

    def drop(self, names: set[str]) -> None:
        """Those under these names are for nobody any more."""
        with self._changed:
            self._stock.drop(names)

    def names(self) -> set[str]:
        """All that were made, and are neither handed out nor gone."""
        with self._changed:
            return set(self._stock.names)

    def reserved_bytes(self) -> int:
        """Of the disk, for those in which a script may write before it is called."""
        with self._changed:
            return self._stock.reserved_bytes

    def make_room(self) -> None:
        """Return when the disk is free that sandboxes with a script open have reserved while they wait, or after a while."""
        with self._changed:
            self._stock.make_room()
            self._changed.wait_for(lambda: not self._stock.removing, timeout=ROOM_SECONDS)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a job on its way: as long as others wait ready, nothing is prepared beside it."""
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def poke(self) -> None:
        """Whether the pool may be filled may have changed."""
        with self._changed:
            self._changed.notify_all()

    def held(self) -> list[Sandbox]:
        """Those of claims that are under way."""
        with self._changed:
            return [waiting.sandbox for waiting in self._stock.held.values()]

    def counts(self) -> dict[Lane, int]:
        """How many wait for jobs of a lane, whichever."""
        with self._changed:
            return {lane: len(shelf.waiting) for lane, shelf in self._stock.shelves.items()}

    def prepared(self) -> int:
        """How many wait with a script open."""
        with self._changed:
            return sum(len(shelf.waiting) for shelf in self._stock.own.values())

    def close(self) -> bool:
        """Destroy all that wait, and hand out no more. True where nothing is left."""
        stock = self._stock
        with self._changed:
            stock.close()
            return self._changed.wait_for(lambda: not stock.removing and not stock.preparing, timeout=CLOSE_SECONDS) and not stock.stuck

    # finding one (with the lock held, but for `_find`, `_find_own`) -----------------------------------------------------
    def _find(self, shelf: Shelf, first: Waiting | None, limits: Limits, *, may_wait: bool = True) -> Offer:
        """`first`, or one that waits, or, if one `may_wait`, the next to get ready, where one is in the making that nobody waits for: it
        began before another could."""
        reason = None
        for _ in range(FITS_MAX):
            if first is None:
                with self._changed:
                    first = self._stock.take(shelf)
                    if first is None and may_wait and shelf.takers < shelf.preparing:
                        reason = "no warm sandbox was ready; one was being prepared"
                        first = self._await(shelf)
                if first is None:
                    return Offer(None, reason or "no warm sandbox was ready")
            try:
                first.sandbox.fit(limits)
            except Exception as error:  # Whatever it was: one that could not be looked at is used by nobody.
                log.warning("waiting sandbox not used", sandbox=first.sandbox.name, error=said(error))
                with self._changed:
                    self._stock.throw_away(first)
                first = None
            else:
                with self._changed:
                    return Offer(self._stock.hand_out(first), reason)
        return Offer(None, "no warm sandbox could be given the limits of the job")

    def _find_own(self, shelf: Shelf, limits: Limits) -> Offer | None:
        """One that the job's script is open in. None where none waits: any other is there sooner than one that is in the making."""
        with self._changed:
            first = self._stock.take(shelf)
            shelf.taken_at = self._monotonic()
        if first is None:
            return None
        found = self._find(shelf, first, limits, may_wait=False)
        return None if found.sandbox is None else Offer(found.sandbox, None, prepared=True)

    def _await(self, shelf: Shelf) -> Waiting | None:
        shelf.takers += 1
        failures = shelf.failures
        try:
            self._changed.wait_for(
                lambda: shelf.waiting or self._stock.closed or shelf.failures > failures or not shelf.preparing, timeout=READY_SECONDS_MAX
            )
            return self._stock.take(shelf)
        finally:
            shelf.takers -= 1

    def _shelf_of(self, job: Job) -> Shelf | None:
        """The job's own, asked for one more. With another recipe than before it begins anew."""
        found = self._recipe_of(job) if self._room and not self._stock.closed else None
        if found is None:
            return None
        key, recipe = found
        shelf = self._stock.own.setdefault(key, Shelf(recipe))
        if shelf.recipe.unfit(job.limits) is not None:
            self._stock.drop({name for name, of in self._stock.names.items() if of is shelf})
            shelf = self._stock.own[key] = Shelf(recipe)
        shelf.ask(self._monotonic())
        self._changed.notify_all()
        return shelf

    # keeping -------------------------------------------------------------------------------------------------------------
    def _keep(self) -> None:
        while True:
            may_fill = self._may_fill()
            with self._changed:
                if self._stock.closed:
                    return
                now = self._monotonic()
                for shelf in self._stock.all_shelves():
                    shelf.forget_asked(now, self._idle_seconds)
                self._stock.own = {key: shelf for key, shelf in self._stock.own.items() if not shelf.is_over}
                wanted = {shelf: shelf.wanted for shelf in self._stock.shelves.values()} | shares(self._stock.own.values(), self._room)
                wake_in = min((self._tend(shelf, count, may_fill) for shelf, count in wanted.items()), default=AGE_SECONDS)
                self._changed.wait(timeout=wake_in)

    def _tend(self, shelf: Shelf, wanted: int, may_fill: bool) -> float:
        """Throw away what is too old, broken or too many, begin what is missing; in how many seconds to look again."""
        now = self._monotonic()
        self._stock.weed(shelf)
        self._stock.thin_out(shelf, wanted)
        while may_fill and now >= shelf.rests_until and self._is_missing(shelf, wanted):
            shelf.preparing += 1
            self._stock.preparing += 1
            if shelf.recipe.owner is not None:
                self._stock.owned.append(shelf.recipe)
            threading.Thread(target=self._prepare, args=(shelf,), name="warm sandbox", daemon=True).start()
        moments = [shelf.rests_until] if shelf.rests_until > now else []
        moments += [waiting.made_at + AGE_SECONDS for waiting in shelf.waiting]
        moments += [asked_at + self._idle_seconds for asked_at in shelf.asked_at]
        moments += [shelf.taken_at + PATIENCE_SECONDS] if shelf.taken_at + PATIENCE_SECONDS > now else []
        moments += [now + LOOK_SECONDS] if shelf.waiting and shelf.recipe.idle_cpu_seconds is not None else []
        return max(0.0, min(moments, default=now + AGE_SECONDS) - now)

    def _is_missing(self, shelf: Shelf, wanted: int) -> bool:
        """Starting one takes a processor for a while, and the engine from whoever ends one: not while jobs run, as long as the
        next job finds one."""
        if shelf.there >= wanted:
            return False
        # What is held for a claim comes back from most of them: there was no job.
        held = sum(waiting.shelf is shelf for waiting in self._stock.held.values())
        # And where there was one, it runs in a moment. A script that is being opened takes what its limits are, and holds up nobody else.
        busy = self._running + len(self._stock.held) + self._stock.starting
        if shelf.there + held >= wanted or busy >= self._cpus:
            return False
        if shelf.recipe.owner is not None and not self._may_own(shelf.recipe):
            return False
        if not self._running:
            return True
        # A call is over soon, and whoever comes next finds a sandbox, if not one that its script is open in.
        return not shelf.waiting and self._monotonic() >= shelf.taken_at + PATIENCE_SECONDS

    def _may_own(self, recipe: Making) -> bool:
        has_place = len(self._stock.owned) < self._room
        return has_place and self._has_room(self._stock.reserved_bytes + recipe.limits.reserved_bytes)

    def _prepare(self, shelf: Shelf) -> None:
        made = None
        try:
            made = self._make(shelf)
        except Exception as error:  # The engine is away, the disk full: the slots hear of it from their own jobs.
            log.warning("warm sandbox not made", error=said(error))
        with self._changed:
            shelf.preparing -= 1
            self._stock.preparing -= 1
            if made is not None:
                self._stock.put(made)
            else:
                shelf.failed(self._monotonic())
            self._changed.notify_all()

    def _make(self, shelf: Shelf) -> Waiting:
        """One that is ready. Raises anything; what was made of it goes as all others do."""
        made_at, recipe, scratch, sandbox, name = self._monotonic(), shelf.recipe, None, None, ""
        try:
            scratch = Scratch.create(self._home, worker=self._worker)
            name = self._host.name_of(scratch)
            with self._changed:
                stop = self._stock.begin(name, shelf)
            sandbox = self._host.prepare(scratch, recipe.limits, wait_seconds=AGE_SECONDS + AGE_SLACK_SECONDS)
            if not sandbox.make_ready(stop):
                raise SandboxError("the runner of a warm sandbox did not get ready in time; expected `ready`")
            with self._stock.furnishing():
                recipe.furnish(sandbox, stop)
            sandbox.on_end(self.poke)
            return Waiting(shelf, sandbox, made_at, sandbox.cpu_seconds() or 0.0)
        except BaseException:
            if sandbox is None and scratch is not None:
                scratch.erase()
            with self._changed:
                if sandbox is not None:
                    self._stock.throw_away(Waiting(shelf, sandbox, made_at))
                else:
                    self._stock.forget(name, recipe)
            raise
        finally:
            with self._changed:
                self._stock.making.pop(name, None)
