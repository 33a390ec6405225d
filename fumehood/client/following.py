"""Following: the events of a batch, and those of everything that is the key's, over as many connections as it takes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from fumehood.client import wire
from fumehood.client.errors import NotThere, TooBusy, Unreachable
from fumehood.client.events import ServerEvent
from fumehood.client.surface import BACKOFF_SECONDS, AsyncSurface
from fumehood.client.watching import Patience
from fumehood.client.words import Document, quoted

LOOK_SECONDS = 1.0
"""Where there is no stream: how often somebody is told who wants to see the counts."""
STREAM_SECONDS = 3600.0
"""As long as the service keeps a connection."""


async def follow_batch(
    surface: AsyncSurface, batch_id: str, *, patience_seconds: Callable[[], float] = lambda: wire.READ_SECONDS
) -> AsyncGenerator[ServerEvent, None]:
    """A batch's events until its end, taken up again after a broken connection; an item may come twice then.

    `patience_seconds` as for a job's (`AsyncSurface.follow`)."""
    path, last = f"/v1/batches/{quoted(batch_id)}/events", None
    while True:
        with suppress(Unreachable):  # the question below is tried again, and says so where the service stays away
            async with aclosing(surface.stream(path, last, patience_seconds())) as events:
                async for event in events:
                    last = event.id or last
                    yield event
                    if event.kind == "end":
                        return
        await surface.batch(batch_id)
        await surface.wire.sleep(min(BACKOFF_SECONDS, patience_seconds()))


async def follow_all(surface: AsyncSurface, *, seconds: float | None = None, after: str | None = None) -> AsyncGenerator[ServerEvent, None]:
    """The events of all jobs and batches, behind the one with the id `after` where it is given; for so many seconds, or for ever."""
    deadline = None if seconds is None else time.monotonic() + seconds
    last = after
    while True:
        left = STREAM_SECONDS if deadline is None else min(STREAM_SECONDS, max(0.0, deadline - time.monotonic()))
        with suppress(Unreachable):
            async with aclosing(surface.stream("/v1/events", last, wire.READ_SECONDS, seconds=f"{left:.3f}")) as events:
                async for event in events:
                    last = event.id or last
                    yield event
        if deadline is not None and time.monotonic() + BACKOFF_SECONDS >= deadline:
            return
        await surface.health()
        await surface.wire.sleep(BACKOFF_SECONDS)


async def batch_progress(surface: AsyncSurface, record: Document, patience: Patience) -> AsyncGenerator[Document, None]:
    """The batch's record whenever its counts have changed; the last one is that of its end.

    Raises:
        WaitedTooLong: by `patience`.
    """
    with suppress(NotThere, TooBusy):  # An older service has no such stream, a busy one no place for it; the record is there all the same.
        async with aclosing(follow_batch(surface, record["id"], patience_seconds=patience.left)) as events:
            async for event in events:
                patience.left()
                if event.kind == "progress":
                    record = {**record, "counts": event.data["counts"]}
                    yield record
    while True:
        record = await surface.batch(record["id"], wait_seconds=patience.left(LOOK_SECONDS))
        yield record
        if record.get("finished_at") is not None:
            return
        await surface.wire.sleep(patience.left(BACKOFF_SECONDS))
