"""Prepared sandboxes: a version of a script that is called gets sandboxes of its own that wait with its bundle unpacked, its script
imported and its `init()` done. Each serves one call of that version and is destroyed after it.

What lies in one is its tenant's, so that the store has a row of each before anything of the tenant's is laid into it, and until it is
gone: a version, or a tenant, that is deleted is gone from here too.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from fumehood.blob_store import BlobStore
from fumehood.errors import SandboxError
from fumehood.job import Input, Job, Kind
from fumehood.job_store import JobStore
from fumehood.limits import Limits
from worker.sandbox import Sandbox, StopSignal
from worker.warm_pool import WarmPool

log = structlog.get_logger(__name__)

FILES = {"script": "script.py", "bundle": "bundle.zip"}
"""What is laid into one before its call; by port."""
# What `init` leaves running must be done soon: nobody has asked for it.
IDLE_CPU_SECONDS = 5.0
# So long a script may take to be opened; a call that takes longer opens it itself, within its own limit.
OPEN_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionRecipe:
    """What the sandboxes of one version are made with: exactly what its calls get."""

    version: str
    tenant: str
    inputs: dict[str, Input]
    """By port, those of FILES."""
    limits: Limits
    at_most: int
    store: JobStore
    blobs: BlobStore
    worker: str
    at_least: int = 0
    idle_cpu_seconds: float | None = IDLE_CPU_SECONDS

    @property
    def owner(self) -> str:
        return self.tenant

    def unfit(self, limits: Limits) -> str | None:
        return None if limits == self.limits else "its limits are not those of the version"

    def furnish(self, sandbox: Sandbox, stop: StopSignal) -> None:
        """Raises SandboxError."""
        if sandbox.cpu_seconds() is None:
            raise SandboxError("nobody can see here what a sandbox uses of the processors; expected to, of one that waits with a script")
        if not self.store.keep_prepared(tenant=self.tenant, version=self.version, worker=self.worker, sandbox=sandbox.name):
            raise SandboxError("the version is gone, or its tenant may not run anything; expected one that can be called")
        inside = sandbox.scratch.inside
        for port, given in self.inputs.items():
            self.blobs.link_into(self.tenant, given.blob, inside, FILES[port])
        _write(inside / "prepare.json", self.inputs, self.limits)
        sandbox.open_script(replace(self.limits, wall_seconds=min(self.limits.wall_seconds, OPEN_SECONDS)), stop=stop)

    def gone(self, sandbox: Sandbox, *, cpu_seconds: float) -> None:
        self.store.end_prepared(sandbox.name, cpu_seconds=cpu_seconds)


class PreparedSandboxes:
    """Says which jobs get sandboxes of their own, and looks after the rows of those that wait."""

    def __init__(self, store: JobStore, blobs: BlobStore, *, worker: str, at_most: int) -> None:
        self._store, self._blobs, self._worker, self._at_most = store, blobs, worker, at_most

    def recipe_of(self, job: Job) -> tuple[str, VersionRecipe] | None:
        """Of a call, with the version's id as its key."""
        version = job.inputs["script"].version if job.kind is Kind.SCORE else None
        if version is None:
            return None
        return version, VersionRecipe(
            version=version,
            tenant=job.tenant,
            inputs={port: given for port, given in job.inputs.items() if port in FILES},
            limits=job.limits,
            at_most=self._at_most,
            store=self._store,
            blobs=self._blobs,
            worker=self._worker,
        )

    def look_after(self, pool: WarmPool) -> None:
        """Throw away those whose version or tenant is gone, and forget those that are: what their job said of them counts now."""
        # Asked first: a row of one that is made after this question is not among the answers.
        rows = self._store.prepared_of(self._worker)
        pool.drop({row.sandbox for row in rows if row.unwanted})
        over = {row.sandbox for row in rows} - pool.names()
        if over:
            self._store.forget_prepared(sorted(over))


def _write(path: Path, inputs: dict[str, Input], limits: Limits) -> None:
    """As the request of a job (worker/journey.py), which comes later."""
    request = {
        "version": 1,
        "inputs": {port: {"format": given.format} for port, given in inputs.items() if port != "script"},
        "limits": limits.as_dict(),
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(request, file, allow_nan=False)
        os.fchmod(descriptor, 0o444)
