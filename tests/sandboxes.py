"""Containers for tests: naked ones that run a piece of Python behind the whole wall, and real runs of a script.

What a test starts carries the label of the test's own home, so that others' containers are never looked at or touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import docker

from cli.corpus import SMALL
from fumehood.limits import Limits
from fumehood.outcome import Outcome
from fumehood.settings import Settings
from tests.services import missing
from worker import isolation
from worker.collect import Report, collect
from worker.container import DockerSandbox
from worker.docker_sandbox import DockerHost
from worker.isolation import LABEL_HOME, Host
from worker.sandbox import Exit, Sandbox, StopSignal
from worker.scratch import Scratch
from worker.uids import take_uid
from worker.verdict import judge

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/opt/fumehood/python/bin/python"
END_SECONDS = 30.0


def sandbox_image() -> str:
    """The id of the image that fits the checkout, or the one that `FUMEHOOD_TEST_IMAGE` names while several people change it."""
    if subprocess.run(["docker", "version"], capture_output=True, timeout=30).returncode:
        missing("no container engine")
    if named := os.environ.get("FUMEHOOD_TEST_IMAGE"):
        return named
    build = [sys.executable, str(ROOT / "images" / "build.py"), "anaconda", "--print-tag"]
    tag = subprocess.run(build, capture_output=True, text=True, check=True, timeout=60).stdout.split()[-1]
    found = subprocess.run(
        ["docker", "image", "ls", "--quiet", "--no-trunc", tag], capture_output=True, text=True, timeout=30
    ).stdout.split()
    return found[0] if found else missing(f"no image {tag}; run `python3 images/build.py anaconda`")


def left_over(client: docker.APIClient, home: Path) -> dict[str, list[str]]:
    """What the engine and the file system still know of this home; empty lists when nothing."""
    ours = {"label": f"{LABEL_HOME}={home}"}
    return {
        "containers": [each["Id"] for each in client.containers(all=True, filters=ours)],
        "volumes": [each["Name"] for each in client.volumes(filters=ours)["Volumes"] or []],
        "networks": [each["Name"] for each in client.networks(filters=ours)],
        "scratch": [path.name for path in (home / "scratch").glob("*")],
    }


class Naked:
    """One container behind the whole wall whose first process is a piece of Python instead of the runner."""

    def __init__(self, client: docker.APIClient, scratch: Scratch, name: str, config: dict[str, Any], host_config: dict[str, Any]) -> None:
        self.client, self.scratch, self.name, self.config, self.host_config = client, scratch, name, config, host_config
        client.create_container_from_config(config | {"HostConfig": host_config}, name=name)
        wrapped = client.attach_socket(name, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        self._response, self._socket = wrapped._response, wrapped._sock
        self._socket.settimeout(END_SECONDS)
        self._frames = b""
        self._text = b""
        self.client.start(name)

    def send(self, line: str) -> None:
        self._socket.sendall(line.encode() + b"\n")

    def line(self) -> str:
        """The next line of output."""
        while b"\n" not in self._text:
            assert self._receive(), f"the container ended; it said {self._text!r}"
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def rest(self) -> str:
        """All output until the end."""
        while self._receive():
            pass
        text, self._text = self._text, b""
        return text.decode()

    def state(self) -> dict[str, Any]:
        """Once it has ended."""
        self.client.wait(self.name, timeout=END_SECONDS)
        return dict(self.client.inspect_container(self.name)["State"])

    def inspect(self) -> dict[str, Any]:
        return dict(self.client.inspect_container(self.name))

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._response.close()

    def _receive(self) -> bool:
        chunk = self._socket.recv(65536)
        self._frames += chunk
        while len(self._frames) >= 8 and len(self._frames) >= 8 + (size := int.from_bytes(self._frames[4:8], "big")):
            self._text += self._frames[8 : 8 + size]
            self._frames = self._frames[8 + size :]
        return bool(chunk)


class Wall:
    """Makes naked containers for one home."""

    def __init__(self, home: Path, image: str) -> None:
        self.home, self.image = home, image
        self.client = docker.APIClient(version="auto", timeout=30)
        self.settings = Settings(home=home, image=image)

    @contextlib.contextmanager
    def open(
        self,
        code: str,
        *,
        limits: Limits = SMALL,
        uid: int | None = None,
        config: dict[str, Any] | None = None,
        host_config: dict[str, Any] | None = None,
        mounts: tuple[dict[str, Any], ...] = (),
    ) -> Iterator[Naked]:
        """`config`, `host_config` and `mounts` are what differs from a sandbox."""
        scratch = Scratch.create(self.home, worker="wall")
        held = take_uid(self.home, first=self.settings.sandbox_uid_first, count=self.settings.sandbox_uid_count)
        name = "fumehood-" + scratch.name
        wanted, wanted_host = isolation.container(
            image=self.image,
            scratch=scratch,
            limits=limits,
            uid=uid or held.number,
            host=Host(cpus=os.cpu_count() or 1),
            labels={LABEL_HOME: str(self.home)},
            wait_seconds=60,
        )
        wanted |= {"Entrypoint": [PYTHON, "-I", "-u", "-c", textwrap.dedent(code)]} | (config or {})
        wanted_host |= host_config or {}
        wanted_host["Mounts"] = [*wanted_host["Mounts"], *mounts]
        naked = None
        try:
            naked = Naked(self.client, scratch, name, wanted, wanted_host)
            yield naked
        finally:
            with contextlib.suppress(docker.errors.NotFound):
                self.client.remove_container(name, force=True, v=True)
            if naked is not None:
                naked.hang_up()
            held.release()
            scratch.erase()

    def say(self, code: str, **differences: Any) -> Any:
        """Run to the end; the last line of output, as JSON."""
        with self.open(code, **differences) as naked:
            text = naked.rest()
        try:
            return json.loads(text.splitlines()[-1])
        except (IndexError, ValueError):
            raise AssertionError(f"expected JSON in the last line; got {text!r}") from None

    def close(self) -> None:
        self.client.close()


@dataclass(frozen=True, kw_only=True)
class Ran:
    exit: Exit
    report: Report
    outcome: Outcome
    log: str
    log_bytes: int
    scratch: Path
    container: str
    result_bytes: int


def lay(scratch: Scratch, name: str, content: bytes) -> None:
    (scratch.inside / name).write_bytes(content)
    (scratch.inside / name).chmod(0o444)


def open_ahead(
    host: DockerHost, home: Path, script: str, *, limits: Limits = SMALL, bundle: bytes | None = None, wait_seconds: float = 120.0
) -> DockerSandbox:
    """One that waits with the script open, as the pool makes it for calls. Raises SandboxError where it cannot be opened; nothing is left
    then."""
    scratch = Scratch.create(home, worker=host.worker_id)
    with contextlib.ExitStack() as undo:
        undo.callback(scratch.erase)
        sandbox = host.prepare(scratch, limits, wait_seconds=wait_seconds)
        undo.callback(sandbox.destroy)
        assert sandbox.make_ready(StopSignal())
        inputs = {} if bundle is None else {"bundle": {"format": "zip"}}
        lay(scratch, "script.py", script.encode())
        if bundle is not None:
            lay(scratch, "bundle.zip", bundle)
        lay(scratch, "prepare.json", json.dumps({"version": 1, "inputs": inputs, "limits": limits.as_dict()}).encode())
        sandbox.open_script(limits, stop=StopSignal())
        undo.pop_all()
    return sandbox


def run_script(
    host: DockerHost,
    home: Path,
    script: str,
    *,
    limits: Limits = SMALL,
    stop: StopSignal | None = None,
    on_log: Callable[[int], None] = lambda count: None,
    ready: Sandbox | None = None,
    inputs: Mapping[str, tuple[str, bytes]] = MappingProxyType({}),
) -> Ran:
    """The rooms stage, run, collect, judge, erase, without a store: what the journey does for one job. `ready` is a sandbox of a
    pool, which is used up, and keeps what lies in it; without one, a sandbox is made. `inputs` are formats and bytes, by port."""
    scratch = ready.scratch if ready else Scratch.create(home, worker=host.worker_id)
    try:
        formats = {port: {"format": format_name} for port, (format_name, _) in inputs.items()}
        request = {"version": 1, "kind": "script", "inputs": formats, "parameters": {}, "limits": limits.as_dict()}
        files = {"script.py": script.encode(), "request.json": json.dumps(request).encode()}
        files |= {"bundle.zip" if port == "bundle" else port: content for port, (_, content) in inputs.items()}
        for name, content in files.items():
            if not (scratch.inside / name).exists():
                lay(scratch, name, content)
        with contextlib.ExitStack() as last:
            sandbox: Sandbox = ready or host.prepare(scratch, limits)
            last.callback(sandbox.destroy)
            exit = sandbox.run(limits, stop=stop or StopSignal(), on_log=on_log)
            report = collect(scratch, limits)
            outcome = judge(exit, report)
            log = scratch.read("log", limit_bytes=limits.log_bytes * 2).decode(errors="replace")
            size, log_size = scratch.size("result.arrow"), scratch.size("log")
        return Ran(
            exit=exit,
            report=report,
            outcome=outcome,
            log=log,
            log_bytes=log_size,
            scratch=scratch.directory,
            container=sandbox.name,
            result_bytes=size,
        )
    finally:
        scratch.erase()
