"""Sandboxes made by the Docker engine: who makes them, and knows which are there.

What a sandbox may do stands in `worker.isolation`, the life of one in `worker.container`, the engine's calls in
`worker.docker_engine`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import structlog

from fumehood.errors import SandboxError
from fumehood.image import LABEL_PACKAGES, Image, labelled
from fumehood.limits import Limits
from fumehood.log import said
from fumehood.settings import Settings
from worker import host_check, isolation
from worker.container import DockerSandbox
from worker.docker_engine import DockerEngine
from worker.isolation import LABEL_HOME, LABEL_SANDBOX, LABEL_WORKER, PREFIX, Host
from worker.recipe import PROBE_LIMITS
from worker.sandbox import READY_SECONDS_MAX, Container, StopSignal
from worker.scratch import Scratch
from worker.uids import SandboxUid, take_uid

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=DockerSandbox)
# How long a container waits for its go line before it ends by itself; longer than any may take to be ready.
WAIT_SECONDS = READY_SECONDS_MAX + 30.0


class DockerHost:
    """Makes sandboxes. Building one does nothing; the engine is asked when something is needed of it. Safe between threads."""

    def __init__(self, settings: Settings, *, worker_id: str) -> None:
        self.image = settings.image or ""
        self.worker_id = worker_id
        self._settings = settings
        # Each sandbox holds one connection for its attach stream, and asks with another.
        connections = 2 * (settings.slots + settings.errand_slots) + 2 * (settings.warm_max + settings.prepared_max) + 4
        self.engine = DockerEngine(settings.docker_host, answer_seconds=settings.engine_seconds, connections=connections)
        self._lock = threading.Lock()
        self._host: Host | None = None
        # Containers that somebody here answers for; any other of this worker's is an orphan.
        self._live: set[str] = set()
        # As long as a container may live, its uid is nobody else's: also when nobody answers for it any more.
        self._uids: dict[str, SandboxUid] = {}

    def name_of(self, scratch: Scratch) -> str:
        """The container's name, known before there is a container, so that a row can name what might exist."""
        return PREFIX + scratch.name

    def check(self) -> None:
        """Look that engine, image, runtime and mounts are usable. Raises SandboxError saying everything that is missing.

        Ends with a real start of the image, which also warms the page cache: the engine refuses a mount whose source it
        does not have, and the source's name is new and random, so a start proves that both see the same directory.
        """
        problems = [*self._problems_of_engine(), *host_check.problems_of_home(self._settings.home)]
        if problems:
            raise SandboxError("; ".join(problems))
        scratch = Scratch.create(self._settings.home, worker=self.worker_id)
        try:
            with self.prepare(scratch, PROBE_LIMITS) as sandbox:
                if not sandbox.make_ready(StopSignal()):
                    raise SandboxError(f"the image's runner did not get ready within {sandbox.ready_seconds:g} s; expected `ready`")
        finally:
            scratch.erase()

    def weaker(self) -> list[str]:
        """Sentences for the controls that this host cannot give; empty on a good one. Raises SandboxError."""
        return self._capabilities().weaker()

    def describe_image(self) -> Image:
        """What the image says is in it. Raises SandboxError."""
        found = self.engine.image(self.image) or {"Config": {}}
        return labelled(self.image, (found["Config"].get("Labels") or {}).get(LABEL_PACKAGES))

    def prepare(self, scratch: Scratch, limits: Limits, *, wait_seconds: float = WAIT_SECONDS) -> DockerSandbox:
        """Take a user id, create and attach the container (not started). Raises SandboxError; nothing is left then."""
        return self.prepare_as(DockerSandbox, scratch, limits, wait_seconds=wait_seconds)

    def prepare_as(
        self, kind: type[S], scratch: Scratch, limits: Limits, *, wait_seconds: float = WAIT_SECONDS, command: Sequence[str] = ()
    ) -> S:
        """The same for another `kind` of sandbox, whose runner is started with `command`."""
        if not self.image.startswith("sha256:"):
            raise SandboxError(f"the sandbox's image is {self.image or 'not set'}; expected its id, sha256:…")
        began, settings, name = time.monotonic(), self._settings, self.name_of(scratch)
        host = self._capabilities()
        with contextlib.ExitStack() as undo:
            uid = take_uid(settings.home, first=settings.sandbox_uid_first, count=settings.sandbox_uid_count)
            with self._lock:
                self._live.add(name)
                self._uids[name] = uid
            undo.callback(self._forget, name)
            undo.callback(self._remove_quietly, name)  # Also after a failed create: only its answer may have been lost.
            config, host_config = isolation.container(
                image=self.image,
                scratch=scratch,
                limits=limits,
                uid=uid.number,
                host=host,
                labels={LABEL_HOME: str(settings.home), LABEL_WORKER: self.worker_id, LABEL_SANDBOX: scratch.name},
                wait_seconds=wait_seconds,
                command=command,
            )
            container = Container(name=name, began_at=time.time(), id=self.engine.create(name, config, host_config))
            # Attach before start: what is written in between would be lost, and a stdin that closes once could close unseen.
            stream = self.engine.attach(name)
            undo.pop_all()
        sandbox = kind(
            self.engine,
            scratch,
            container=container,
            uid=uid.number,
            stream=stream,
            config=config,
            host_config=host_config,
            forget=self._forget,
            gone=self._gone,
        )
        sandbox.milliseconds["create"] = round((time.monotonic() - began) * 1000, 3)
        return sandbox

    def orphans(self, *, is_live: Callable[[str], bool]) -> list[tuple[str, str]]:
        """(name, worker) of this home's containers whose worker is not live, or is this one and knows nothing of them."""
        found = []
        with self._lock:
            left_over = self._uids.keys() - self._live
        # Listed before asking who is known: a name is known before its container exists, so a new one never looks forgotten.
        listed = self.engine.labelled(f"{LABEL_HOME}={self._settings.home}")
        # And after asking what was left over: what is not listed now has been removed by somebody else.
        for name in left_over - {name for name, _ in listed}:
            self._gone(name)
        for name, labels in listed:
            worker = labels.get(LABEL_WORKER, "")
            with self._lock:
                forgotten = worker == self.worker_id and name not in self._live
            if forgotten or not is_live(worker):
                found.append((name, worker))
        return found

    def remove(self, name: str) -> Container | None:
        """Kill and remove a container by name and look that it is gone. None if there was none.

        Raises:
            SandboxError: it is not one of this home's, or is not gone in time.
        """
        found = self.engine.inspect(name)
        if found is None:
            self._gone_if_forgotten(name)
            return None
        if (found["Config"]["Labels"] or {}).get(LABEL_HOME) != str(self._settings.home):
            raise SandboxError("the container to be removed carries no label of this home; expected one of ours")
        removed = self.engine.remove(name)
        self._gone_if_forgotten(name)
        # Somebody else was quicker: that one's receipt names it.
        return Container(name=name, id=found["Id"], began_at=_seconds(found["Created"])) if removed else None

    def close(self) -> None:
        self.engine.close()

    def _forget(self, name: str) -> None:
        with self._lock:
            self._live.discard(name)

    def _gone(self, name: str) -> None:
        """The engine does not have the container: its uid is free."""
        with self._lock:
            uid = self._uids.pop(name, None)
        if uid is not None:
            uid.release()

    def _gone_if_forgotten(self, name: str) -> None:
        """One that somebody here still answers for may just be in the making; who answers for it gives its uid back."""
        with self._lock:
            forgotten = name not in self._live
        if forgotten:
            self._gone(name)

    def _remove_quietly(self, name: str) -> None:
        try:
            self.engine.remove(name)
            self._gone(name)
        except SandboxError as error:
            log.error("sandbox left over; the reaper will find it", sandbox=name, error=said(error))

    def _capabilities(self) -> Host:
        if self._host is None:
            self._host = host_check.capabilities(self.engine.info(), runtime=self._settings.runtime)
        return self._host

    def _problems_of_engine(self) -> Iterator[str]:
        try:
            version, info = self.engine.version(), self.engine.info()
            runtime, first, count = self._settings.runtime, self._settings.sandbox_uid_first, self._settings.sandbox_uid_count
            yield from host_check.problems_of_engine(version, info, runtime=runtime)
            yield from host_check.problems_of_user_ids(info, runtime=runtime, last=first + count - 1)
            if not self.image:
                yield "no image is set; expected the id of the sandbox image, sha256:…"
            elif (self.engine.image(self.image) or {}).get("Id") != self.image:
                yield f"the engine has no image with the id {self.image}"
        except SandboxError as error:
            yield str(error)


def _seconds(moment: str) -> float:
    """Since the epoch, of the engine's `2026-01-05T09:30:00.123456789Z`."""
    return datetime.fromisoformat(moment).timestamp()
