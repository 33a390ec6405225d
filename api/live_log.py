"""The live log: server-sent events of one job, from its beginning to `end`."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from api.desk import Desk
from fumehood.errors import NotFound
from fumehood.job import Job
from fumehood.text import timestamp

PLACE_SECONDS = 2.0  # while a job waits its place is told, and nothing says when that changes
KEEP_ALIVE_SECONDS = 15.0
STREAM_SECONDS_MAX = 4 * 3600.0  # then the connection closes; a client comes back with Last-Event-ID
POLL_SECONDS = 0.5  # where no news come (Redis is away), the row is read that often
CHUNK_BYTES = 16 * 1024
SO_FAR_SECONDS = 2.0

# Events of Redis are numbered by milliseconds of today; those of a stored log come after all of them.
STORED = 9_999_999_999_999
KEEP_ALIVE = b": keep-alive\n\n"
_EVENT_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


async def live_events(desk: Desk, job: Job, last_event_id: str | None) -> AsyncGenerator[bytes]:
    """`state`, `attempt`, `progress`, `log` and `end` as they come, each with one JSON document as data, so that a line of the log cannot
    forge an event. Every `log` says its attempt and its offset in bytes: where Redis lost events the stored log is told
    from its beginning, and a reader drops what it has. With `last_event_id` the stream goes on behind that event.
    """
    known = _EVENT_ID.fullmatch(last_event_id or "")
    cursor, told_at = known.group(0) if known else "0", time.monotonic()
    deadline = told_at + STREAM_SECONDS_MAX
    ahead: int | None = None
    yield b": begin\n\n"
    while not job.state.final or (known and int(known.group(1)) != STORED):
        if time.monotonic() > deadline:
            return
        if job.queue_position is not None and job.queue_position != ahead:
            ahead = job.queue_position
            # Without an id: it is true now, and not to be told again.
            yield frame(None, "progress", {"queue_position": ahead, "estimated_start_at": timestamp(job.estimated_start_at)})
        began = time.monotonic()
        # A job that has ended is asked for what Redis still holds, but not waited for.
        quiet_seconds = PLACE_SECONDS if job.queue_position is not None else KEEP_ALIVE_SECONDS - (began - told_at)
        seconds = 0.0 if job.state.final else quiet_seconds
        async for event in desk.events.follow(job.id, after=cursor, timeout_seconds=seconds):
            cursor, told_at = event.id, time.monotonic()
            yield frame(event.id, event.kind, event.data)
            if event.kind == "end":
                return
        if job.state.final:
            break
        if time.monotonic() - told_at >= KEEP_ALIVE_SECONDS:
            told_at = time.monotonic()
            yield KEEP_ALIVE
        if time.monotonic() - began < seconds / 2:  # it ended early
            await asyncio.sleep(POLL_SECONDS)
        try:
            job = await desk.ask(desk.store.get_job, job.tenant, job.id)
        except NotFound:
            return
    offset = int(known.group(2)) if known and int(known.group(1)) == STORED else 0
    async for chunk in stored_events(desk, job, offset):
        yield chunk


async def stored_events(desk: Desk, job: Job, offset: int = 0) -> AsyncIterator[bytes]:
    """The stored log of a final job from `offset` on, and its end. An offset behind the log's end comes from a client's header,
    and means the end."""
    offset = min(offset, job.outcome.outputs.get("log", 0) if job.outcome else 0)
    async for text, begin, end in stored_text(desk, job, offset):
        offset = end
        yield frame(f"{STORED}-{end}", "log", {"attempt": job.attempt, "offset": begin, "text": text})
    reason = job.outcome.reason.value if job.outcome else None
    yield frame(f"{STORED}-{offset + 1}", "end", {"state": job.state.value, "reason": reason})


async def stored_text(desk: Desk, job: Job, offset: int = 0, end_at: int | None = None) -> AsyncIterator[tuple[str, int, int]]:
    """Pieces of the stored log as text, each with the offsets in bytes where it begins and ends, as far as `end_at`. Bytes that are
    no UTF-8 are replaced; a character that lies across two pieces is not."""
    if job.outcome is None or "log" not in job.outcome.outputs:
        return
    try:
        blob = await desk.file(desk.blobs.open, job.tenant, job.output_blob("log"))
    except NotFound:
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with blob:
        begin = offset
        while piece := await desk.file(os.pread, blob.fileno(), _portion(offset, end_at), offset):
            offset += len(piece)
            text = decoder.decode(piece)
            end = offset - len(decoder.getstate()[0])
            if text:
                yield text, begin, end
                begin = end
        if rest := decoder.decode(b"", True):
            yield rest, begin, offset


def _portion(offset: int, end_at: int | None) -> int:
    return CHUNK_BYTES if end_at is None else min(CHUNK_BYTES, end_at - offset)


async def text_so_far(desk: Desk, job: Job) -> AsyncIterator[str]:
    """What the live stream of the current attempt holds now, event by event; nothing where Redis is away. It ends where the
    stream ends for now, and where that goes on for 2 seconds: this is no following. A slow reader's time does not count, or
    the text would end early for it."""
    left = SO_FAR_SECONDS
    async with aclosing(desk.events.follow(job.id, timeout_seconds=0.0)) as events:
        began = time.monotonic()
        async for event in events:
            left -= time.monotonic() - began
            if event.kind == "log" and event.data.get("attempt") == job.attempt:
                yield str(event.data.get("text", ""))
            if event.kind == "end" or left <= 0:
                return
            began = time.monotonic()


def frame(event_id: str | None, kind: str, data: dict[str, Any]) -> bytes:
    """One event. The data is one line of ASCII: JSON escapes what a line reader might take for a line's end."""
    name = "" if event_id is None else f"id: {event_id}\n"
    return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
