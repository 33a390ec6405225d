"""Events: the live log and state changes of a job, in Redis streams. Gaps are allowed: the stored log and the row are the truth."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fumehood.bells import CHANNEL, Bell, Ear, news
from fumehood.redis_link import CALL_SECONDS, RedisLink, redis_address
from fumehood.settings import Settings

STREAM_EVENTS = 10_000
"""A job's stream holds about so many events; older ones make room."""
STREAM_BYTES = 1024 * 1024
"""And so many bytes; Redis has room for hundreds of such streams, and for the tickets beside them."""
EVENT_BYTES = 256 * 1024
"""A larger event is left out: a gap in the live log, never a Redis full of one job."""
KEPT_SECONDS = 3600
"""A stream that nothing is written to is forgotten after so long."""
KEPT_AFTER_END_SECONDS = 120
"""Time for those who follow to read the rest; whoever comes later reads the stored log, which is complete."""

_FIELDS_BYTES = 64  # what Redis adds to an event's data, about
_JOBS_COUNTED = 1000
_BATCH = 100
_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is `state`, `log`, `attempt` or `end`. Data of `log`: `{"attempt", "offset", "text"}`; of `state`: `{"state", "reason"}`."""

    id: str
    kind: str
    data: dict[str, Any]


class Events:
    """Publishing (synchronous, for API and worker) and following (async, for the API). Streams are capped and expire.

    `RedisEvents(settings)` and, in fumehood.testing, an in-memory one.
    """

    def publish(self, job_id: str, kind: str, data: dict[str, Any]) -> None:
        """Never raises: a reader that misses an event reads the row."""
        self.publish_all(job_id, [(kind, data)])

    def publish_all(self, job_id: str, told: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Several events of a job, (kind, data) each, in one round trip. Never raises."""
        raise NotImplementedError

    def forget(self, job_id: str) -> None:
        """Remove the job's stream: for who deletes the job. Never raises; where Redis is away the stream expires by itself."""
        raise NotImplementedError

    def listen(self, job_id: str, *, kind: str | None = None) -> AbstractContextManager[Bell]:
        """Hear of news of the job (of that `kind` only), from now on and while the block lasts: woken, not told. What was
        published may be lost on the way, so the row is read at the end of every wait. In an event loop only."""
        raise NotImplementedError

    def follow(self, job_id: str, *, after: str = "0", timeout_seconds: float) -> AsyncGenerator[Event, None]:
        """Events after the id `after`, as they come, until `end` or the time is over; with no time, those that are there. Where
        Redis is away the iterator ends early; the caller reads the row. An `after` that is no id means the beginning. Whoever
        stops before the end closes it (`aclose`)."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open for publishing."""

    async def leave(self) -> None:
        """Close what is open in this event loop for listening and following. A loop that ends closes it too."""


class RedisEvents(Events):
    def __init__(self, settings: Settings) -> None:
        self._address, self._password = redis_address(settings), settings.secret("redis_password")
        self._link = RedisLink(settings)
        self._newest = Newest()
        self._ears: WeakKeyDictionary[asyncio.AbstractEventLoop, Ear] = WeakKeyDictionary()

    def publish_all(self, job_id: str, told: Sequence[tuple[str, dict[str, Any]]]) -> None:
        documents = [(kind, document) for kind, data in told if (document := as_document(job_id, kind, data)) is not None]
        if not documents:
            return
        kept = [self._newest.count(job_id, len(document)) for _, document in documents]
        kinds = [kind for kind, _ in documents]
        if "end" in kinds:
            self._newest.forget(job_id)

        def add(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)  # one round trip
            for (kind, document), most in zip(documents, kept, strict=True):
                # Redis trims in whole nodes where that will do, and exactly where the bytes count.
                pipeline.xadd(_stream(job_id), {"kind": kind, "data": document}, maxlen=most or STREAM_EVENTS, approximate=most is None)
            pipeline.expire(_stream(job_id), KEPT_AFTER_END_SECONDS if "end" in kinds else KEPT_SECONDS)
            pipeline.publish(CHANNEL, news(job_id, kinds))
            return pipeline.execute()

        self._link.call(add)

    def forget(self, job_id: str) -> None:
        self._newest.forget(job_id)
        self._link.call(lambda client: client.unlink(_stream(job_id)))

    @contextmanager
    def listen(self, job_id: str, *, kind: str | None = None) -> Iterator[Bell]:
        ear = self._ear()
        with ear.bells.hung(job_id, kind) as bell:
            ear.listen()
            yield bell

    async def follow(self, job_id: str, *, after: str = "0", timeout_seconds: float) -> AsyncGenerator[Event, None]:
        deadline = time.monotonic() + timeout_seconds
        last = start_of(after)
        with self.listen(job_id) as bell:
            try:
                while True:
                    # Connecting and logging in count too: a Redis that is frozen accepts connections and then says nothing.
                    async with asyncio.timeout(2 * CALL_SECONDS):
                        streams = await self._ear().client.xread({_stream(job_id): last}, count=_BATCH)
                    events = _events(streams)
                    for event in events:
                        last = event.id
                        yield event
                        if event.kind == "end":
                            return
                    if len(events) < _BATCH and (bell.away or not await bell.wait(deadline - time.monotonic())):
                        return
            except (RedisError, OSError) as error:
                log.warning("redis is away", error=type(error).__name__, job=job_id)

    def close(self) -> None:
        self._link.close()

    async def leave(self) -> None:
        ear = self._ears.pop(asyncio.get_running_loop(), None)
        if ear is not None:
            await ear.close()

    def _ear(self) -> Ear:
        """The one of this event loop; connections cannot be shared between loops."""
        loop = asyncio.get_running_loop()
        if loop not in self._ears:
            self._ears[loop] = Ear(self._connected)
        return self._ears[loop]

    def _connected(self) -> redis.asyncio.Redis:
        return redis.asyncio.Redis.from_url(
            self._address,
            password=self._password,
            socket_connect_timeout=CALL_SECONDS,
            # With one, redis-py sends within `asyncio.wait_for`, which up to Python 3.11 loses a cancellation that comes as the
            # sending ends. Every call has a deadline around it instead.
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )


class Newest:
    """How many of a job's newest events fit into STREAM_BYTES. Counts what this process published: the log of a job comes
    from one worker, and what others add to a stream are a few words. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, _Sizes] = OrderedDict()

    def count(self, job_id: str, document_bytes: int) -> int | None:
        """Add an event. How many may stay, this one among them; None as long as there is room for all."""
        with self._lock:
            sizes = self._jobs.setdefault(job_id, _Sizes())
            self._jobs.move_to_end(job_id)
            # Jobs that were handed back end elsewhere, or here much later.
            while len(self._jobs) > _JOBS_COUNTED:
                self._jobs.popitem(last=False)
            sizes.newest.append(document_bytes + _FIELDS_BYTES)
            sizes.bytes += sizes.newest[-1]
            while sizes.bytes > STREAM_BYTES:
                sizes.bytes -= sizes.newest.popleft()
                sizes.full = True
            return len(sizes.newest) if sizes.full else None

    def forget(self, job_id: str) -> None:
        with self._lock:
            self._jobs.pop(job_id, None)


@dataclass(slots=True)
class _Sizes:
    newest: deque[int] = field(default_factory=deque)
    bytes: int = 0
    full: bool = False


def as_document(job_id: str, kind: str, data: dict[str, Any]) -> str | None:
    """The data as JSON; None where it is too long to be an event."""
    document = json.dumps(data)
    if len(document) <= EVENT_BYTES:
        return document
    log.info("event left out", job=job_id, kind=kind, event_bytes=len(document), limit=EVENT_BYTES)
    return None


def start_of(after: str) -> str:
    """`after` where it is an event's id, else the beginning: it may come from a caller's header."""
    return after if _ID.fullmatch(after) else "0"


def _stream(job_id: str) -> str:
    return f"fumehood:events:{job_id}"


def _events(answer: Any) -> list[Event]:
    # RESP2 answers with a list of streams, RESP3 with a mapping; we ask for one stream.
    streams = answer.items() if isinstance(answer, dict) else answer or []
    events = []
    for _, entries in streams:
        for entry in entries:
            identity, fields = entry if not isinstance(entry[0], list) else entry[0]
            events.append(Event(identity.decode(), fields[b"kind"].decode(), json.loads(fields[b"data"])))
    return events
