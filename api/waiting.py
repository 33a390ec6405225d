"""Waiting for a job to end: woken by news of it, certain by the row, never longer than asked."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

from api.desk import Desk
from fumehood.job import Job

WAIT_SECONDS_MAX = 60.0
GONE_SECONDS = 2.0  # who asked may have gone; they are looked after that often
REREAD_SECONDS = 10.0  # news are lost where the worker cannot say them
POLL_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)  # where no news come (Redis is away), the row is read at growing distances

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
    if job.state.final or seconds <= 0:
        return job
    with desk.events.listen(job.id, kind="end") as bell:
        looks = 0
        while True:
            # Read with the bell already hung: what comes after this look rings.
            job = await desk.ask(desk.store.get_job, job.tenant, job.id)
            now = time.monotonic()
            if job.state.final or now >= deadline or await gone():
                return job
            pause = POLL_SECONDS[min(looks, len(POLL_SECONDS) - 1)] if bell.away else REREAD_SECONDS
            look_at, looks = min(now + pause, deadline), looks + 1
            while not await bell.wait(min(look_at - time.monotonic(), GONE_SECONDS)) and time.monotonic() < look_at and not await gone():
                pass
