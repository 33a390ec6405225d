"""Slots: how many jobs of each lane this worker runs at once, and whether it may take another at all.

A ticket says «there is work» in a lane. It is never waited for: with all slots of the lane busy it is only counted, because
every slot claims again after a finish, until nothing is eligible, and looks once more if tickets came meanwhile.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from fumehood.job import Job, Lane
from fumehood.log import said
from worker.sandbox import Stop, StopSignal

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    job: Job
    stop: StopSignal


class Slots:
    """Safe between threads. `claim(lane, disk_budget_bytes)` gives the next job or None; `carry` takes it through the rooms."""

    def __init__(
        self,
        sizes: Mapping[Lane, int],
        *,
        claim: Callable[[Lane, int], Job | None],
        carry: Callable[[Job, StopSignal], object],
        free_bytes: Callable[[], int],
        floor_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sizes = dict(sizes)
        self._claim = claim
        self._carry = carry
        self._free_bytes = free_bytes
        self._floor_bytes = floor_bytes
        self._monotonic = monotonic
        self._idle = threading.Condition()
        # One claim at a time: the store has one writer, and what is claimed is known here before the next look.
        self._claiming = threading.Lock()
        self._busy = dict.fromkeys(self.sizes, 0)
        self._tickets = dict.fromkeys(self.sizes, 0)
        self._claimed_at = dict.fromkeys(self.sizes, -math.inf)
        self._running: dict[tuple[str, int], Running] = {}
        self._draining = False
        self._stopped: Stop | None = None
        self._doubt: str | None = "not checked yet"
        self._said: str | None = self._doubt

    # tickets -----------------------------------------------------------------------------------------------------------
    def ticket(self, lane: Lane) -> bool:
        """Run jobs of a lane until nothing is eligible. False where the ticket could not be honoured for good: we are leaving."""
        with self._idle:
            if self._draining:
                return False
            self._tickets[lane] += 1
            if self._busy[lane] >= self.sizes[lane]:
                return True
            self._busy[lane] += 1
        try:
            self._work(lane)
        except BaseException:
            self._release(lane)
            raise
        return True

    def ticket_aside(self, lane: Lane) -> None:
        """As `ticket`, in a thread of its own, for who must not wait for the jobs. Asked more often than there are slots it
        does no harm: such a thread ends at once."""
        threading.Thread(target=self._ticket_aside, args=(lane,), name=f"{lane} without ticket", daemon=True).start()

    def _ticket_aside(self, lane: Lane) -> None:
        try:
            self.ticket(lane)
        except Exception as error:  # What Celery does for a ticket that came through Redis.
            log.error("slot failed", lane=lane, error=said(error), exc_info=error)

    def _work(self, lane: Lane) -> None:
        """Claim and carry, and let go of the slot under the lock, so that no ticket falls between the last look and the letting go."""
        while True:
            with self._idle:
                seen = self._tickets[lane]
            while self._next(lane):
                pass
            with self._idle:
                if self._draining or self._tickets[lane] == seen:
                    self._release(lane)
                    return

    def _release(self, lane: Lane) -> None:
        with self._idle:
            self._busy[lane] -= 1
            self._idle.notify_all()

    def _next(self, lane: Lane) -> bool:
        """Claim one job and carry it. False where there is nothing to claim, or we must not."""
        with self._claiming:
            if self.not_ready() is not None:
                return False
            try:
                job = self._claim(lane, self.disk_budget_bytes())
            except Exception as error:  # The store does not answer; the reconciler sends another ticket when it does.
                log.warning("claim failed", lane=lane, error=said(error))
                return False
            if job is None:
                return False
            running = Running(job, StopSignal())
            with self._idle:
                self._claimed_at[lane] = self._monotonic()
                self._running[job.id, job.fence] = running
                stopped = self._stopped
        if stopped is not None:
            running.stop.set(stopped)
        try:
            self._carry(job, running.stop)
        finally:
            with self._idle:
                del self._running[job.id, job.fence]
        return True

    # may we? -----------------------------------------------------------------------------------------------------------
    def disk_budget_bytes(self) -> int:
        """Free space beyond the floor. The store takes off what running jobs reserve, those of other workers too."""
        return self._free_bytes() - self._floor_bytes

    def doubt(self, reason: str) -> None:
        """Claim nothing until `trust()`: something of ours failed, and every job tried meanwhile would lose an attempt to it."""
        self._doubt = reason

    def trust(self) -> None:
        self._doubt = None

    @property
    def doubted(self) -> bool:
        return self._doubt is not None

    def not_ready(self) -> str | None:
        """Why nothing is claimed; None while all is well. Each change is logged once."""
        reason = "the worker is leaving" if self._draining else self._doubt
        if reason is None:
            try:
                free_bytes = self._free_bytes()
            except Exception as error:
                reason = f"the free space cannot be read ({said(error)})"
            else:
                if free_bytes <= self._floor_bytes:
                    # Rounded, so that a file system that breathes is no new event.
                    reason = f"the disk is nearly full: less than {self._floor_bytes:,} bytes are free"
        if reason != self._said:
            self._said = reason
            if reason is None:
                log.info("ready")
            else:
                log.warning("not ready; claiming nothing", reason=reason)
        return reason

    # what goes on ------------------------------------------------------------------------------------------------------
    def free(self, lane: Lane) -> int:
        with self._idle:
            return self.sizes[lane] - self._busy[lane]

    def idle_seconds(self, lane: Lane) -> float:
        """Since the last job of this lane was claimed here; infinite where none was yet."""
        with self._idle:
            return self._monotonic() - self._claimed_at[lane]

    def running(self) -> list[Running]:
        with self._idle:
            return list(self._running.values())

    # leaving -----------------------------------------------------------------------------------------------------------
    def drain(self) -> None:
        """Claim nothing any more; what runs goes on."""
        with self._idle:
            self._draining = True

    def stop_all(self, reason: Stop) -> None:
        """End every running sandbox, and any that a claim just under way is about to start."""
        with self._idle:
            self._stopped = reason
            running = list(self._running.values())
        for attempt in running:
            attempt.stop.set(reason)

    def wait_idle(self, timeout_seconds: float) -> bool:
        with self._idle:
            return self._idle.wait_for(lambda: not any(self._busy.values()), timeout=timeout_seconds)
