"""The chore that erases tenants who are deleted: jobs, rows, event streams and blobs, in small steps, and then the receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from worker.deps import Deps

log = structlog.get_logger(__name__)

STEPS_PER_ROUND = 20
PREFIXES_AT_ONCE = 50


class TenantEraser:
    """`seal` signs the receipt."""

    def __init__(self, deps: Deps, seal: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        self._deps = deps
        self._seal = seal

    def erase(self) -> None:
        """Some steps for each tenant that is being deleted; what is left is for the next round, or for another worker."""
        for tenant in self._deps.store.tenants_to_erase():
            for _ in range(STEPS_PER_ROUND):
                if not self._step(tenant):
                    break

    def _step(self, tenant: str) -> bool:
        """False where there is nothing to do for now: a job still runs, or all is done."""
        store, blobs = self._deps.store, self._deps.blobs
        if store.end_jobs_of(tenant):
            return False
        for stream in store.some_streams_of(tenant):
            self._deps.events.forget(stream)
        if store.erase_rows_of(tenant):
            return True
        prefixes = blobs.some_of(tenant, limit=PREFIXES_AT_ONCE)
        if prefixes:
            gone = [blobs.delete(tenant, prefix) for prefix in prefixes]
            self._deps.store.count_erased(tenant, files=sum(files for files, _ in gone), bytes=sum(size for _, size in gone))
            log.info("blobs of a deleted tenant erased", tenant=tenant, prefixes=len(prefixes))
            return True
        receipt = store.end_erasure(tenant, worker=self._deps.worker, nothing_left=lambda: blobs.leave(tenant), seal=self._seal)
        if receipt is not None:
            log.info("tenant erased", tenant=tenant, jobs=receipt["jobs"], files=receipt["files"], bytes=receipt["bytes"])
        return False
