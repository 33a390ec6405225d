"""Sandboxes made by the Docker engine: the only module that talks to it.

What a sandbox may do stands in `worker.isolation`, the life of one in `worker.container`. The engine's log, archive, exec and
stop calls are never used: the first two have let containers reach the host, `exec` would run code beside a tenant's, and
`stop` waits for a process that need not listen.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import docker
import structlog

from fumehood.errors import SandboxError
from fumehood.image import LABEL_PACKAGES, Image, labelled
from fumehood.limits import MIB, Limits
from fumehood.log import said
from fumehood.settings import Settings
from worker import host_check, isolation
from worker.attach import AttachStream
from worker.container import READY_SECONDS_MAX, DockerSandbox
from worker.isolation import LABEL_HOME, LABEL_SANDBOX, LABEL_WORKER, Host
from worker.sandbox import StopSignal
from worker.scratch import Scratch
from worker.uids import SandboxUid, take_uid

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=DockerSandbox)
PREFIX = "fumehood-"
# How long a container waits for its go line before it ends by itself; longer than any may take to be ready.
WAIT_SECONDS = READY_SECONDS_MAX + 30.0
REMOVE_SECONDS = 20.0
PROBE_LIMITS = Limits(memory_bytes=512 * MIB, disk_bytes=16 * MIB, output_bytes=1 * MIB, wall_seconds=5.0)


class DockerHost:
    """Makes sandboxes. Building one does nothing; the engine is asked when something is needed of it. Safe between threads."""

    def __init__(self, settings: Settings, *, worker_id: str) -> None:
        self.image = settings.image or ""
        self.worker_id = worker_id
        self._settings = settings
        # Each sandbox holds one connection for its attach stream, and asks with another.
        connections = 2 * (settings.slots + settings.errand_slots) + 4
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
            self.engine.create(name, config, host_config)
            # Attach before start: what is written in between would be lost, and a stdin that closes once could close unseen.
            stream = self.engine.attach(name)
            undo.pop_all()
        sandbox = kind(
            self.engine,
            scratch,
            name=name,
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

    def remove(self, name: str) -> bool:
        """Kill and remove a container by name and look that it is gone. True if there was one.

        Raises:
            SandboxError: it is not one of this home's, or is not gone in time.
        """
        found = self.engine.inspect(name)
        if found is None:
            self._gone_if_forgotten(name)
            return False
        if (found["Config"]["Labels"] or {}).get(LABEL_HOME) != str(self._settings.home):
            raise SandboxError("the container to be removed carries no label of this home; expected one of ours")
        removed = self.engine.remove(name)
        self._gone_if_forgotten(name)
        return removed

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
            yield from host_check.problems_of_engine(version, info, runtime=self._settings.runtime)
            if not self.image:
                yield "no image is set; expected the id of the sandbox image, sha256:…"
            elif (self.engine.image(self.image) or {}).get("Id") != self.image:
                yield f"the engine has no image with the id {self.image}"
        except SandboxError as error:
            yield str(error)


class DockerEngine:
    """The engine calls that sandboxes need. The client is made at the first use; every call is bounded by its timeout."""

    def __init__(self, address: str, *, answer_seconds: float, connections: int) -> None:
        self._address = address
        self._answer_seconds = math.ceil(answer_seconds)
        self._connections = connections
        self._lock = threading.Lock()
        self._made: Any = None

    def info(self) -> dict[str, Any]:
        with _call("describe itself"):
            return dict(self._client.info())

    def version(self) -> dict[str, Any]:
        with _call("say its version"):
            return dict(self._client.version())

    def image(self, image: str) -> dict[str, Any] | None:
        with _call("look at the image"), contextlib.suppress(docker.errors.NotFound):
            return dict(self._client.inspect_image(image))
        return None

    def images(self, label: str) -> list[dict[str, Any]]:
        """Those with a tag that carry `label` (name=value), newest first: `Id`, `Labels`, …"""
        with _call("list its images"):
            found = self._client.images(filters={"label": label, "dangling": False})
        return sorted(map(dict, found), key=lambda each: -each["Created"])

    def create(self, name: str, config: dict[str, Any], host_config: dict[str, Any]) -> None:
        # The raw call: the client's own keywords know neither masked paths nor several other fields, and add the proxies
        # of the worker's Docker configuration to the environment.
        with _call("create the sandbox"):
            created = self._client.create_container_from_config(config | {"HostConfig": host_config}, name=name)
        if created.get("Warnings"):
            log.warning("engine has warnings", sandbox=name, warnings=said(SandboxError("; ".join(created["Warnings"]))))

    def attach(self, name: str) -> AttachStream:
        with _call("attach to the sandbox"):
            wrapped = self._client.attach_socket(name, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "detachKeys": ""})
        # The client hands out a file object; only the socket below can be shut down, which is what frees the engine. Nothing
        # can be left in the file object's buffer: the container has not started.
        stream = AttachStream(wrapped._sock, name=name, on_close=wrapped._response.close)
        stream.begin()
        return stream

    def start(self, name: str) -> None:
        with _call("start the sandbox"):
            self._client.start(name)

    def inspect(self, name: str) -> dict[str, Any] | None:
        with _call("look at the sandbox"), contextlib.suppress(docker.errors.NotFound):
            return dict(self._client.inspect_container(name))
        return None

    def kill(self, name: str) -> None:
        with _call("kill the sandbox"):
            try:
                self._client.kill(name, "SIGKILL")
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):  # Gone, or ended already.
                    raise

    def wait(self, name: str, seconds: float) -> None:
        # A wait that times out or breaks off says nothing; what counts is what inspect says afterwards.
        with contextlib.suppress(docker.errors.DockerException, OSError):
            self._client.wait(name, timeout=seconds, condition="not-running")

    def usage(self, name: str) -> tuple[float, int]:
        try:
            with _call("measure the sandbox"):
                stats = self._client.stats(name, stream=False, one_shot=True)
            # cgroup v2 knows no peak.
            return stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, int((stats.get("memory_stats") or {}).get("max_usage") or 0)
        except (SandboxError, KeyError, TypeError) as error:
            log.warning("sandbox not measured", sandbox=name, error=said(error))
            return 0.0, 0

    def labelled(self, label: str) -> list[tuple[str, dict[str, str]]]:
        with _call("list the sandboxes"):
            found = self._client.containers(all=True, filters={"label": label})
        return [(each["Names"][0].lstrip("/"), dict(each["Labels"] or {})) for each in found if each["Names"]]

    def remove(self, name: str) -> bool:
        deadline, pause_seconds, existed = time.monotonic() + REMOVE_SECONDS, 0.02, False
        while True:
            try:
                if not self._remove_once(name):
                    return existed
                existed = True
                if self.inspect(name) is None:
                    return True
                problem = SandboxError(f"the sandbox is still there {REMOVE_SECONDS:g} s after its removal")
            except SandboxError as error:  # A removal in progress, a busy mount, an engine that restarts.
                problem = error
            if time.monotonic() > deadline:
                raise problem
            time.sleep(pause_seconds)
            pause_seconds = min(1.0, 2 * pause_seconds)

    def close(self) -> None:
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _remove_once(self, name: str) -> bool:
        with _call("remove the sandbox"):
            try:
                self._client.remove_container(name, force=True, v=True)
            except docker.errors.NotFound:
                return False
        return True

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = docker.APIClient(
                    base_url=self._address, version="auto", timeout=self._answer_seconds, max_pool_size=self._connections
                )
            return self._made


@contextlib.contextmanager
def _call(what: str) -> Iterator[None]:
    """Turn whatever the client raises into one sentence that may be shown; the details go to the log.

    The client's requests fail as OSError: refused, reset and timed out connections, broken answers.
    """
    try:
        yield
    except (docker.errors.DockerException, OSError) as error:
        log.error("engine call failed", what=what, error=said(error))
        raise SandboxError(f"the container engine could not {what}") from error
