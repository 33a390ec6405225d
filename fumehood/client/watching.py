"""Watching: a job's log and states as they come, each piece of the log once and none left out at the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from fumehood.client import wire
from fumehood.client.errors import NotThere, WaitedTooLong
from fumehood.client.surface import WAIT_SECONDS, AsyncSurface
from fumehood.client.words import Document, is_final

LOG_BYTES_MAX = 200 * 2**20
"""More than any stored log as UTF-8."""
TAIL_BYTES = 8 * 1024


class Patience:
    """How long the caller waits; `timeout_seconds` None for as long as it takes."""

    def __init__(self, timeout_seconds: float | None, what: str) -> None:
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._said = f"{what} has not ended within {timeout_seconds} seconds"

    def left(self, at_most: float = wire.READ_SECONDS) -> float:
        """Seconds for the next request. Raises WaitedTooLong when they are over."""
        if self._deadline is None:
            return at_most
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise WaitedTooLong(self._said)
        return min(left, at_most)


@dataclass(frozen=True, slots=True)
class Seen:
    """A piece of the log, or the record where something changed; the last one is the final record."""

    text: str = ""
    record: Document | None = None


class Shown:
    """How much of the log was shown, without holding it."""

    def __init__(self) -> None:
        self.bytes = 0
        self.digest = hashlib.sha256()
        self._position = 0

    def fresh(self, offset: int, text: str) -> str:
        """What of `text`, which begins at `offset` of the log, was not shown yet: after Redis lost events the service tells
        a log from its beginning."""
        chunk = text.encode(errors="replace")
        # A replaced byte is told as three; counted as one, nothing that is new can be taken for old.
        end = offset + len(chunk) - 2 * text.count("\ufffd")
        if end <= self._position:
            return ""
        chunk = chunk[max(0, self._position - offset) :]
        self._position = end
        self.bytes += len(chunk)
        self.digest.update(chunk)
        return chunk.decode(errors="replace")

    def missing(self, stored: bytes | bytearray) -> str:
        """What the stored log has beyond what was shown, or its end where the live log had gaps."""
        if hashlib.sha256(stored[: self.bytes]).digest() == self.digest.digest():
            return stored[self.bytes :].decode(errors="replace")
        return "\n[the log came faster than it can be followed; its end:]\n" + stored[-TAIL_BYTES:].decode(errors="replace")


async def watch(surface: AsyncSurface, record: Document, patience: Patience) -> AsyncGenerator[Seen, None]:
    """Everything about a job from now on until its end; a job that has ended is told from its stored log.

    Raises:
        WaitedTooLong: by `patience`.
    """
    shown, attempt = Shown(), int(record.get("attempt") or 0) or 1
    async with aclosing(surface.follow(record["id"], patience_seconds=patience.left)) as events:
        async for event in events:
            patience.left()
            if event.kind == "log":
                if event.data.get("attempt", attempt) != attempt:
                    attempt, shown = event.data["attempt"], Shown()
                yield Seen(text=shown.fresh(int(event.data.get("offset", 0)), str(event.data.get("text", ""))))
            elif event.kind in ("state", "attempt") or (event.kind == "tick" and record.get("state") == "queued"):
                record = await surface.job(record["id"])
                if not is_final(record):
                    yield Seen(record=record)
    record = await final(surface, record, patience)
    yield Seen(text=shown.missing(await _stored_log(surface, record["id"])))
    yield Seen(record=record)


async def final(surface: AsyncSurface, record: Document, patience: Patience) -> Document:
    """The record once it is final."""
    while not is_final(record):
        record = await surface.waited(record["id"], patience.left(WAIT_SECONDS))
    return record


async def _stored_log(surface: AsyncSurface, job_id: str) -> bytearray:
    try:
        return await surface.read(f"/v1/jobs/{job_id}/log", accept="text/plain", bytes_max=LOG_BYTES_MAX)
    except NotThere:
        return bytearray()  # the job never had one


class Lines:
    """Pieces of text as whole lines."""

    def __init__(self) -> None:
        self._rest = ""

    def whole(self, text: str) -> list[str]:
        *lines, self._rest = (self._rest + text).split("\n")
        return [line.removesuffix("\r") for line in lines]

    def last(self) -> list[str]:
        """What stands behind the last newline."""
        return [self._rest] if self._rest else []
