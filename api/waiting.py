"""Waiting for a job to end: woken by news of it, certain by the row, never longer than asked."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from api.desk import Desk
from fumehood.bells import Bell
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


async def wait_final(desk: Desk, job: Job, seconds: float, gone: Callable[[], Awaitable[bool]], *, bell: Bell | None = None) -> Job:
    """The job as it is when it is final, when `seconds` are over, or when `gone()` says that nobody waits any more.

    `bell`: one for the job's end that was hung up before the job was there, so that `job` is no older than it.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    deadline = time.monotonic() + seconds
    if job.state.final or seconds <= 0:
        return job
    with desk.events.listen(job.id, kind="end") if bell is None else nullcontext(bell) as ringing:
        if bell is None:
            # Read with the bell hung: what comes after this look rings.
            job = await _row(desk, job)
        looks = 0
        while not job.state.final and (now := time.monotonic()) < deadline:
            pause = POLL_SECONDS[min(looks, len(POLL_SECONDS) - 1)] if ringing.away else REREAD_SECONDS
            look_at, looks = min(now + pause, deadline), looks + 1
            rung = False
            while not rung and (left := look_at - time.monotonic()) > 0:
                rung = await ringing.wait(min(left, GONE_SECONDS))
                if not rung and await gone():
                    return job
            job = await _row(desk, job)
        return job


async def _row(desk: Desk, job: Job) -> Job:
    return await desk.ask(desk.store.get_job, job.tenant, job.id)
