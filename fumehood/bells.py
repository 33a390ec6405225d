"""Bells: who waits in this process for news of a job, a batch or a tenant. One connection hears of all (Redis pub/sub) and rings for each.

News are hints: «something was said about this job». What was said stands in its stream, how the job is in its row; so a bell
that rings too often costs a look, and every wait has an end of its own besides.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

CHANNEL = "fumehood:news"
"""Every publisher says here what there is news of, and the kinds: `job_… state,end bat_… item`."""

QUIET_SECONDS = 10.0
"""After so long without news the other side is asked whether it is there; a peer that is gone says nothing."""
ANSWER_SECONDS = 0.5
REST_SECONDS = 1.0
"""After a failure, before the next connection."""

log = structlog.get_logger()


class Bell:
    """One who waits for news of a job. Rings in the event loop that hung it up, from whichever thread."""

    def __init__(self, kind: str | None, is_away: Callable[[], bool]) -> None:
        self.kind = kind
        """The only one that it rings for; None: every."""
        self._is_away = is_away
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    @property
    def away(self) -> bool:
        """No news come now: whoever waits has to look from time to time."""
        return self._is_away()

    def ring(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits in it
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, timeout_seconds: float) -> bool:
        """True as soon as there were news since the last wait, or might have been; False when the time is over."""
        if timeout_seconds > 0 and not self._rung.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._rung.wait()
        rung = self._rung.is_set()
        self._rung.clear()
        return rung


class Bells:
    """The bells that hang. Safe between threads."""

    def __init__(self, is_away: Callable[[], bool]) -> None:
        self._is_away = is_away
        self._lock = threading.Lock()
        self._hanging: dict[str, set[Bell]] = {}

    @contextmanager
    def hung(self, job_id: str, kind: str | None = None) -> Iterator[Bell]:
        """A bell that hangs while the block lasts. News that come from now on are heard, also before the first wait."""
        bell = Bell(kind, self._is_away)
        with self._lock:
            self._hanging.setdefault(job_id, set()).add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                others = self._hanging[job_id]
                others.discard(bell)
                if not others:
                    del self._hanging[job_id]

    def ring(self, job_id: str, kinds: list[str]) -> None:
        with self._lock:
            bells = [bell for bell in self._hanging.get(job_id, ()) if bell.kind is None or bell.kind in kinds]
        for bell in bells:
            bell.ring()

    def ring_all(self) -> None:
        """Something may have been missed: everybody looks for themselves."""
        with self._lock:
            bells = [bell for hanging in self._hanging.values() for bell in hanging]
        for bell in bells:
            bell.ring()

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._hanging)


def news(kinds_by_stream: Mapping[str, Sequence[str]]) -> str:
    """What is said on the channel."""
    return " ".join(f"{stream} {','.join(kinds)}" for stream, kinds in kinds_by_stream.items())


class Ear:
    """Listens to the channel for one event loop, from the first bell on, and after a failure as long as there are bells."""

    def __init__(self, connect: Callable[[], redis.asyncio.Redis]) -> None:
        self.client = connect()
        """For short reads; its connections are closed with the ear's own."""
        self.bells = Bells(lambda: self.away)
        self.away = False
        """No news come: whoever waits has to look. Still False while the first connection is being made; all bells ring when it is."""
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Make sure that somebody listens. Call it with a bell already hung up."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.client.aclose()  # also where nobody has listened yet

    async def _listen(self) -> None:
        try:
            while True:
                try:
                    await self._hear()
                except (RedisError, OSError, TimeoutError) as error:
                    if not self.away:
                        log.warning("redis is away; no news of jobs come", error=type(error).__name__)
                self.away = True
                self.bells.ring_all()
                if not self.bells:
                    return
                await asyncio.sleep(REST_SECONDS)
        finally:
            self.away = True
            await self.client.aclose()

    async def _hear(self) -> None:
        """Ring until the connection fails."""
        async with aclosing(self.client.pubsub()) as channel:
            async with asyncio.timeout(2 * ANSWER_SECONDS):
                await channel.subscribe(CHANNEL)
                while await channel.get_message(timeout=ANSWER_SECONDS) is None:
                    pass
            if self.away:
                log.info("redis is back; news of jobs come")
            self.away = False
            self.bells.ring_all()  # for what was said before anybody listened
            while True:
                message = await self._next(channel, QUIET_SECONDS)
                if message is None:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await channel.ping()
                    message = await self._next(channel, ANSWER_SECONDS)
                    if message is None:
                        raise RedisConnectionError("no answer")
                if message["type"] == "message":
                    words = message["data"].decode().split(" ")
                    for stream, kinds in zip(words[::2], words[1::2], strict=False):
                        self.bells.ring(stream, kinds.split(","))

    async def _next(self, channel: redis.asyncio.client.PubSub, timeout_seconds: float) -> dict[str, Any] | None:
        # It may connect anew on the way, and be let in by a Redis that then says nothing.
        async with asyncio.timeout(timeout_seconds + 2 * ANSWER_SECONDS):
            message: dict[str, Any] | None = await channel.get_message(timeout=timeout_seconds)
            return message
