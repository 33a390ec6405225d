"""Events: the live log and state changes of a job, in Redis streams. Gaps are allowed: the stored log and the row are the truth."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fumehood.redis_link import CALL_SECONDS, RedisLink, redis_address
from fumehood.settings import Settings

STREAM_EVENTS = 10_000
"""A job's stream holds about so many events; older ones make room."""
EVENT_BYTES = 256 * 1024
"""A larger event is left out: a gap in the live log, never a Redis full of one job."""
KEPT_SECONDS = 3600
"""A stream that nothing is written to is forgotten after so long."""

_BLOCK_SECONDS = 5.0
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
        raise NotImplementedError

    def follow(self, job_id: str, *, after: str = "0", timeout_seconds: float) -> AsyncGenerator[Event, None]:
        """Events after the id `after`, as they come (XREAD BLOCK), until `end` or the time is over. Where Redis is away the
        iterator ends early; the caller reads the row. An `after` that is no id means the beginning. Whoever stops before
        the end closes it (`aclose`), and its connection with it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""


class RedisEvents(Events):
    def __init__(self, settings: Settings) -> None:
        self._address, self._password = redis_address(settings), settings.secret("redis_password")
        self._link = RedisLink(settings)

    def publish(self, job_id: str, kind: str, data: dict[str, Any]) -> None:
        document = as_document(job_id, kind, data)
        if document is None:
            return

        def add(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)  # one round trip
            pipeline.xadd(_stream(job_id), {"kind": kind, "data": document}, maxlen=STREAM_EVENTS, approximate=True)
            pipeline.expire(_stream(job_id), KEPT_SECONDS)
            return pipeline.execute()

        self._link.call(add)

    async def follow(self, job_id: str, *, after: str = "0", timeout_seconds: float) -> AsyncGenerator[Event, None]:
        deadline = time.monotonic() + timeout_seconds
        last = start_of(after)
        # A connection of its own: a blocking read would hold a shared one.
        client = redis.asyncio.Redis.from_url(
            self._address,
            password=self._password,
            single_connection_client=True,
            socket_connect_timeout=CALL_SECONDS,
            socket_timeout=_BLOCK_SECONDS + 2,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            while (left := deadline - time.monotonic()) > 0:
                milliseconds = max(1, int(min(left, _BLOCK_SECONDS) * 1000))  # 0 would mean for ever
                # Connecting and logging in count too: a Redis that is frozen accepts connections and then says nothing.
                async with asyncio.timeout(milliseconds / 1000 + CALL_SECONDS):
                    streams = await client.xread({_stream(job_id): last}, count=_BATCH, block=milliseconds)
                for event in _events(streams):
                    last = event.id
                    yield event
                    if event.kind == "end":
                        return
        except (RedisError, OSError) as error:
            log.warning("redis is away", error=type(error).__name__, job=job_id)
        finally:
            await client.aclose()

    def close(self) -> None:
        self._link.close()


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
