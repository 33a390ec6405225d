"""The reaper: takes back what dead workers and expired leases left behind. What it hands back, it has erased first.

A worker of this home is dead when its lock is free: its containers, scratch directories and jobs are taken at once. A lease
is expired when (fence, beat) of its row stood still for `lease_seconds` by our own monotonic clock; no two clocks are compared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import structlog

from fumehood.errors import LeaseLost
from fumehood.job import Job, State
from fumehood.log import about
from fumehood.outcome import Outcome, Reason
from worker.deps import Deps, announce, discard, receipt
from worker.registration import Registration
from worker.sandbox import Container
from worker.scratch import Removed, erase_directory, owners

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
        # What the sweeps took away and no receipt names yet: a round that fails half-way must not make one say less.
        self._removed: dict[str, Container] = {}
        self._refused: set[str] = set()
        self._erased: defaultdict[str, Removed] = defaultdict(Removed)

    def bury_dead_workers(self) -> None:
        """Remove the containers and scratch directories that belong to nobody alive, then hand back the dead workers' jobs.

        In this order, because a job may end with its last attempt, and final implies erased. What cannot be removed stops
        nobody else: the rest is done, and the first failure raised at the end.
        """
        with self._registration.dead() as dead:
            failures: list[Exception] = []
            stuck = self._sweep_containers(failures)
            left = set(stuck.values()) | self._sweep_scratch(failures, stuck_workers=set(stuck.values()))
            for job in self._deps.store.running():
                if job.worker not in dead or job.sandbox in stuck:
                    continue
                try:
                    self._take_back(job)
                except Exception as error:
                    failures.append(error)
            for worker in dead - left:
                self._deps.store.forget_prepared_of(worker)
            if failures:
                raise failures[0]
            self._removed.clear()
            self._erased.clear()
            if dead:
                log.warning("dead workers buried", workers=sorted(dead))

    def _sweep_containers(self, failures: list[Exception]) -> dict[str, str]:
        """Remove the orphans. Those that would not go, each with its worker; an engine that cannot list them raises."""
        stuck: dict[str, str] = {}
        orphans = self._deps.host.orphans(is_live=self._registration.is_live)
        deadline = self._deps.monotonic() + self._deps.engine_seconds
        self._refused &= {name for name, _ in orphans}
        # What would not go before comes last: each waits long, and the round must end.
        for name, worker in sorted(orphans, key=lambda orphan: orphan[0] in self._refused):
            if failures and self._deps.monotonic() >= deadline:
                stuck[name] = worker
                continue
            try:
                if removed := self._deps.host.remove(name):
                    self._removed[name] = removed
                    log.warning("orphan container removed", sandbox=name, worker=worker)
                    self._deps.telemetry.leftover("container")
            except Exception as error:
                stuck[name] = worker
                self._refused.add(name)
                failures.append(error)
        return stuck

    def _sweep_scratch(self, failures: list[Exception], *, stuck_workers: set[str]) -> set[str]:
        """Remove what is nobody's. The workers of whom something would not go."""
        left = set()
        for directory, worker in owners(self._deps.home):
            # A container that is still there may be writing into one of its worker's directories.
            if worker in stuck_workers or self._registration.is_live(worker):
                continue
            try:
                erase_directory(directory, self._erased[directory.name])
            except Exception as error:
                failures.append(error)
                left.add(worker)
            else:
                log.warning("orphan scratch removed", scratch=directory.name, worker=worker)
                self._deps.telemetry.leftover("scratch")
        return left

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
            log.warning("lease expired", **about(job), attempt=job.attempt, worker=job.worker, still_seconds=round(now - seen.since, 1))
            try:
                self._take_back(job)
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _take_back(self, job: Job) -> None:
        """Look that nothing of the attempt is left here, then end the attempt, unless its beat rose meanwhile.

        The scratch goes first: a worker that was frozen and wakes up now can make or start no container without the sources
        of its mounts, so that none appears behind the look for it (tests/unit/test_take_over.py tries every order).
        The receipt names what this reaper took away, in this round or one before: a worker may have died between naming its
        container and making it, and what another reaper swept only that one has counted.
        """
        if job.scratch is not None:
            erase_directory(self._deps.home / "scratch" / job.scratch, self._erased[job.scratch])
        if job.sandbox is not None and (removed := self._deps.host.remove(job.sandbox)):
            self._removed[job.sandbox] = removed
        erasure = receipt(job, self._deps, self._removed.get(job.sandbox or ""), self._erased.get(job.scratch or "", Removed()))
        try:
            after = self._deps.store.give_back(job, erasure, LOST, beat=job.beat)
        except LeaseLost:
            return  # It ended, or renewed, or another reaper was first.
        self._removed.pop(job.sandbox or "", None)
        self._erased.pop(job.scratch or "", None)
        discard(self._deps.blobs, job)
        announce(self._deps.events, after)
        self._deps.telemetry.taken_back(job, LOST, after, now=self._deps.now())
        log.warning("job taken back", **about(job), attempt=job.attempt, worker=job.worker, state=after.state)
        if after.state is State.QUEUED:
            self._deps.queue.send_ticket(job.kind.lane)
