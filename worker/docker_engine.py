"""The Docker engine: the only module that talks to it, and the few calls of it that sandboxes need.

The engine's log, archive, exec and stop calls are never used: the first two have let containers reach the host, `exec` would run
code beside a tenant's, and `stop` waits for a process that need not listen.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import docker
import structlog

from fumehood.errors import SandboxError
from fumehood.log import said
from worker.attach import AttachStream

log = structlog.get_logger(__name__)

REMOVE_SECONDS = 20.0


class DockerEngine:
    """The client is made at the first use; every call is bounded by its timeout."""

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

    def create(self, name: str, config: dict[str, Any], host_config: dict[str, Any]) -> str:
        """Returns the container's id."""
        # The raw call: the client's own keywords know neither masked paths nor several other fields, and add the proxies
        # of the worker's Docker configuration to the environment.
        with _call("create the sandbox"):
            created = self._client.create_container_from_config(config | {"HostConfig": host_config}, name=name)
        if created.get("Warnings"):
            log.warning("engine has warnings", sandbox=name, warnings=said(SandboxError("; ".join(created["Warnings"]))))
        return str(created["Id"])

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

    def update(self, name: str, resources: dict[str, int]) -> None:
        """Change what a live container may use; keys in the engine's terms."""
        with _call("change the sandbox's limits"):
            # The raw call: the client's own method knows neither NanoCpus nor PidsLimit.
            client = self._client
            answer = client._post_json(client._url("/containers/{0}/update", name), data=resources)
            client._raise_for_status(answer)

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
