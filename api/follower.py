"""Follower: one reader of a stream of notices: what is new since it last looked, and whether something may have been missed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from api.live_log import KEEP_ALIVE_SECONDS, POLL_SECONDS
from fumehood.bells import Bell
from fumehood.events import MARK, NOTICES, Event, Events

STREAM_SECONDS_MAX = 3600.0  # then the connection closes; a client comes back with Last-Event-ID
LOST, AWAY = "lost", "away"
"""Why there is a gap: the stream does not hold the event to go on behind any more; or there was no stream for a while."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """`anew`: nothing that was told before leads here, so the rows are to be told as they are. `gap` says why, where it is a fault."""

    anew: bool = False
    gap: str | None = None
    events: list[Event] = field(default_factory=list)


class Follower:
    def __init__(self, events: Events, stream: str, last_event_id: str | None) -> None:
        self.cursor = last_event_id or None
        """The event to go on behind: everything up to it was told. None where there is none yet."""
        self.away = False
        """The stream could not be read the last time."""
        self._events, self._stream = events, stream
        self._looked = self._missed = False

    async def look(self) -> Look:
        """What is new. Looks whose `anew` is True have no events: the cursor is the newest one then, where Redis is there."""
        try:
            return await self._look()
        finally:
            self._looked = True

    async def _look(self) -> Look:
        if self._missed or self.cursor is None:
            return await self._begin(AWAY if self._missed else None)
        found: list[Event] = []
        while len(found) <= NOTICES:
            page = await self._events.since(self._stream, self.cursor)
            if page is None:
                return self._gone()
            if not page.held:
                return await self._begin(LOST)
            found += page.events
            self.cursor = found[-1].id if found else self.cursor
            if not page.more:
                break
        self.away = False
        return Look(events=[event for event in found if event.kind != MARK])

    @property
    def identity(self) -> str | None:
        """What an event that is told now is called: who names it is told what comes behind it. None where that would not be so."""
        return None if self.away else self.cursor

    async def _begin(self, gap: str | None) -> Look:
        newest = await self._events.newest(self._stream)
        if newest is None:
            return self._gone()
        self.cursor, self.away, self._missed = newest, False, False
        return Look(anew=True, gap=gap)

    def _gone(self) -> Look:
        self.away = self._missed = True
        if self._looked:
            return Look()
        return Look(anew=True, gap=AWAY if self.cursor is not None else None)


async def rest(bell: Bell, follower: Follower, until: float) -> None:
    """Wait for news; not for longer than a silent connection lasts, nor where none come."""
    quiet_seconds = POLL_SECONDS if bell.away or follower.away else KEEP_ALIVE_SECONDS
    await bell.wait(min(quiet_seconds, until - time.monotonic()))
