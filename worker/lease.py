"""Lease: holds one running job for this worker, and hears of a cancel on the way.

A thread raises the job's beat every `beat_seconds`. It stops the sandbox when somebody asked for a cancel, when the attempt is
no longer ours, and when the store has not answered for so long that others must believe us dead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Protocol

import structlog

from fumehood.errors import LeaseLost
from fumehood.job import Job
from fumehood.job_store import Lease as Renewed
from fumehood.log import said
from worker.sandbox import Stop, StopSignal

log = structlog.get_logger(__name__)


class Renews(Protocol):
    def renew(self, job: Job) -> Renewed: ...


class Lease:
    """A context manager around one attempt. `held_seconds` bounds it: a stuck attempt stops renewing and is taken over."""

    def __init__(
        self,
        store: Renews,
        job: Job,
        stop: StopSignal,
        *,
        beat_seconds: float,
        lease_seconds: float,
        held_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._job = job
        self._stop = stop
        self._beat_seconds = beat_seconds
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._deadline = monotonic() + held_seconds
        self._renewed_at = monotonic()
        self._over = threading.Event()
        # In the context of whoever carries the job, so that its events say whose job it is.
        self._thread = threading.Thread(target=copy_context().run, args=(self._hold,), name=f"lease-{job.id[:12]}", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        # A renewal that hangs in the store must not hold the slot; a late one harms nothing, its fence is stale.
        self._thread.join(timeout=self._beat_seconds + 1)

    def _hold(self) -> None:
        while not self._over.wait(self._beat_seconds) and self.beat():
            pass

    def beat(self) -> bool:
        """Renew once. False when there is nothing left to hold."""
        now = self._monotonic()
        if now >= self._deadline:
            log.error("attempt is older than its limits allow; its lease is left to the reaper", job=self._job.id, fence=self._job.fence)
            self._stop.set(Stop.LEASE_LOST)
            return False
        try:
            renewed = self._store.renew(self._job)
        except LeaseLost:
            if not self._over.is_set():
                log.warning("lease lost", job=self._job.id, fence=self._job.fence)
            self._stop.set(Stop.LEASE_LOST)
            return False
        except Exception as error:  # The store is away, or worse: either way the lease runs out unless a later beat gets through.
            # One beat early: the sandbox should be dead before anybody else may start the job again.
            silent_seconds = self._monotonic() - self._renewed_at
            if silent_seconds + self._beat_seconds < self._lease_seconds:
                return True
            log.error("store silent for a whole lease", job=self._job.id, silent_seconds=round(silent_seconds, 1), error=said(error))
            self._stop.set(Stop.LEASE_LOST)
            return False
        self._renewed_at = now
        if renewed.cancel_requested:
            self._stop.set(Stop.CANCELLED)
        return True
