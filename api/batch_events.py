"""The events of a batch: its items as they end, how many are in each state, and the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from api.batch_records import counts_of
from api.desk import Desk
from api.follower import Follower, Look, rest
from api.live_log import KEEP_ALIVE, KEEP_ALIVE_SECONDS, frame
from fumehood.batch import Batch
from fumehood.errors import NotFound
from fumehood.item_ends import ENDS_STEP, ItemEnd
from fumehood.notices import CANCELLED, ITEMS

PAUSE_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.5)
"""Between two looks, after a quiet time: the first news come at once, then twice a second, however many items end."""
QUIET_SECONDS = 1.0
PAUSE_SHARE = 10
"""And the store rests so many times as long as a look took."""
CLOCKS_SECONDS = 60.0
"""By so much may the clocks of a worker and of Redis differ, and an end be written later than it says."""


class _Ends:
    """Which items this connection has told."""

    def __init__(self, desk: Desk, batch: Batch) -> None:
        self._desk, self._batch = desk, batch
        self._told: set[tuple[int, int]] = set()

    async def fresh(self, *, jobs: Sequence[str] | None = None, since: float | None = None) -> AsyncIterator[list[ItemEnd]]:
        """Those that were not told, in short steps."""
        after, ask = -1, self._desk.store.item_ends
        while True:
            ends = await self._desk.look(ask, self._batch.tenant, self._batch.id, jobs=jobs, since=since, after=after)
            fresh = [end for end in ends if (end.number, end.retries) not in self._told]
            self._told.update((end.number, end.retries) for end in fresh)
            if fresh:
                yield fresh
            if len(ends) < ENDS_STEP:
                return
            after = ends[-1].number


async def batch_events(desk: Desk, batch: Batch, last_event_id: str | None, seconds: float) -> AsyncGenerator[bytes]:
    """`item`, `progress`, `gap` and `end`. What an item's end is stands in its row; the stream only says where to look. So whoever comes
    without an id is told all that has ended, and so is who has missed something; nobody is told an end twice over one connection.

    `progress` and `end` carry the id: everything up to there was told before."""
    deadline = time.monotonic() + seconds
    follower, ends = Follower(desk.events, batch.id, last_event_id), _Ends(desk, batch)
    since = _time_of(last_event_id)
    counts: dict[str, int] = {}
    told_at, looks = time.monotonic(), 0
    yield b": begin\n\n"
    with desk.events.listen(batch.id) as bell:
        while True:
            began = time.monotonic()
            look = await follower.look()
            if look.gap is not None:
                since = None
                yield frame(None, "gap", {"reason": look.gap})
            try:
                # After the look: what it found is counted here.
                batch = await desk.look(desk.store.get_batch, batch.tenant, batch.id)
            except NotFound:
                return
            took = time.monotonic() - began
            changed, counts = counts_of(batch) != counts, counts_of(batch)
            pieces = []
            async for some in _news(ends, look, batch, since, poll=follower.away and changed):
                yield b"".join(frame(None, "item", _shown(end)) for end in some)
                pieces.append(len(some))
            if batch.final:
                yield frame(follower.identity, "end", {"counts": counts})
                return
            if changed or pieces or look.anew:
                told_at = time.monotonic()
                yield frame(follower.identity, "progress", {"counts": counts})
            elif time.monotonic() - told_at >= KEEP_ALIVE_SECONDS:
                told_at = time.monotonic()
                yield KEEP_ALIVE
            pause = max(PAUSE_SECONDS[min(looks, len(PAUSE_SECONDS) - 1)], PAUSE_SHARE * took)
            if (now := time.monotonic()) + pause >= deadline:
                return
            await asyncio.sleep(pause)
            await rest(bell, follower, deadline)
            looks = looks + 1 if time.monotonic() - now < QUIET_SECONDS else 0


async def _news(ends: _Ends, look: Look, batch: Batch, since: float | None, *, poll: bool) -> AsyncIterator[list[ItemEnd]]:
    """The items that have ended since the last look, as far as it knows where; in the end all that are left."""
    jobs = [event.data["job"] for event in look.events if event.kind == ITEMS]
    if look.anew or poll or batch.final or any(event.kind == CANCELLED for event in look.events):
        async for some in ends.fresh(since=None if look.anew else since):
            yield some
    elif jobs:
        async for some in ends.fresh(jobs=jobs):
            yield some


def _time_of(event_id: str | None) -> float | None:
    """When an event was told, less what clocks may differ. What ended before it was told before it."""
    milliseconds = (event_id or "").partition("-")[0]
    return int(milliseconds) / 1000 - CLOCKS_SECONDS if milliseconds.isdecimal() and len(milliseconds) < 16 else None


def _shown(end: ItemEnd) -> dict[str, object]:
    reason = end.reason.value if end.reason is not None else None
    return {"number": end.number, "name": end.name, "state": end.state.value, "reason": reason, "job": end.job, "retries": end.retries}
