"""The reaper: takes back what dead workers and expired leases left behind. What it hands back, it has erased first.

A worker of this home is dead when its lock is free: its containers, scratch directories and jobs are taken at once. A lease
is expired when (fence, beat) of its row stood still for `lease_seconds` by our own monotonic clock; no two clocks are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from fumehood.errors import LeaseLost
from fumehood.job import Job, State
from fumehood.outcome import Erasure, Outcome, Reason
from worker.deps import Deps, announce, discard
from worker.registration import Registration
from worker.scratch import erase_directory, owners

log = structlog.get_logger(__name__)

LOST = Outcome(reason=Reason.LOST, message="The worker that ran this job was lost.")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A beat, and when it was first seen."""

    fence: int
    beat: int
    since: float


class Reaper:
    def __init__(self, deps: Deps, registration: Registration, *, interval_seconds: float) -> None:
        self._deps = deps
        self._registration = registration
        self._interval_seconds = interval_seconds
        self._seen: dict[str, _Seen] = {}
        self._looked_at: float | None = None

    def bury_dead_workers(self) -> None:
        """Remove the containers and scratch directories that belong to nobody alive, then hand back the dead workers' jobs.

        In this order, because a job may end with its last attempt, and final implies erased.
        """
        with self._registration.dead() as dead:
            self.sweep_containers()
            erased = self.sweep_scratch()
            failures: list[Exception] = []
            for job in self._deps.store.running():
                if job.worker not in dead:
                    continue
                try:
                    self._take_back(job, erased.get(job.scratch or "", (0, 0)))
                except Exception as error:
                    failures.append(error)
            if failures:
                raise failures[0]
            if dead:
                log.warning("dead workers buried", workers=sorted(dead))

    def sweep_containers(self) -> None:
        for name, worker in self._deps.host.orphans(is_live=self._registration.is_live):
            if self._deps.host.remove(name):
                log.warning("orphan container removed", sandbox=name, worker=worker)

    def sweep_scratch(self) -> dict[str, tuple[int, int]]:
        """Files and bytes removed, by the directory's name."""
        erased: dict[str, tuple[int, int]] = {}
        for directory, worker in owners(self._deps.home):
            if not self._registration.is_live(worker):
                erased[directory.name] = erase_directory(directory)
                log.warning("orphan scratch removed", scratch=directory.name, worker=worker)
        return erased

    def take_expired_leases(self) -> None:
        """Hand back every job whose beat stands still. Where its worker is another host's, only the lease is ours to take."""
        running = self._deps.store.running()
        now = self._deps.monotonic()
        # While the store was away, or this process stopped, nobody could renew what we could not see: begin to count anew.
        if self._looked_at is None or now - self._looked_at > 2 * self._interval_seconds + 1:
            self._seen.clear()
        self._looked_at = now
        before, self._seen = self._seen, {}
        failures: list[Exception] = []
        for job in running:
            seen = before.get(job.id)
            if seen is None or (seen.fence, seen.beat) != (job.fence, job.beat):
                seen = _Seen(job.fence, job.beat, now)
            self._seen[job.id] = seen
            if now - seen.since < self._deps.lease_seconds:
                continue
            log.warning("lease expired", job=job.id, attempt=job.attempt, worker=job.worker, still_seconds=round(now - seen.since, 1))
            try:
                self._take_back(job)
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _take_back(self, job: Job, erased: tuple[int, int] = (0, 0)) -> None:
        """Look that nothing of the attempt is left here, then end the attempt, unless its beat rose meanwhile."""
        if job.sandbox is not None:
            self._deps.host.remove(job.sandbox)
        if job.scratch is not None:
            files, size = erase_directory(self._deps.home / "scratch" / job.scratch)
            erased = (erased[0] + files, erased[1] + size)
        erasure = Erasure(container=job.sandbox, files=erased[0], bytes=erased[1], erased_at=self._deps.now())
        try:
            after = self._deps.store.give_back(job, erasure, LOST, beat=job.beat)
        except LeaseLost:
            return  # It ended, or renewed, or another reaper was first.
        discard(self._deps.blobs, job)
        announce(self._deps.events, after)
        log.warning("job taken back", job=job.id, attempt=job.attempt, worker=job.worker, state=after.state)
        if after.state is State.QUEUED:
            self._deps.queue.send_ticket(job.kind.lane)
