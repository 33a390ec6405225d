"""The live log: publishes what the script prints while it runs. Gaps are allowed; the stored log is complete."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from fumehood.events import Notice
from fumehood.job import Job
from fumehood.log import said
from worker.scratch import Scratch

log = structlog.get_logger(__name__)

CHUNK_BYTES = 16 * 1024
# A reader follows a few screens a second; a flood is told by its newest part, and in full by the stored log.
BYTES_PER_SECOND = 256 * 1024
SLOW_SECONDS = 0.5
PAUSE_SECONDS = 10.0


class Publishes(Protocol):
    def publish(self, job_id: str, kind: str, data: dict[str, Any]) -> None: ...

    def publish_all(self, job_id: str, told: Sequence[tuple[str, dict[str, Any]]], notices: Sequence[Notice] = ()) -> None: ...

    def forget(self, job_id: str) -> None: ...


class LiveLog:
    """Called from the thread that also drains the sandbox and watches its deadline, so it never raises and never lingers."""

    def __init__(self, job: Job, scratch: Scratch, events: Publishes, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._job = job
        self._scratch = scratch
        self._events = events
        self._monotonic = monotonic
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._allowed_bytes = float(BYTES_PER_SECOND)
        self._at = monotonic()
        self._silent_until = 0.0

    def grown(self, bytes_so_far: int) -> None:
        """The first `bytes_so_far` of the log will not change any more."""
        try:
            self._publish(min(bytes_so_far, self._scratch.size("log")))
        except Exception as error:  # The live log is a courtesy; the run goes on without it.
            log.warning("live log interrupted", job=self._job.id, error=said(error))
            self._silent_until = self._monotonic() + PAUSE_SECONDS

    def _publish(self, end: int) -> None:
        now = self._monotonic()
        self._allowed_bytes = min(BYTES_PER_SECOND, self._allowed_bytes + (now - self._at) * BYTES_PER_SECOND)
        self._at = now
        if now < self._silent_until or self._allowed_bytes < CHUNK_BYTES:
            return
        if end - self._offset > self._allowed_bytes:
            self._offset = end - int(self._allowed_bytes)
            self._decoder.reset()
        while self._offset < end:
            held_back = len(self._decoder.getstate()[0])
            chunk = self._scratch.read("log", offset=self._offset, limit_bytes=min(CHUNK_BYTES, end - self._offset))
            if not chunk:
                return
            start, self._offset = self._offset - held_back, self._offset + len(chunk)
            self._allowed_bytes -= len(chunk)
            text = self._decoder.decode(chunk)
            if text:
                self._events.publish(self._job.id, "log", {"attempt": self._job.attempt, "offset": start, "text": text})
            if self._monotonic() - now > SLOW_SECONDS:
                # Redis hangs. Waiting for it chunk by chunk would hold up the sandbox's own pipe.
                self._silent_until = self._monotonic() + PAUSE_SECONDS
                return
