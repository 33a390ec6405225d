"""Expiry: the chore that takes away what is due: parts of jobs, batches, datasets, and in the end the memory of them.

Every tenant with something due gets one step in turn, until nothing is due or the time of this round is over: one with a million
records to lose holds up neither the queue nor the others. What a crash leaves half done is due again (see fumehood.expiry_store).
"""

from __future__ import annotations

from contextlib import ExitStack, suppress

import structlog

from fumehood.blob_store import BlobStore
from fumehood.errors import DiskFull
from fumehood.expiry import RESULT_BLOBS, Part
from fumehood.expiry_store import STEP_ROWS, Due
from worker.deps import Deps

log = structlog.get_logger(__name__)

ROUND_SECONDS = 0.5
"""How long one round may take, so that the worker's other chores come in time; a step under way is ended."""


class Expiry:
    def __init__(self, deps: Deps, *, round_seconds: float = ROUND_SECONDS, step_rows: int = STEP_ROWS) -> None:
        self._deps = deps
        self._round_seconds = round_seconds
        self._step_rows = step_rows

    def take_away(self) -> None:
        """One round."""
        deadline = self._deps.monotonic() + self._round_seconds
        tenants = self._deps.store.tenants_with_due()
        if not tenants:
            self._deps.store.forget_tombstones(limit=self._step_rows)
        # Who was at the end of a round that ended early is not at the end of each.
        begin = int(self._deps.now()) % len(tenants) if tenants else 0
        tenants = tenants[begin:] + tenants[:begin]
        while tenants:
            busy = []
            for tenant in tenants:
                if self._step(tenant):
                    busy.append(tenant)
                if self._deps.monotonic() >= deadline:
                    return
            tenants = busy

    def _step(self, tenant: str) -> bool:
        """Some of what is due of one tenant. Whether there was any."""
        store, blobs = self._deps.store, self._deps.blobs
        dues = store.begin_expiry(tenant, limit=self._step_rows)
        for due in dues:
            _remove(blobs, due)
        if dues:
            store.end_expiry(dues)
        batches = store.begin_batch_expiry(tenant, limit=1)
        for batch in batches:
            if store.shrink_batch(tenant, batch, limit=self._step_rows):
                blobs.delete(tenant, f"batches/{batch}")
                store.end_batch_expiry(batch)
        datasets = store.due_datasets(tenant, limit=self._step_rows)
        for dataset in datasets:
            self._expire_dataset(tenant, dataset)
        counts = {
            "records": sum(Part.RECORD in due.parts for due in dues),
            "results": sum(Part.RESULTS in due.parts for due in dues),
            "logs": sum(Part.LOG in due.parts for due in dues),
            "batches": len(batches),
            "datasets": len(datasets),
        }
        if any(counts.values()):
            log.info("expired", tenant=tenant, **counts)
        return any(counts.values())

    def _expire_dataset(self, tenant: str, dataset: str) -> None:
        prefix = f"datasets/{dataset}"
        with ExitStack() as stack:
            with suppress(DiskFull):  # This makes room.
                stack.enter_context(self._deps.blobs.unsettled(tenant, prefix))
            if self._deps.store.expire_dataset(tenant, dataset):
                self._deps.blobs.delete(tenant, prefix)


def _remove(blobs: BlobStore, due: Due) -> None:
    job = due.job
    if Part.RECORD in due.parts:
        blobs.delete(job.tenant, job.blob_prefix)
        return
    names = (("log",) if Part.LOG in due.parts else ()) + (RESULT_BLOBS if Part.RESULTS in due.parts else ())
    for name in names:
        blobs.delete(job.tenant, job.output_blob(name))
    if job.batch is not None and Part.RESULTS in due.parts:
        blobs.delete(job.tenant, f"batches/{job.batch}/joined")
