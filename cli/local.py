"""Local: front desk and workshop in this very process, for one command. Needs Docker and nothing else.

The desk is the real application, behind a socket in a private directory instead of a port; the journey is the worker's own.
What stands in for Redis is in memory. So a job is checked, carried and told of as a service would, and `Surface` sees no
difference; when the block is left, nothing of it is there any more.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from cli.errors import NoLocalRun
from cli.local_engine import find_image, open_engine
from cli.local_home import ignore_signals, local_home, sandbox_uids, signals_lead_out
from cli.terminal import harmless, say
from fumehood import log
from fumehood.blob_store import BlobStore
from fumehood.client.surface import Surface
from fumehood.errors import BadRequest, FumehoodError
from fumehood.job import Job, Lane
from fumehood.job_queue import JobQueue
from fumehood.job_store import JobStore
from fumehood.limits import MIB, requested
from fumehood.memory import MemoryEvents
from fumehood.settings import Settings, read
from fumehood.tenant import new_key
from worker.deps import Deps
from worker.docker_sandbox import DockerHost
from worker.journey import carry
from worker.reaper import Reaper
from worker.registration import Registration
from worker.rounds import Chore, Rounds
from worker.sandbox import Stop, StopSignal
from worker.slots import Slots
from worker.telemetry import Telemetry

DISK_FLOOR_BYTES = 64 * MIB
START_SECONDS = 30.0
ERRAND_SECONDS = 600.0
"""Nobody else waits for a slot here, so a large table may take its time."""
LOG_KEPT_CHARACTERS = 4000


@contextmanager
def local_service(limits: dict[str, float], *, inputs_bytes: int) -> Iterator[Surface]:
    """A client of a service that lives as long as the block. `limits` are those the job will ask for.

    Raises:
        NoLocalRun: no engine, no image, or no room; says which and what to do.
    """
    told = io.StringIO()
    log.configure("warning", stream=told)
    with ExitStack() as leaving:
        leaving.enter_context(signals_lead_out())
        address, engine = open_engine()
        leaving.callback(engine.close)
        key = new_key()
        settings = _settings(Path("/"), find_image(engine), address, key)
        needed_bytes = _reserved_bytes(limits, settings) + 2 * inputs_bytes + 2 * DISK_FLOOR_BYTES
        home, registration = leaving.enter_context(local_home(engine, needed_bytes=needed_bytes))
        service = _Service(settings.model_copy(update={"home": home}), registration)
        leaving.callback(service.stop)
        client = leaving.enter_context(service.start(key))
        leaving.callback(_explain, service, told)
        leaving.callback(ignore_signals)
        yield client


def _reserved_bytes(limits: dict[str, float], settings: Settings) -> int:
    try:
        return requested(limits, default=settings.limits, ceiling=settings.ceiling).reserved_bytes
    except BadRequest:  # The desk says it better, with every other fault.
        return 0


def _settings(home: Path, image: str, engine_address: str, key: str) -> Settings:
    return read(
        home=home,
        image=image,
        docker_host=engine_address,
        database_url=None,
        bootstrap_key=key,
        slots=1,
        errand_slots=1,
        **sandbox_uids(),
        # A fault of this machine is told, not tried again.
        attempts_max=1,
        beat_seconds=0.2,
        lease_seconds=10.0,
        reap_seconds=1.0,
        disk_floor_bytes=DISK_FLOOR_BYTES,
        errand_wait_seconds=ERRAND_SECONDS,
        # No Python is as new: the script is read inside the sandbox, by the Python that runs it, whatever this one is.
        image_python="99.0",
    )


class _Queue(JobQueue):
    """A ticket goes to the slots at once."""

    def __init__(self) -> None:
        self.slots: Slots | None = None

    def send_ticket(self, lane: Lane) -> bool:
        if self.slots is not None:
            self.slots.ticket_aside(lane)
        return True

    def depth(self, lane: Lane) -> int | None:
        return 0


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


class _Service:
    """API and worker over one home; `stop` ends what runs and waits for it."""

    def __init__(self, settings: Settings, registration: Registration) -> None:
        self._settings = settings
        self._queue, events, blobs = _Queue(), MemoryEvents(), BlobStore(settings.home)
        app: FastAPI = create_app(settings, queue=self._queue, events=events)
        store: JobStore = app.state.desk.store
        self._host = DockerHost(settings, worker_id=registration.worker)
        self.doubts: list[str] = []
        self._slots = self._queue.slots = Slots(
            {Lane.JOBS: 1, Lane.ERRANDS: 1},
            claim=lambda lane, budget: store.claim(worker=registration.worker, lane=lane, disk_budget_bytes=budget),
            carry=self._carry,
            free_bytes=blobs.free_bytes,
            floor_bytes=settings.disk_floor_bytes,
        )
        self._slots.trust()  # The job itself shows whether engine and image are usable; nobody else's would suffer.
        self._deps = Deps(
            home=settings.home,
            worker=registration.worker,
            store=store,
            blobs=blobs,
            events=events,
            queue=self._queue,
            host=self._host,
            telemetry=Telemetry(traces=app.state.desk.traces),
            doubt=self.doubts.append,
            floor_bytes=settings.disk_floor_bytes,
            beat_seconds=settings.beat_seconds,
            lease_seconds=settings.lease_seconds,
            engine_seconds=settings.engine_seconds,
        )
        reaper = Reaper(self._deps, registration, interval_seconds=settings.reap_seconds)
        self._rounds = Rounds(
            [Chore("take expired leases", reaper.take_expired_leases)], interval_seconds=settings.reap_seconds, pulse=registration.pulse
        )
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._serve, name="desk", daemon=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._directory = -1

    def start(self, key: str) -> Surface:
        """Listen, and a client that is connected. Raises NoLocalRun where the desk does not come up."""
        # The name of a socket may have 108 bytes; a home may lie deeper. Through the descriptor it is always short.
        self._directory = os.open(self._settings.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        address = f"/proc/self/fd/{self._directory}/desk"
        self._socket.bind(address)
        self._socket.listen()
        self._thread.start()
        if not self._server.listens.wait(START_SECONDS):
            raise NoLocalRun("the front desk did not come up in this process; the log says why")
        self._rounds.start()
        return Surface("http://127.0.0.1", key, transport=httpx.HTTPTransport(uds=address))

    def stop(self) -> None:
        self._slots.drain()
        self._slots.stop_all(Stop.SHUTDOWN)
        self._slots.wait_idle(2 * self._settings.engine_seconds)
        self._rounds.stop(self._settings.engine_seconds)
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(START_SECONDS)
        self._host.close()
        self._socket.close()
        if self._directory >= 0:
            os.close(self._directory)

    def what_is_wrong(self) -> str | None:
        """After a fault of the service's own: what a look at the engine and the home finds."""
        try:
            self._host.check()
        except FumehoodError as error:
            return error.detail
        return None

    def _carry(self, job: Job, stop: StopSignal) -> None:
        carry(job, self._deps, stop)

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def _explain(service: _Service, told: io.StringIO) -> None:
    """Where this machine was at fault, its own words: there is no operator to ask."""
    if not service.doubts:
        return
    found = service.what_is_wrong()
    say(f"this machine failed to run the job: {found or 'a look at the engine, the image and the disk finds nothing wrong now'}")
    for line in told.getvalue()[-LOG_KEPT_CHARACTERS:].splitlines():
        print(f"  {harmless(line)}", file=sys.stderr)
