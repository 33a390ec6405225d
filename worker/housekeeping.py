"""Housekeeping: lost tickets, the worker's row, and what was forgotten on disk or in the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from fumehood.errors import Conflict, NotFound
from fumehood.job import Lane, State
from fumehood.log import about, said
from worker.deps import Deps
from worker.slots import Slots

log = structlog.get_logger(__name__)

ROOMS = ("batches", "datasets", "jobs", "scripts")
# A submit or an upload writes its blobs moments before its row, so a directory without a row is young, or nobody's.
UNCLAIMED_BLOBS_SECONDS = 3600.0
BLOBS_PER_ROUND = 200
ERRAND_KEPT_SECONDS = 600.0
ERRAND_SLACK_SECONDS = 30.0
WORKER_FORGOTTEN_SECONDS = 3600.0
STALLED_SECONDS = 60.0
_ALWAYS_SECONDS = 1e10


class Housekeeping:
    """Each public method is one chore. `stalled` is called when tickets wait, slots are free, and nothing consumes them."""

    def __init__(
        self,
        deps: Deps,
        slots: Slots,
        depth: Callable[[Lane], int | None],
        *,
        interval_seconds: float,
        errand_wait_seconds: float,
        facts: Callable[[], dict[str, Any]],
        stalled: Callable[[], None],
    ) -> None:
        self._deps = deps
        self._slots = slots
        self._depth = depth
        self._interval_seconds = interval_seconds
        self._errand_wait_seconds = errand_wait_seconds
        self._facts = facts
        self._stalled = stalled
        self._image_kept = False
        self._waiting_since: dict[Lane, float] = {}
        self._waits_for_disk: dict[Lane, int | None] = {}
        self._blobs_after: tuple[str, str, str] = ("", "", "")

    def check_engine(self) -> None:
        """Look whether engine and image are usable, at the start and after each fault of ours; claim nothing until they are.

        Not while all is well: a full check starts a sandbox, and every job is one.
        """
        if not self._slots.doubted:
            return
        try:
            self._deps.host.check()
        except Exception as error:
            self._slots.doubt(said(error))
        else:
            self._slots.trust()
        self._slots.not_ready()  # logs a change

    def keep_image(self) -> None:
        """Tell once what is in the image, for those who read a job's record and want to run it elsewhere."""
        if not self._image_kept and not self._slots.doubted:
            self._deps.store.keep_image(self._deps.host.describe_image())
            self._image_kept = True

    def beat(self) -> None:
        """Write this worker's row: who is there, and whether it takes jobs."""
        reason = self._slots.not_ready()
        sizes = {f"{lane}_slots": size for lane, size in self._slots.sizes.items()}
        # Jobs that run together reserve no more than this; the next one waits, and the jobs of its lane behind it.
        budget_bytes = self._slots.disk_budget_bytes() if reason is None else 0
        reason = reason or self._starved(budget_bytes)
        state = {"ready": reason is None, "reason": reason, "disk_budget_bytes": budget_bytes}
        self._deps.store.worker_beat(self._deps.worker, self._facts() | sizes | state, tally=self._deps.telemetry.tally.document())

    def _starved(self, budget_bytes: int) -> str | None:
        """That a lane stands still, because its next job does not fit the disk although nothing runs. It is tried all the
        same each round: space may come back, and the other lane goes on. Each change is logged once."""
        reason = None
        for lane in self._slots.sizes:
            needed_bytes = self._deps.store.too_large_for_disk(lane, disk_budget_bytes=budget_bytes)
            if needed_bytes is not None:
                reason = f"the next job needs {needed_bytes:,} bytes of disk, {max(0, budget_bytes):,} are free beyond the floor"
                if self._waits_for_disk.get(lane) != needed_bytes:
                    log.warning("a lane stands still", lane=lane, reason=reason)
            self._waits_for_disk[lane] = needed_bytes
        return reason

    def send_missing_tickets(self) -> None:
        """Jobs are queued, a slot is free, and nothing was claimed for two rounds: their tickets were lost. Send others, and
        where Redis does not take them, give them to our own slots: no job waits for Redis, whatever ails it."""
        for lane, size in self._slots.sizes.items():
            free = self._slots.free(lane)
            overdue = free > 0 and self._slots.idle_seconds(lane) >= 2 * self._interval_seconds
            if not overdue or self._slots.not_ready() is not None:
                self._waiting_since.pop(lane, None)
                continue
            queued = min(size, self._deps.store.eligible(lane))
            waiting = self._depth(lane) or 0
            missing = max(0, queued - waiting)
            sent = 0
            while sent < missing and self._deps.queue.send_ticket(lane):
                sent += 1
            ours = min(missing - sent, free)
            for _ in range(ours):
                self._slots.ticket_aside(lane)
            if missing:
                log.info("tickets were missing", lane=lane, queued=queued, sent=sent, taken_without_redis=ours)
            self._watch_consumption(lane, stuck=queued > 0 and waiting > 0)

    def _watch_consumption(self, lane: Lane, *, stuck: bool) -> None:
        """A consumer may come back from a lost connection without consuming; only a new process helps then."""
        if not stuck:
            self._waiting_since.pop(lane, None)
            return
        since = self._waiting_since.setdefault(lane, self._deps.monotonic())
        if self._deps.monotonic() - since >= STALLED_SECONDS:
            log.error("tickets wait and nobody takes them", lane=lane, seconds=round(self._deps.monotonic() - since))
            self._stalled()

    def sweep_uploads(self) -> None:
        swept = self._deps.blobs.sweep_incoming()
        if swept:
            log.info("unfinished uploads removed", files=swept)

    def settle_blobs(self) -> None:
        """What an API that died was just making, or removing: blobs whose row is not there go."""
        settled = self._deps.blobs.settle(lambda tenant, prefix: self._exists(tenant, *prefix.split("/", 1)))
        if settled:
            log.warning("blobs of unfinished requests removed", prefixes=settled)
            self._deps.telemetry.leftover("blobs", by=settled)

    def sweep_blobs(self) -> None:
        """Blobs of jobs and datasets that do not exist (any more), a bounded number each time; the next round goes on where
        this one stopped. What `settle_blobs` cannot know of: a machine that lost its power, a home put back from a copy."""
        seen = 0
        now = self._deps.now()
        for tenant, room, name, directory in _blob_directories(self._deps.home / "blobs"):
            if (tenant, room, name) <= self._blobs_after:
                continue
            if seen >= BLOBS_PER_ROUND:
                return
            seen += 1
            self._blobs_after = (tenant, room, name)
            try:
                young = now - directory.stat().st_mtime < UNCLAIMED_BLOBS_SECONDS
            except FileNotFoundError:
                continue
            if young or self._exists(tenant, room, name):
                continue
            files, size = self._deps.blobs.delete(tenant, f"{room}/{name}")
            log.info("blobs of nobody removed", id=name, tenant=tenant, files=files, bytes=size)
            self._deps.telemetry.leftover("blobs")
        self._blobs_after = ("", "", "")

    def sweep_errands(self) -> None:
        """Errands whose asker is gone: a queued one nobody waits for any more is cancelled, a final one forgotten."""
        now = self._deps.now()
        for job in self._deps.store.errands():
            try:
                if job.state is State.QUEUED and now - job.created_at > self._errand_wait_seconds + ERRAND_SLACK_SECONDS:
                    self._deps.store.request_cancel(job.tenant, job.id)
                    log.info("errand nobody waits for cancelled", **about(job))
                elif job.state.final and now - (job.finished_at or job.created_at) > ERRAND_KEPT_SECONDS:
                    self._deps.store.delete_job(job.tenant, job.id)
                    self._deps.events.forget(job.id)
                    self._deps.blobs.delete(job.tenant, job.blob_prefix)
                    log.info("forgotten errand removed", **about(job))
            except (Conflict, NotFound):
                continue  # Its asker, or another worker, was faster.

    def forget_workers(self) -> None:
        now = self._deps.now()
        for row in self._deps.store.workers(seen_within_seconds=_ALWAYS_SECONDS):
            if now - row["seen_at"] > WORKER_FORGOTTEN_SECONDS:
                self._deps.store.forget_worker(row["worker"])

    def _exists(self, tenant: str, room: str, name: str) -> bool:
        store = self._deps.store
        look: dict[str, Callable[[str, str], object]] = {
            "jobs": store.get_job,
            "datasets": store.get_dataset,
            "batches": store.get_batch,
            "scripts": store.get_version_by_id,
        }
        try:
            look[room](tenant, name)
        except NotFound:
            return False
        return True


def _blob_directories(blobs: Path) -> list[tuple[str, str, str, Path]]:
    """(tenant, room, id, directory) of everything that has blobs, in order."""
    found = []
    for tenant in _names(blobs):
        for room in ROOMS:
            found += [(tenant, room, name, blobs / tenant / room / name) for name in _names(blobs / tenant / room)]
    return sorted(found)


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
