"""The warm pool: sandboxes that wait with their libraries imported, each for one job.

A sandbox here was made as every other one is, and nothing of any tenant has been near it. A job takes it, alone; what was
taken is used and destroyed. The pool follows demand between a floor and a ceiling, makes new ones only while a processor is
free, and never hands out one that is not as it was when it got ready.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from fumehood.errors import SandboxError
from fumehood.job import Job, Lane
from fumehood.limits import Limits
from fumehood.log import said
from worker.recipe import Recipe
from worker.sandbox import READY_SECONDS_MAX, Sandbox, SandboxHost, Stop, StopSignal
from worker.scratch import Scratch

log = structlog.get_logger(__name__)

# Older ones are replaced; they end by themselves a little later, also where nobody is left to replace them.
AGE_SECONDS = 1800.0
AGE_SLACK_SECONDS = 120.0
# After a failure, doubled with each one that follows.
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 60.0
CLOSE_SECONDS = 30.0
# How many a job tries that are not as they should be; an engine that cannot change a limit would spoil them all.
FITS_MAX = 3


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One that waits, or is held for a claim under way."""

    lane: Lane
    sandbox: Sandbox
    ready_at: float


@dataclass(frozen=True, slots=True)
class Offer:
    """What the pool has for a job. `reason` says why that is not a sandbox that was ready; None where it is."""

    sandbox: Sandbox | None
    reason: str | None


@dataclass(slots=True)
class Shelf:
    """What there is of one lane; guarded by the pool's lock."""

    recipe: Recipe
    waiting: deque[Waiting] = field(default_factory=deque)
    preparing: int = 0
    takers: int = 0
    """Jobs that wait for one that is being prepared."""
    asked_at: deque[float] = field(default_factory=deque)


class WarmPool:
    """Safe between threads. A thread of its own decides; each preparation and each removal has a short-lived one."""

    def __init__(
        self,
        recipes: Mapping[Lane, Recipe],
        *,
        host: SandboxHost,
        home: Path,
        worker: str,
        cpus: int,
        idle_seconds: float,
        may_fill: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`may_fill` says whether the worker takes work at all; `poke` where that may have changed."""
        self._host, self._home, self._worker = host, home, worker
        self._cpus, self._idle_seconds = cpus, idle_seconds
        self._may_fill, self._monotonic = may_fill, monotonic
        self._shelves = {lane: Shelf(recipe) for lane, recipe in recipes.items()}
        self._held: dict[str, Waiting] = {}
        self._changed = threading.Condition()
        self._running = self._removing = self._failures = 0
        self._rests_until = float("-inf")
        self._closed = False
        self._stop = StopSignal()
        self._thread = threading.Thread(target=self._keep, name="warm pool", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # for the slots -------------------------------------------------------------------------------------------------------
    def hold(self, lane: Lane) -> Sandbox | None:
        """One that waits, for a claim to name. Nobody else gets it until the job takes it, or `put_back`, or `discard`."""
        with self._changed:
            waiting = self._pop(self._shelves[lane])
            if waiting is not None:
                self._held[waiting.sandbox.name] = waiting
            return waiting.sandbox if waiting else None

    def put_back(self, sandbox: Sandbox) -> None:
        """It was not claimed for any job: no row names it."""
        with self._changed:
            self._shelve(self._held.pop(sandbox.name))

    def discard(self, sandbox: Sandbox) -> None:
        """Whether a row names it is not known."""
        with self._changed:
            self._throw_away(self._held.pop(sandbox.name).sandbox)

    @contextmanager
    def offer(self, job: Job) -> Iterator[Offer]:
        """The job's sandbox, fitted to its limits, or why there is none: the one that was held for it, or another one.

        Within the block the caller lets the row name what it really uses. What was held and is not used goes back at the end
        of the block, when no row names it any more; it is thrown away where the block fails.
        """
        with self._changed:
            shelf, held = self._shelves[job.kind.lane], self._held.pop(job.sandbox or "", None)
            shelf.asked_at.append(self._monotonic())
            self._changed.notify_all()
        reason = shelf.recipe.unfit(job.limits)
        try:
            if reason is None:
                held, first = None, held
                yield self._find(shelf, first, job.limits)
            else:
                yield Offer(None, reason)
        except BaseException:
            if held is not None:
                with self._changed:
                    self._throw_away(held.sandbox)
            raise
        if held is not None:
            with self._changed:
                self._shelve(held)

    def settle(self, job: Job) -> None:
        """The job is over: a sandbox that was held for it, and that it never asked for, is thrown away."""
        with self._changed:
            if (waiting := self._held.pop(job.sandbox or "", None)) is not None:
                self._throw_away(waiting.sandbox)

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
            return [waiting.sandbox for waiting in self._held.values()]

    def counts(self) -> dict[Lane, int]:
        """How many wait."""
        with self._changed:
            return {lane: len(shelf.waiting) for lane, shelf in self._shelves.items()}

    def close(self) -> bool:
        """Destroy all that wait, and hand out no more. True where nothing is left."""
        with self._changed:
            self._closed = True
            for shelf in self._shelves.values():
                while shelf.waiting:
                    self._throw_away(shelf.waiting.popleft().sandbox)
            self._changed.notify_all()
        self._stop.set(Stop.SHUTDOWN)
        with self._changed:
            return self._changed.wait_for(lambda: not self._removing and not self._preparing, timeout=CLOSE_SECONDS)

    # finding one (with the lock held, but for `_find`) ------------------------------------------------------------------
    def _find(self, shelf: Shelf, first: Waiting | None, limits: Limits) -> Offer:
        """`first`, or one that waits, or the next to get ready, where one is in the making that nobody waits for: it began
        before another could."""
        reason = None
        for _ in range(FITS_MAX):
            if first is None:
                with self._changed:
                    first = self._pop(shelf)
                    if first is None and shelf.takers < shelf.preparing:
                        reason = "no warm sandbox was ready; one was being prepared"
                        first = self._await(shelf)
                if first is None:
                    return Offer(None, reason or "no warm sandbox was ready")
            try:
                first.sandbox.fit(limits)
            except Exception as error:  # Whatever it was: one that could not be looked at is used by nobody.
                log.warning("waiting sandbox not used", sandbox=first.sandbox.name, error=said(error))
                with self._changed:
                    self._throw_away(first.sandbox)
                first = None
            else:
                return Offer(first.sandbox, reason)
        return Offer(None, "no warm sandbox could be given the limits of the job")

    def _await(self, shelf: Shelf) -> Waiting | None:
        shelf.takers += 1
        failures = self._failures
        try:
            self._changed.wait_for(
                lambda: shelf.waiting or self._closed or self._failures > failures or not shelf.preparing, timeout=READY_SECONDS_MAX
            )
            return self._pop(shelf)
        finally:
            shelf.takers -= 1

    def _pop(self, shelf: Shelf) -> Waiting | None:
        """The one that would be the next to become too old."""
        while shelf.waiting and not self._closed:
            waiting = shelf.waiting.popleft()
            if self._is_good(waiting):
                return waiting
            self._throw_away(waiting.sandbox)
        return None

    def _is_good(self, waiting: Waiting) -> bool:
        return waiting.sandbox.waits and self._monotonic() - waiting.ready_at < AGE_SECONDS

    def _shelve(self, waiting: Waiting) -> None:
        if self._closed:
            self._throw_away(waiting.sandbox)
        else:
            self._shelves[waiting.lane].waiting.append(waiting)
            self._changed.notify_all()

    # keeping -------------------------------------------------------------------------------------------------------------
    @property
    def _preparing(self) -> int:
        return sum(shelf.preparing for shelf in self._shelves.values())

    def _keep(self) -> None:
        while True:
            may_fill = self._may_fill()
            with self._changed:
                if self._closed:
                    return
                wake_in = min((self._tend(lane, shelf, may_fill) for lane, shelf in self._shelves.items()), default=AGE_SECONDS)
                self._changed.wait(timeout=wake_in)

    def _tend(self, lane: Lane, shelf: Shelf, may_fill: bool) -> float:
        """Throw away what is too old, broken or too many, begin what is missing; in how many seconds to look again."""
        now = self._monotonic()
        for waiting in [each for each in shelf.waiting if not self._is_good(each)]:
            shelf.waiting.remove(waiting)
            self._throw_away(waiting.sandbox)
        while shelf.asked_at and now - shelf.asked_at[0] >= self._idle_seconds:
            shelf.asked_at.popleft()
        while len(shelf.asked_at) > shelf.recipe.at_most:
            shelf.asked_at.popleft()
        wanted = max(shelf.recipe.at_least, min(shelf.recipe.at_most, len(shelf.asked_at)))
        while len(shelf.waiting) > wanted:
            self._throw_away(shelf.waiting.popleft().sandbox)
        while may_fill and now >= self._rests_until and self._is_missing(shelf, wanted):
            shelf.preparing += 1
            threading.Thread(target=self._prepare, args=(lane, shelf), name="warm sandbox", daemon=True).start()
        moments = [self._rests_until] if self._rests_until > now else []
        moments += [waiting.ready_at + AGE_SECONDS for waiting in shelf.waiting]
        moments += [asked_at + self._idle_seconds for asked_at in shelf.asked_at]
        return max(0.0, min(moments, default=now + AGE_SECONDS) - now)

    def _is_missing(self, shelf: Shelf, wanted: int) -> bool:
        """Starting one takes a processor for a while, and the engine from whoever ends one: not while jobs run, as long as the
        next job finds one."""
        # What is held for a claim comes back from most of them: there was no job.
        held = sum(self._shelves[waiting.lane] is shelf for waiting in self._held.values())
        # And where there was one, it runs in a moment.
        busy = self._running + len(self._held) + self._preparing
        if len(shelf.waiting) + held + shelf.preparing >= wanted or busy >= self._cpus:
            return False
        return not self._running or not shelf.waiting

    def _prepare(self, lane: Lane, shelf: Shelf) -> None:
        sandbox = None
        try:
            sandbox = self._make(shelf.recipe.limits)
        except Exception as error:  # The engine is away, the disk full: the slots hear of it from their own jobs.
            log.warning("warm sandbox not made", error=said(error))
        with self._changed:
            shelf.preparing -= 1
            if sandbox is not None:
                self._failures = 0
                self._shelve(Waiting(lane, sandbox, self._monotonic()))
            else:
                self._failures += 1
                rest_seconds = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2 ** (self._failures - 1))
                self._rests_until = self._monotonic() + rest_seconds
            self._changed.notify_all()

    def _make(self, limits: Limits) -> Sandbox:
        """One that is ready. Raises SandboxError; what was made of it goes as all others do."""
        scratch = Scratch.create(self._home, worker=self._worker)
        sandbox = None
        try:
            sandbox = self._host.prepare(scratch, limits, wait_seconds=AGE_SECONDS + AGE_SLACK_SECONDS)
            if not sandbox.make_ready(self._stop):
                raise SandboxError("the runner of a warm sandbox did not get ready in time; expected `ready`")
            sandbox.on_end(self.poke)
        except BaseException:
            if sandbox is not None:
                with self._changed:
                    self._throw_away(sandbox)
            else:
                scratch.erase()
            raise
        return sandbox

    def _throw_away(self, sandbox: Sandbox) -> None:
        self._removing += 1
        threading.Thread(target=self._remove, args=(sandbox,), name="warm sandbox's end", daemon=True).start()

    def _remove(self, sandbox: Sandbox) -> None:
        """Container first: it could still write into its files. Tried again until we close; then it is left to the reaper of the
        next worker."""
        rest_seconds = BACKOFF_SECONDS
        while True:
            try:
                sandbox.destroy()
                sandbox.scratch.erase()
                break
            except Exception as error:
                log.error("warm sandbox not removed", sandbox=sandbox.name, error=said(error))
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, timeout=rest_seconds):
                    break
            rest_seconds = min(BACKOFF_SECONDS_MAX, 2 * rest_seconds)
        with self._changed:
            self._removing -= 1
            self._changed.notify_all()
