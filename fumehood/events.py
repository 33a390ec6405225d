"""Events: what happens to jobs, batches and tenants, in Redis streams. Gaps are allowed: the rows and the stored log are the truth.

A job's stream is told to its end (`follow`). Those of batches and tenants hold short notices; who reads one goes on behind an event
of it (`since`), and hears where that event is not there any more.
"""

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
PAGE_EVENTS = 100
"""So many are read at a time."""
NOTICES = 1000
"""The stream of a batch or of a tenant holds about so many notices."""
NOTICE_BYTES = 512
"""And none that is longer, so that no stream of notices is longer than half a MiB."""
NOTICES_KEPT_SECONDS = 900
"""Time to come back after a broken connection. Each look into a stream begins it anew, so one that is followed stays."""
MARK = "mark"
"""Kind of the notice that begins a stream for who would follow it: it tells nothing, and something can come behind it."""

_FIELDS_BYTES = 64  # what Redis adds to an event's data, about
_JOBS_COUNTED = 1000
_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is `state`, `log`, `attempt` or `end`. Data of `log`: `{"attempt", "offset", "text"}`; of `state`: `{"state", "reason"}`."""

    id: str
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """A short event of a batch's or a tenant's stream. Without `data` it only rings the bells there, and is not kept."""

    stream: str
    """Id of the batch or of the tenant."""
    kind: str
    data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What stands in a stream behind an event: the first of it, where there are more."""

    events: list[Event]
    held: bool
    """Whether that event is still there. Where it is not, something may be missing before `events`."""
    more: bool


class Events:
    """Publishing (synchronous, for API and worker) and following (async, for the API). Streams are capped and expire.

    `RedisEvents(settings)` and, in fumehood.testing, an in-memory one.
    """

    def publish(self, job_id: str, kind: str, data: dict[str, Any]) -> None:
        """Never raises: a reader that misses an event reads the row."""
        self.publish_all(job_id, [(kind, data)])

    def publish_all(self, job_id: str, told: Sequence[tuple[str, dict[str, Any]]], notices: Sequence[Notice] = ()) -> None:
        """Several events of a job, (kind, data) each, and the notices of them, in one round trip. Never raises."""
        raise NotImplementedError

    def notify(self, notices: Sequence[Notice]) -> None:
        """Notices that come with no event of a job, in one round trip. Never raises."""
        self.publish_all("", (), notices)

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

    async def newest(self, stream: str) -> str | None:
        """The id of the newest event of a stream of notices; of a mark, which is made where the stream is empty. None where Redis is
        away."""
        raise NotImplementedError

    async def since(self, stream: str, after: str) -> Page | None:
        """The events behind the one with the id `after`, which may come from a caller's header. None where Redis is away."""
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

    def publish_all(self, job_id: str, told: Sequence[tuple[str, dict[str, Any]]], notices: Sequence[Notice] = ()) -> None:
        documents = [(kind, document) for kind, data in told if (document := as_document(job_id, kind, data)) is not None]
        if not documents and not notices:
            return
        kept = [self._newest.count(job_id, len(document)) for _, document in documents]
        kinds = [kind for kind, _ in documents]
        if "end" in kinds:
            self._newest.forget(job_id)
        noted = [(notice, document) for notice in notices if (document := as_notice(notice)) is not None]

        def add(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)  # one round trip
            for (kind, document), most in zip(documents, kept, strict=True):
                # Redis trims in whole nodes where that will do, and exactly where the bytes count.
                pipeline.xadd(_stream(job_id), {"kind": kind, "data": document}, maxlen=most or STREAM_EVENTS, approximate=most is None)
            if documents:
                pipeline.expire(_stream(job_id), KEPT_AFTER_END_SECONDS if "end" in kinds else KEPT_SECONDS)
            for notice, document in noted:
                pipeline.xadd(_stream(notice.stream), {"kind": notice.kind, "data": document}, maxlen=NOTICES, approximate=True)
            for stream in {notice.stream for notice, _ in noted}:
                pipeline.expire(_stream(stream), NOTICES_KEPT_SECONDS)
            pipeline.publish(CHANNEL, news(kinds_by_stream(job_id, kinds, notices)))
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
                        streams = await self._ear().client.xread({_stream(job_id): last}, count=PAGE_EVENTS)
                    events = _events(streams)
                    for event in events:
                        last = event.id
                        yield event
                        if event.kind == "end":
                            return
                    if len(events) < PAGE_EVENTS and (bell.away or not await bell.wait(deadline - time.monotonic())):
                        return
            except (RedisError, OSError) as error:
                log.warning("redis is away", error=type(error).__name__, job=job_id)

    async def newest(self, stream: str) -> str | None:
        name, ear = _stream(stream), self._ear()
        try:
            async with asyncio.timeout(2 * CALL_SECONDS):
                found: Any = await ear.client.xrevrange(name, count=1)
                if found:
                    return bytes(found[0][0]).decode()
                pipeline = ear.client.pipeline(transaction=False)
                pipeline.xadd(name, {"kind": MARK, "data": "{}"}, maxlen=NOTICES, approximate=True)
                pipeline.expire(name, NOTICES_KEPT_SECONDS)
                return bytes((await pipeline.execute())[0]).decode()
        except (RedisError, OSError) as error:
            log.warning("redis is away", error=type(error).__name__, stream=stream)
            return None

    async def since(self, stream: str, after: str) -> Page | None:
        if _ID.fullmatch(after) is None:
            return Page([], held=False, more=False)
        try:
            async with asyncio.timeout(2 * CALL_SECONDS):
                pipeline = self._ear().client.pipeline(transaction=False)
                pipeline.xrange(_stream(stream), min=after, count=PAGE_EVENTS + 1)
                pipeline.expire(_stream(stream), NOTICES_KEPT_SECONDS)
                entries = (await pipeline.execute())[0]
        except (RedisError, OSError) as error:
            log.warning("redis is away", error=type(error).__name__, stream=stream)
            return None
        return page_of([_event(*entry) for entry in entries], after)

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


def as_notice(notice: Notice) -> str | None:
    """The data as JSON; None where it is too long for a notice, or where there is none."""
    document = None if notice.data is None else json.dumps(notice.data)
    if document is None or len(document) <= NOTICE_BYTES:
        return document
    log.error("notice left out", stream=notice.stream, kind=notice.kind, notice_bytes=len(document), limit=NOTICE_BYTES)
    return None


def kinds_by_stream(job_id: str, kinds: list[str], notices: Sequence[Notice]) -> dict[str, list[str]]:
    """What the bells ring for, by the id that they hang at."""
    told = {job_id: kinds} if kinds else {}
    for notice in notices:
        told[notice.stream] = [*told.get(notice.stream, ()), notice.kind]
    return told


def page_of(events: list[Event], after: str) -> Page:
    """Of the events from the one on that `after` names."""
    held = bool(events) and events[0].id == (after if "-" in after else f"{after}-0")
    return Page(events[1:] if held else events, held=held, more=len(events) > PAGE_EVENTS)


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
            events.append(_event(*(entry if not isinstance(entry[0], list) else entry[0])))
    return events


def _event(identity: bytes, fields: dict[bytes, bytes]) -> Event:
    return Event(identity.decode(), fields[b"kind"].decode(), json.loads(fields[b"data"]))
