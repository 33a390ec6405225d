"""Desk: what every route stands behind; built once by `api.app`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
import structlog
from fastapi import Depends, Request

from api.places import Places
from api.problems import IdempotencyBusy
from api.rates import Rates
from api.script_check import ScriptChecker, ScriptField
from fumehood.blob_store import BlobStore
from fumehood.errors import DiskFull
from fumehood.events import Events
from fumehood.job_queue import JobQueue
from fumehood.job_store import JobStore
from fumehood.key_store import USED_SECONDS
from fumehood.log import said
from fumehood.metrics import Source, Tally
from fumehood.settings import Settings
from fumehood.tenant import Key
from fumehood.tracing import Traces

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger()

STORE_THREADS = 8
FILE_THREADS = 8
PARSE_THREADS = 2  # only one runs at a time, and each of them holds up the event loop now and then
FOLLOW_THREADS = 2
CHECK_THREADS = 2  # one asks the helper, one is next
CHECK_WAIT_SECONDS = 1.0
KEYS_TOLD_MAX = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    settings: Settings
    store: JobStore
    blobs: BlobStore
    queue: JobQueue
    events: Events
    checker: ScriptChecker
    traces: Traces | None = None
    """None where there is no collector."""
    tally: Tally = field(default_factory=lambda: Tally(Source.API))
    places: Places = field(default_factory=Places)
    rates: Rates = field(default_factory=Rates)
    store_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(STORE_THREADS))
    file_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(FILE_THREADS))
    parse_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(PARSE_THREADS))
    follow_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(FOLLOW_THREADS))
    check_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(CHECK_THREADS))
    keys_told: dict[str, float] = field(default_factory=dict)
    """Prefix of a key → when its use was last written by this process (monotonic)."""
    _in_flight: set[tuple[str, str]] = field(default_factory=set)
    """(tenant, idempotency key) of the requests that are being handled by this process."""
    _chores: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A short blocking call (store, queue, events), off the event loop and in bounded company."""
        return await anyio.to_thread.run_sync(partial(verb, *args, **kwargs), limiter=self.store_threads)

    async def file(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for calls that touch files, so that a slow disk does not hold up the store."""
        return await anyio.to_thread.run_sync(partial(verb, *args, **kwargs), limiter=self.file_threads)

    async def parse(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what is made of a large document, which takes a processor and memory."""
        return await anyio.to_thread.run_sync(partial(verb, *args, **kwargs), limiter=self.parse_threads)

    async def look(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for those who follow a stream: they look again and again, however many they are, and wait for one another only."""
        return await anyio.to_thread.run_sync(partial(verb, *args, **kwargs), limiter=self.follow_threads)

    @contextmanager
    def handling(self, tenant: str, key: str) -> Iterator[None]:
        """One request with an idempotency key at a time, in this process; between processes the store decides. Raises IdempotencyBusy."""
        place = (tenant, key)
        if place in self._in_flight:
            raise IdempotencyBusy("the first request with this idempotency key is still being handled; try again in a moment")
        self._in_flight.add(place)
        try:
            yield
        finally:
            self._in_flight.discard(place)

    async def forget(self, tenant: str, prefix: str, forget_row: Callable[[], object]) -> None:
        """A row and then the blobs below `prefix`, which it named; a worker finishes what this process does not live to end."""

        def both() -> None:
            with ExitStack() as stack:
                with suppress(DiskFull):  # Who deletes makes room: that must not fail for want of it.
                    stack.enter_context(self.blobs.unsettled(tenant, prefix))
                forget_row()
                self.blobs.delete(tenant, prefix)

        await self.file(both)

    async def check(self, source: str, *, datasets: int, bundle: bool) -> ScriptField | None:
        """The script's certain fault. Slow scripts hold up one another only: whoever finds no thread free within a second goes
        unchecked, and the run shows the same fault."""
        verb = partial(self.checker.check, source, datasets=datasets, bundle=bundle)
        with anyio.move_on_after(CHECK_WAIT_SECONDS):
            return await anyio.to_thread.run_sync(verb, limiter=self.check_threads)
        return None

    def key_used(self, key: Key) -> None:
        """Have its last use written, behind the request's back and once a minute at most."""
        now = time.monotonic()
        if now - self.keys_told.get(key.prefix, -USED_SECONDS) < USED_SECONDS:
            return
        if len(self.keys_told) >= KEYS_TOLD_MAX:
            self.keys_told.clear()
        self.keys_told[key.prefix] = now
        self.later(self.ask(self.store.key_used, key.prefix))

    def later(self, chore: Coroutine[Any, Any, None]) -> None:
        """Tidying up that nobody waits for; `close` ends what is left of it."""
        task = asyncio.ensure_future(chore)
        self._chores.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("tidying up failed", error=said(error))

    async def close(self) -> None:
        for task in list(self._chores):
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self.events.leave()
        await self.file(self.checker.close)
        await self.ask(self.store.close)
        if self.traces is not None:
            await self.file(self.traces.close)


def desk_of(request: Request) -> Desk:
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


DeskDep = Annotated[Desk, Depends(desk_of)]
