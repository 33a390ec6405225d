"""/metrics: the service's own numbers, for Prometheus. Nothing of any tenant is among them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from api.answers import problems
from api.auth import CredentialsDep, caller_of, known_parameters
from api.desk import Desk, DeskDep
from api.exposition import MEDIA_TYPES, Page
from api.health import seen_seconds
from fumehood import __version__
from fumehood.errors import StoreUnavailable
from fumehood.job import Lane
from fumehood.metrics import Source
from fumehood.readings import LaneReading, WorkerReading

READ_SECONDS = 1.0
"""So old may be what was read from the store: who asks more often is told the same again."""
REMEMBERED_SECONDS = 900.0
"""So long after it was last seen to be good a key is good here while the store is away: that is when it matters what the numbers are."""

_EXAMPLE = 'fumehood_queued_jobs{lane="jobs"} 3.0\n'
_TEXT = {media_type: {"schema": {"type": "string"}, "example": _EXAMPLE} for media_type in MEDIA_TYPES}
_ANSWER: dict[int | str, dict[str, Any]] = {200: {"description": "The numbers, in the form that `Accept` names.", "content": _TEXT}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What was read outside this process; None where its owner did not answer."""

    lanes: dict[Lane, LaneReading] | None
    workers: list[WorkerReading] | None
    tickets: dict[Lane, int | None]


@dataclass(slots=True)
class Watch:
    """What is kept between one look and the next."""

    monotonic: Callable[[], float] = time.monotonic
    _one_reads: asyncio.Lock = field(default_factory=asyncio.Lock)
    _read: Read | None = None
    _read_at: float = float("-inf")
    _good_until: dict[bytes, float] = field(default_factory=dict)

    async def read(self, desk: Desk) -> Read:
        """Of many that ask at once, one reads and all are told."""
        async with self._one_reads:
            if self._read is None or self.monotonic() - self._read_at >= READ_SECONDS:
                self._read = await _read(desk)
                self._read_at = self.monotonic()
            return self._read

    def remember(self, key: str) -> None:
        self._good_until = {known: until for known, until in self._good_until.items() if until > self.monotonic()}
        self._good_until[_digest(key)] = self.monotonic() + REMEMBERED_SECONDS

    def remembers(self, key: str) -> bool:
        return self._good_until.get(_digest(key), float("-inf")) > self.monotonic()


def router(watch: Watch | None = None) -> APIRouter:
    """Built for each application: what it remembers is its own."""
    watch = watch or Watch()
    made = APIRouter(tags=["metrics"], dependencies=[Depends(known_parameters)])

    async def may_look(request: Request, desk: DeskDep, credentials: CredentialsDep) -> None:
        if desk.settings.metrics_open:
            return
        try:
            await caller_of(request, desk, credentials)
        except StoreUnavailable:
            if credentials is None or not watch.remembers(credentials.credentials):
                raise
        else:
            assert credentials is not None
            watch.remember(credentials.credentials)

    @made.get(
        "/metrics",
        summary="The service's numbers",
        dependencies=[Depends(may_look)],
        response_class=Response,
        responses={**_ANSWER, **problems()},
    )
    async def read_metrics(request: Request, desk: DeskDep) -> Response:
        """In the text form of Prometheus, or as OpenMetrics. What is read from the store is a second old at most; of a store or a
        Redis that is away it says so. No number is a tenant's. With `FUMEHOOD_METRICS_OPEN` it needs no key."""
        page = fill(Page(), await watch.read(desk), desk, await desk.file(desk.blobs.free_bytes))
        content, media_type = page.written(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return made


async def _read(desk: Desk) -> Read:
    lanes = workers = None
    try:
        lanes = await desk.ask(desk.store.read_lanes)
        workers = await desk.ask(desk.store.read_workers, seen_within_seconds=seen_seconds(desk))
    except StoreUnavailable:
        pass  # told as such
    return Read(lanes=lanes, workers=workers, tickets={lane: await desk.ask(desk.queue.depth, lane) for lane in Lane})


def fill(page: Page, read: Read, desk: Desk, free_bytes: int) -> Page:
    page.put("fumehood_build_info", 1, __version__)
    page.put("fumehood_store_up", read.lanes is not None and read.workers is not None)
    page.put("fumehood_redis_up", None not in read.tickets.values())
    for lane, depth in read.tickets.items():
        if depth is not None:
            page.put("fumehood_queued_tickets", depth, lane)
    for lane, reading in (read.lanes or {}).items():
        page.put("fumehood_queued_jobs", reading.queued, lane)
        page.put("fumehood_oldest_queued_age_seconds", reading.oldest_age_seconds, lane)
        page.put("fumehood_running_jobs", reading.running, lane)
    if read.workers is not None:
        ready = sum(worker.facts.get("ready") is True for worker in read.workers)
        page.put("fumehood_workers", ready, "ready")
        page.put("fumehood_workers", len(read.workers) - ready, "not_ready")
    for worker in read.workers or ():
        _put_worker(page, worker)
    page.put("fumehood_disk_free_bytes", free_bytes)
    page.put("fumehood_disk_floor_bytes", desk.settings.disk_floor_bytes)
    page.put("fumehood_http_requests_in_progress", desk.places.taken)
    page.put_tally(desk.tally.document(), Source.API)
    return page


def _put_worker(page: Page, worker: WorkerReading) -> None:
    facts = worker.facts
    page.put("fumehood_worker_ready", facts.get("ready") is True, worker.worker)
    if "prepared" in facts:
        page.put("fumehood_worker_prepared_sandboxes", facts["prepared"], worker.worker)
    if "disk_budget_bytes" in facts:
        page.put("fumehood_worker_disk_budget_bytes", facts["disk_budget_bytes"], worker.worker)
    for lane in Lane:
        if (slots := facts.get(f"{lane}_slots")) is not None:
            page.put("fumehood_worker_slots", slots, worker.worker, lane)
        if (waiting := (facts.get("warm") or {}).get(lane.value)) is not None:
            page.put("fumehood_worker_warm_sandboxes", waiting, worker.worker, lane)
    page.put_tally(worker.tally, Source.WORKER, worker.worker)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
