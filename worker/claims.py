"""Claims: the next job of a lane, with the sandbox that waits for it, within what the disk has."""

from __future__ import annotations

from fumehood.job import Job, Lane
from fumehood.job_store import JobStore
from worker.warm_pool import WarmPool


class Claims:
    """Safe between threads."""

    def __init__(self, store: JobStore, pool: WarmPool, *, worker: str) -> None:
        self._store = store
        self._pool = pool
        self._worker = worker

    def claim(self, lane: Lane, disk_budget_bytes: int) -> Job | None:
        """Sandboxes that wait with a script open have their part of the disk, and give way to a job that does not fit beside them."""
        reserved_bytes = self._pool.reserved_bytes()
        job = self._claim_within(lane, disk_budget_bytes - reserved_bytes)
        if job is not None or not reserved_bytes:
            return job
        if self._store.too_large_for_disk(lane, disk_budget_bytes=disk_budget_bytes - reserved_bytes) is None:
            return None
        self._pool.make_room()
        return self._claim_within(lane, disk_budget_bytes - self._pool.reserved_bytes())

    def _claim_within(self, lane: Lane, disk_budget_bytes: int) -> Job | None:
        """Names the sandbox that is ready in the claim itself, so that the usual way needs no second transaction."""
        ready = self._pool.hold(lane)
        if ready is None:
            return self._store.claim(worker=self._worker, lane=lane, disk_budget_bytes=disk_budget_bytes)
        try:
            job = self._store.claim(
                worker=self._worker, lane=lane, disk_budget_bytes=disk_budget_bytes, sandbox=ready.name, scratch=ready.scratch.name
            )
        except BaseException:
            self._pool.discard(ready)
            raise
        if job is None:
            self._pool.put_back(ready)
        return job
