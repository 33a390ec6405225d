"""Memory: queue and events of a service that is one process (`fumehood run --local`, tests); nothing of them outlives it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from fumehood.bells import Bell, Bells
from fumehood.events import (
    MARK,
    NOTICES,
    PAGE_EVENTS,
    STREAM_EVENTS,
    Event,
    Events,
    Newest,
    Notice,
    Page,
    as_document,
    as_notice,
    kinds_by_stream,
    page_of,
    start_of,
)
from fumehood.job import Lane
from fumehood.job_queue import TICKETS_MAX, JobQueue


class MemoryQueue(JobQueue):
    """Counts tickets. `away = True` behaves as a Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self._tickets: Counter[Lane] = Counter()
        self._changed = threading.Condition()

    def send_ticket(self, lane: Lane) -> bool:
        if self.away:
            return False
        with self._changed:
            self._tickets[lane] = min(self._tickets[lane] + 1, TICKETS_MAX)
            self._changed.notify_all()
        return True

    def depth(self, lane: Lane) -> int | None:
        return None if self.away else self._tickets[lane]

    def take_ticket(self, lane: Lane, *, timeout_seconds: float = 0.0) -> bool:
        """What a worker does: wait for a ticket and take it away. False where none came in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._tickets[lane] > 0, timeout_seconds):
                return False
            self._tickets[lane] -= 1
            return True


class MemoryEvents(Events):
    """Streams as lists. `away = True` behaves as a Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self._lock = threading.Lock()
        self._streams: dict[str, deque[Event]] = defaultdict(lambda: deque(maxlen=STREAM_EVENTS))
        self._newest = Newest()
        self._count = 0
        self._bells = Bells(lambda: self.away)

    def publish_all(self, job_id: str, told: Sequence[tuple[str, dict[str, Any]]], notices: Sequence[Notice] = ()) -> None:
        documents = [(kind, document) for kind, data in told if (document := as_document(job_id, kind, data)) is not None]
        if self.away:
            return
        with self._lock:
            stream = self._streams[job_id] if documents else deque()
            for kind, document in documents:
                stream.append(self._event(kind, document))
                kept = self._newest.count(job_id, len(document))
                while kept is not None and len(stream) > kept:
                    stream.popleft()
            for notice in notices:
                if (document := as_notice(notice)) is not None:
                    self._notices(notice.stream).append(self._event(notice.kind, document))
        for name, kinds in kinds_by_stream(job_id, [kind for kind, _ in documents], notices).items():
            self._bells.ring(name, kinds)

    async def newest(self, stream: str) -> str | None:
        if self.away:
            return None
        with self._lock:
            kept = self._notices(stream)
            if not kept:
                kept.append(self._event(MARK, "{}"))
            return kept[-1].id

    async def since(self, stream: str, after: str) -> Page | None:
        if self.away:
            return None
        begin = _position(start_of(after))
        return page_of([event for event in self.published(stream) if _position(event.id) >= begin][: PAGE_EVENTS + 1], after)

    def forget(self, job_id: str) -> None:
        if not self.away:
            with self._lock:
                self._newest.forget(job_id)
                self._streams.pop(job_id, None)

    def listen(self, job_id: str, *, kind: str | None = None) -> AbstractContextManager[Bell]:
        return self._bells.hung(job_id, kind)

    async def follow(self, job_id: str, *, after: str = "0", timeout_seconds: float) -> AsyncGenerator[Event, None]:
        deadline = time.monotonic() + timeout_seconds
        last = _position(start_of(after))
        with self.listen(job_id) as bell:
            while not self.away:
                for event in self.published(job_id):
                    if _position(event.id) > last:
                        last = _position(event.id)
                        yield event
                        if event.kind == "end":
                            return
                if not await bell.wait(deadline - time.monotonic()):
                    return

    def _event(self, kind: str, document: str) -> Event:
        self._count += 1
        return Event(f"{self._count}-0", kind, json.loads(document))

    def _notices(self, stream: str) -> deque[Event]:
        if stream not in self._streams:
            self._streams[stream] = deque(maxlen=NOTICES)
        return self._streams[stream]

    @property
    def followed(self) -> bool:
        """What a test waits for."""
        return bool(self._bells)

    def published(self, job_id: str) -> list[Event]:
        """What a test looks at."""
        with self._lock:
            return list(self._streams.get(job_id, ()))


def _position(event_id: str) -> tuple[int, int]:
    time_part, _, number = event_id.partition("-")
    return int(time_part), int(number or 0)
