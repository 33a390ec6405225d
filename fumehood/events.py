"""Events: the live log and state changes of a job, in Redis streams. Gaps are allowed: the stored log and the row are the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is `state`, `log`, `attempt` or `end`. Data of `log`: `{"attempt", "offset", "text"}`; of `state`: `{"state", "reason"}`."""

    id: str
    kind: str
    data: dict[str, Any]


class Events:
    """Publishing (synchronous, for API and worker) and following (async, for the API). Streams are capped and expire."""

    def publish(self, job_id: str, kind: str, data: dict[str, Any]) -> None:
        """Never raises: a reader that misses an event reads the row."""
        raise NotImplementedError

    def follow(self, job_id: str, *, after: str = "0", timeout_seconds: float) -> AsyncIterator[Event]:
        """Events after the id `after`, as they come (XREAD BLOCK), until `end` or the time is over. Where Redis is away the
        iterator ends early; the caller reads the row."""
        raise NotImplementedError
