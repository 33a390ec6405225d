"""The worker's composition root: builds every part from the settings, and lives from start to orderly exit."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Any

import structlog

from fumehood import __version__
from fumehood.blob_store import BlobStore
from fumehood.errors import SandboxError
from fumehood.events import RedisEvents
from fumehood.files import make_private
from fumehood.job import Job, Lane
from fumehood.job_queue import CeleryQueue, celery_app
from fumehood.job_store import JobStore
from fumehood.log import said
from fumehood.receipt import SigningKey, unsealed
from fumehood.settings import Settings
from fumehood.tracing import open_traces
from worker import runtimes
from worker.claims import Claims
from worker.consumer import Consumer
from worker.deps import Deps, unsigned
from worker.docker_sandbox import DockerHost
from worker.expiry import Expiry
from worker.housekeeping import Housekeeping
from worker.journey import carry
from worker.prepared import PreparedSandboxes
from worker.reaper import Reaper
from worker.recipe import Recipe, errand_limits
from worker.registration import Registration
from worker.rounds import Chore, Rounds
from worker.sandbox import Stop, StopSignal
from worker.slots import Slots
from worker.telemetry import Telemetry
from worker.tenant_eraser import TenantEraser
from worker.warm_pool import WarmPool

log = structlog.get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOK_SECONDS = 1.0
SWEEP_SECONDS = 600.0
MINUTE_SECONDS = 60.0
CONSUMER_SECONDS = 10.0


def create_worker(settings: Settings) -> Worker:
    """Open the store and build the parts. Raises Misconfigured, or StoreUnavailable where the database does not answer."""
    return Worker(settings)


class Worker:
    """`run()` is the whole life of a worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        make_private(settings.home)
        self._store = JobStore(settings.store_url, defaults=settings.tenant_defaults)
        self._store.migrate()
        self._queue = CeleryQueue(settings)
        self._events = RedisEvents(settings)
        blobs = BlobStore(settings.home)
        self._registration = Registration(
            settings.home,
            # A chore may wait for the engine once before the next pulse.
            pulse_seconds=3 * settings.reap_seconds + settings.engine_seconds,
        )
        worker = self._registration.worker
        self._host = DockerHost(settings, worker_id=worker)
        self._weaker: list[str] | None = None
        self._failure: str | None = None
        self._tickets_dropped: set[Lane] = set()
        self._slots = Slots(
            {Lane.JOBS: settings.slots, Lane.ERRANDS: settings.errand_slots},
            claim=lambda lane, disk_budget_bytes: self._claims.claim(lane, disk_budget_bytes),
            carry=self._carry,
            free_bytes=blobs.free_bytes,
            floor_bytes=settings.disk_floor_bytes,
        )
        family = runtimes.family(settings.runtime)
        self._prepared = PreparedSandboxes(self._store, blobs, worker=worker, at_most=settings.prepared_max)
        self._pool = WarmPool(
            {
                Lane.JOBS: Recipe(
                    limits=settings.limits, at_least=settings.warm_min, at_most=settings.warm_max, changeable=family.changeable
                ),
                Lane.ERRANDS: Recipe(
                    limits=errand_limits(settings),
                    at_least=0,
                    at_most=min(settings.warm_max, settings.errand_slots),
                    changeable=family.changeable,
                ),
            },
            host=self._host,
            home=settings.home,
            worker=worker,
            cpus=os.cpu_count() or 1,
            idle_seconds=settings.warm_idle_seconds,
            may_fill=lambda: self._slots.not_ready() is None,
            recipe_of=self._prepared.recipe_of,
            room=settings.prepared_max,
            has_room=self._has_room,
        )
        self._claims = Claims(self._store, self._pool, worker=worker)
        self._traces = open_traces(settings, service="fumehood-worker", instance=worker)
        signing = _signing_key(settings, self._store)
        self._seal = signing.seal if signing else unsealed
        self._deps = Deps(
            home=settings.home,
            worker=worker,
            store=self._store,
            blobs=blobs,
            events=self._events,
            queue=self._queue,
            host=self._host,
            pool=self._pool,
            doubt=self._slots.doubt,
            telemetry=Telemetry(traces=self._traces),
            sign=signing.sign if signing else unsigned,
            floor_bytes=settings.disk_floor_bytes,
            beat_seconds=settings.beat_seconds,
            lease_seconds=settings.lease_seconds,
            engine_seconds=settings.engine_seconds,
        )
        self._rounds = Rounds(self._chores(), interval_seconds=settings.reap_seconds, pulse=self._registration.pulse)
        threads = settings.slots + settings.errand_slots + 1
        self._consumer = Consumer(celery_app(settings), self._on_ticket, threads=threads, name=f"{worker}@{socket.gethostname()}")

    def run(self) -> int:
        """Work until SIGTERM or SIGINT. Returns the exit code: 0 where nothing of ours is left running."""
        # Read, not handled: no code of ours ever runs in the middle of something else. Every thread inherits the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        log.info("worker starts", version=__version__, worker=self._deps.worker, slots=self._settings.slots, image=self._settings.image)
        self._rounds.once()  # clean up behind the dead before taking anything new
        self._pool.start()
        self._rounds.start()
        self._consumer.start()
        while signal.sigtimedwait(SIGNALS, LOOK_SECONDS) is None and self._failure is None:
            if not self._consumer.alive or not self._rounds.alive:
                self._failure = "a thread of the worker has ended"
        if self._failure is not None:
            log.error("worker gives up; expecting to be started again", reason=self._failure)
        failed = self._failure is not None
        left_clean = self._leave()
        log.info("worker ends", left_clean=left_clean)
        return 0 if left_clean and not failed else 1

    def _leave(self) -> bool:
        """Stop taking work at once, let what runs end within the grace time, hand the rest back. Every step is bounded."""
        settings, slots = self._settings, self._slots
        slots.drain()
        self._consumer.stop()
        deadline = time.monotonic() + settings.grace_seconds
        log.info("worker leaves", running=len(slots.running()), grace_seconds=settings.grace_seconds)
        while not slots.wait_idle(0) and time.monotonic() < deadline:
            if signal.sigtimedwait(SIGNALS, 0.1) is not None:
                log.info("asked again; no more grace")
                break
        slots.stop_all(Stop.SHUTDOWN)
        # Killing, erasing and handing back, each with its own bound; the engine's answer is the longest of them.
        idle = slots.wait_idle(2 * settings.engine_seconds + settings.lease_seconds) & self._pool.close()
        stopped = all((self._consumer.join(CONSUMER_SECONDS), self._rounds.stop(settings.engine_seconds)))
        # A ticket that came while we left was for somebody else.
        for lane in self._tickets_dropped:
            self._queue.send_ticket(lane)
        if idle and stopped:
            self._forget()
            self._registration.leave()
        if self._traces is not None:
            self._traces.close()
        self._host.close()
        self._queue.close()
        self._events.close()
        if stopped:
            self._store.close()
        return idle and stopped

    def _forget(self) -> None:
        try:
            self._store.forget_prepared_of(self._deps.worker)
            self._store.forget_worker(self._deps.worker)
        except Exception as error:  # Others forget us in an hour.
            log.warning("worker's row not removed", error=said(error))

    def _has_room(self, size: int) -> bool:
        """On the disk, beside what the jobs that run here were promised."""
        promised = sum(running.job.reserved_bytes for running in self._slots.running())
        try:
            return self._slots.disk_budget_bytes() - promised >= size
        except OSError:  # Why nothing is claimed then, the slots say.
            return False

    def _carry(self, job: Job, stop: StopSignal) -> None:
        try:
            carry(job, self._deps, stop)
        finally:
            self._pool.settle(job)

    def _on_ticket(self, lane: Lane) -> None:
        if not self._slots.ticket(lane):
            self._tickets_dropped.add(lane)

    def _chores(self) -> list[Chore]:
        settings = self._settings
        reaper = Reaper(self._deps, self._registration, interval_seconds=settings.reap_seconds)
        housekeeping = Housekeeping(
            self._deps,
            self._slots,
            self._queue.depth,
            interval_seconds=settings.reap_seconds,
            errand_wait_seconds=settings.errand_wait_seconds,
            facts=self._facts,
            stalled=self._on_stalled,
        )
        return [
            Chore("bury dead workers", reaper.bury_dead_workers),
            Chore("take expired leases", reaper.take_expired_leases),
            Chore("check engine and image", housekeeping.check_engine),
            Chore("wake the warm pool", self._pool.poke),
            Chore("look after prepared sandboxes", lambda: self._prepared.look_after(self._pool)),
            Chore("say what is in the image", housekeeping.keep_image),
            Chore("say that we are here", housekeeping.beat),
            Chore("send missing tickets", housekeeping.send_missing_tickets),
            Chore("settle blobs", housekeeping.settle_blobs),
            Chore("take away what expired", Expiry(self._deps).take_away),
            Chore("sweep errands", housekeeping.sweep_errands, every_seconds=MINUTE_SECONDS),
            Chore("sweep uploads", housekeeping.sweep_uploads, every_seconds=MINUTE_SECONDS),
            Chore("sweep blobs", housekeeping.sweep_blobs, every_seconds=SWEEP_SECONDS),
            Chore("erase deleted tenants", TenantEraser(self._deps, self._seal).erase),
            Chore("forget old audit entries", self._forget_audit, every_seconds=SWEEP_SECONDS),
            Chore("forget workers", housekeeping.forget_workers, every_seconds=SWEEP_SECONDS),
        ]

    def _facts(self) -> dict[str, Any]:
        if self._weaker is None:
            with contextlib.suppress(SandboxError):  # The engine is away; `ready` says that.
                self._weaker = self._host.weaker()
        facts = {"host": socket.gethostname(), "version": __version__, "image": self._settings.image, "weaker": self._weaker or []}
        return facts | {"warm": self._pool.counts(), "prepared": self._pool.prepared()}

    def _forget_audit(self) -> None:
        self._store.forget_audit(days=self._settings.audit_days)

    def _on_stalled(self) -> None:
        self._failure = "tickets wait and the consumer does not take them"


def _signing_key(settings: Settings, store: JobStore) -> SigningKey | None:
    """The key of the settings, whose public half is published first. Raises Misconfigured where it is not one."""
    private = settings.secret("receipt_key")
    if not private:
        log.warning("receipts are not signed", expected="receipt_key or receipt_key_file")
        return None
    key = SigningKey(private)
    store.keep_receipt_key(key.id, key.public)
    return key
