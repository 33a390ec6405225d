"""Waiting for a job to end: woken by events, certain by the row, never longer than asked."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

from api.desk import Desk
from fumehood.job import Job

WAIT_SECONDS_MAX = 60.0
REREAD_SECONDS = 2.0
POLL_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)  # where no events come (Redis is away), the row is read at growing distances

_PREFERENCE = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


def preferred_wait(headers: list[str]) -> float | None:
    """The seconds of `Prefer: wait=n`, cut at 60; None where it is absent or makes no sense (RFC 7240: ignored)."""
    found = _PREFERENCE.search(",".join(headers))
    return min(float(found.group(1)), WAIT_SECONDS_MAX) if found else None


async def wait_final(desk: Desk, job: Job, seconds: float, gone: Callable[[], Awaitable[bool]]) -> Job:
    """The job as it is when it is final, when `seconds` are over, or when `gone()` says that nobody waits any more.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    deadline = time.monotonic() + seconds
    cursor, quiet = "0", 0
    while not job.state.final and (left := deadline - time.monotonic()) > 0 and not await gone():
        share, began, ended = min(left, REREAD_SECONDS), time.monotonic(), False
        async for event in desk.events.follow(job.id, after=cursor, timeout_seconds=share):
            cursor, quiet, ended = event.id, 0, event.kind == "end"
            if ended:
                break
        if not ended and time.monotonic() - began < share / 2:
            await asyncio.sleep(min(POLL_SECONDS[min(quiet, len(POLL_SECONDS) - 1)], max(0.0, deadline - time.monotonic())))
            quiet += 1
        job = await desk.ask(desk.store.get_job, job.tenant, job.id)
    return job
