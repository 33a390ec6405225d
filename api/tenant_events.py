"""The events of a tenant: its jobs from state to state, and its batches, as they happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from api.batch_records import counts_of
from api.desk import Desk
from api.follower import Follower, rest
from api.live_log import KEEP_ALIVE, KEEP_ALIVE_SECONDS, frame
from fumehood.errors import NotFound
from fumehood.events import Event
from fumehood.job import QUEUE_COUNTED, State
from fumehood.notices import BATCH, JOB
from fumehood.text import timestamp

PAUSE_SECONDS = 0.25  # between two looks; what comes meanwhile is told together
ENDED_BATCHES = 1000  # so many are remembered, not to be told twice


async def tenant_events(desk: Desk, tenant: str, last_event_id: str | None, seconds: float) -> AsyncGenerator[bytes]:
    """`now` where it begins anew, then `job` and `batch` as they happen; `gap` before `now` where something may have been missed."""
    deadline = time.monotonic() + seconds
    follower = Follower(desk.events, tenant, last_event_id)
    batches = _Batches(desk, tenant)
    told_at = time.monotonic()
    yield b": begin\n\n"
    with desk.events.listen(tenant) as bell:
        while True:
            look = await follower.look()
            pieces = []
            if look.gap is not None:
                pieces.append(frame(None, "gap", {"reason": look.gap}))
            if look.anew:
                live = await desk.look(desk.store.count_live, tenant, at_most=QUEUE_COUNTED)
                pieces.append(frame(follower.identity, "now", {state.value: count for state, count in live.items()}))
            jobs = [event for event in look.events if event.kind == JOB]
            more = await batches.told(look.events)
            # Who goes on behind one of these jobs must not miss the batches that are told for them.
            pieces += [frame(None if more else event.id, "job", event.data) for event in jobs]
            pieces += [frame(follower.identity if told is more[-1] else None, "batch", told) for told in more]
            if pieces:
                told_at = time.monotonic()
                yield b"".join(pieces)
            elif time.monotonic() - told_at >= KEEP_ALIVE_SECONDS:
                told_at = time.monotonic()
                yield KEEP_ALIVE
            if time.monotonic() + PAUSE_SECONDS >= deadline:
                return
            await asyncio.sleep(PAUSE_SECONDS)
            await rest(bell, follower, deadline)


class _Batches:
    """What to tell of batches: how far one is when a notice says so, and its end when one of its jobs has ended."""

    def __init__(self, desk: Desk, tenant: str) -> None:
        self._desk, self._tenant = desk, tenant
        self._ended: set[str] = set()

    async def told(self, events: Sequence[Event]) -> list[dict[str, Any]]:
        named = {event.data["id"]: True for event in events if event.kind == BATCH}
        # One that has been told to run again has not ended any more.
        self._ended -= {event.data["id"] for event in events if event.kind == BATCH and event.data.get("again")}
        for event in events:
            if event.kind == JOB and event.data.get("batch") and State(event.data["state"]).final:
                named.setdefault(event.data["batch"], False)
        found = []
        for batch_id, always in named.items():
            if batch_id in self._ended:
                continue
            try:
                batch = await self._desk.look(self._desk.store.get_batch, self._tenant, batch_id)
            except NotFound:
                continue
            if batch.final:
                if len(self._ended) >= ENDED_BATCHES:
                    self._ended.clear()
                self._ended.add(batch_id)
            if batch.final or always:
                said = {"id": batch.id, "items": batch.items, "counts": counts_of(batch)}
                found.append(said | {"finished_at": timestamp(batch.finished_at)})
        return found
