"""Testing: a sandbox host without an engine. Shipped, and without pytest.

A `FakeSandboxHost` keeps its containers in memory and runs a *behaviour* instead of a script: a function that writes into the
scratch's output files what the runner would have written, and returns the Exit.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from fumehood.errors import SandboxError
from fumehood.image import Image
from fumehood.limits import Limits
from worker.sandbox import Container, Exit, Stop, StopSignal
from worker.scratch import Scratch

IMAGE = "sha256:" + "0" * 64
BLOCKED_SECONDS = 30.0
"""The longest that a behaviour waits; a test that forgot to stop it fails instead of hanging."""

Behaviour = Callable[[Scratch, Limits, StopSignal, Callable[[int], None]], Exit]


def exited(**overrides: Any) -> Exit:
    """The Exit of a run that ended well."""
    values: dict[str, Any] = {
        "exit_code": 0,
        "oom_killed": False,
        "stopped": None,
        "ready": True,
        "done": True,
        "wall_seconds": 0.25,
        "cpu_seconds": 0.125,
        "memory_peak_bytes": 70_000_000,
        "milliseconds": {"create": 10.0, "start": 20.0, "ready": 30.0, "go": 250.0},
    }
    return Exit(**(values | overrides))


def write(scratch: Scratch, output: str, content: bytes) -> None:
    """Put `content` into an output file, through the descriptor as everybody does."""
    os.ftruncate(scratch.descriptors[output], 0)
    os.pwrite(scratch.descriptors[output], content, 0)


def report(**overrides: Any) -> bytes:
    """A report as in docs/wall.md; what is not named is that of a script that returned an empty table."""
    values: dict[str, Any] = {
        "version": 1,
        "reason": "ok",
        "message": "",
        "error": None,
        "child": {"exit_code": 0, "signal": None},
        "result": {"rows": 0, "columns": []},
        "result2": None,
        "files": [],
        "log": {"bytes": 0, "truncated": False},
        "notes": [],
        "milliseconds": {"import": 1, "script": 2},
        "memory_peak_bytes": 60_000_000,
        "oom_kills": 0,
    }
    return json.dumps(values | overrides).encode()


def succeeds(scratch: Scratch, limits: Limits, stop: StopSignal, on_log: Callable[[int], None]) -> Exit:
    """A script that prints a line and returns a table."""
    write(scratch, "log", b"hello\n")
    on_log(6)
    write(scratch, "result.arrow", b"ARROW1 table")
    write(scratch, "report.json", report(log={"bytes": 6, "truncated": False}))
    return exited()


def fails(scratch: Scratch, limits: Limits, stop: StopSignal, on_log: Callable[[int], None]) -> Exit:
    """A script that prints, leaves an artifact and raises."""
    write(scratch, "log", b"oh\n")
    on_log(3)
    write(scratch, "files.bin", b"kept")
    kept = {"role": "artifact", "name": "kept.txt", "media_type": "text/plain", "offset": 0, "bytes": 4}
    write(scratch, "report.json", report(reason="script_error", message="ValueError: no", result=None, files=[kept]))
    return exited()


def blocks(scratch: Scratch, limits: Limits, stop: StopSignal, on_log: Callable[[int], None]) -> Exit:
    """A script that runs until it is stopped."""
    began = time.monotonic()
    ended = stop.wait(BLOCKED_SECONDS)
    return exited(exit_code=137, stopped=stop.reason if ended else Stop.DEADLINE, done=False, wall_seconds=time.monotonic() - began)


class FakeSandbox:
    def __init__(self, host: FakeSandboxHost, scratch: Scratch, name: str, limits: Limits) -> None:
        self.name = name
        self.scratch = scratch
        self.image = host.image
        self.limits = limits
        self.waits = self.prepared = False
        self.used_cpu_seconds = 0.5
        self._host = host
        self._used = False
        self.container = host.containers_made[name]
        self._listeners: list[Callable[[], None]] = []

    def make_ready(self, stop: StopSignal) -> bool:
        self._host.meet("make_ready")
        self.waits = stop.reason is None
        return self.waits

    def cpu_seconds(self) -> float | None:
        return self.used_cpu_seconds

    def open_script(self, limits: Limits, *, stop: StopSignal) -> None:
        self._host.meet("open_script")
        if not (self.scratch.inside / "prepare.json").exists() or stop.reason is not None:
            raise SandboxError("the script could not be opened")
        self.prepared = True

    def on_end(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def fit(self, limits: Limits) -> None:
        self._host.meet("fit")
        if not self.waits or self.name not in self._host.containers:
            raise SandboxError("the sandbox does not wait")
        self.limits = limits

    def end(self) -> None:
        """As if its container had ended by itself."""
        self.waits = False
        for listener in self._listeners:
            listener()

    def run(self, limits: Limits, *, stop: StopSignal, on_log: Callable[[int], None]) -> Exit:
        self._host.meet("run")
        if self._used:
            raise AssertionError(f"the sandbox {self.name} is used twice")
        self.waits, self._used = False, True
        return self._host.behaviour(self.scratch, limits, stop, on_log)

    def destroy(self) -> Container:
        self._host.meet("destroy")
        self._host.forget(self.name)
        return self.container

    def __enter__(self) -> FakeSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()


class FakeSandboxHost:
    """Containers by name, with the worker that made each. `faults[call]` is raised by `check`, `prepare`, `open_script`, `run`,
    `destroy`, `remove` or `orphans`; `visits` counts the calls; `on_prepare` is called before a container is made."""

    def __init__(self, *, worker: str = "wrk_test", behaviour: Behaviour = succeeds) -> None:
        self.image = IMAGE
        self.worker = worker
        self.behaviour = behaviour
        self.containers: dict[str, str] = {}
        self.containers_made: dict[str, Container] = {}
        self.faults: dict[str, Exception] = {}
        self.visits: list[str] = []
        self.made: list[FakeSandbox] = []
        self.on_prepare: Callable[[str], None] = lambda name: None
        self._lock = threading.Lock()

    def check(self) -> None:
        self.meet("check")

    def name_of(self, scratch: Scratch) -> str:
        return f"fumehood-{scratch.name}"

    def weaker(self) -> list[str]:
        return []

    def describe_image(self) -> Image:
        self.meet("describe_image")
        return Image(digest=self.image, python="3.13.1", packages={"pandas": "3.1.1"})

    def prepare(self, scratch: Scratch, limits: Limits, *, wait_seconds: float = 90.0) -> FakeSandbox:
        self.meet("prepare")
        name = self.name_of(scratch)
        self.on_prepare(name)
        with self._lock:
            if name in self.containers:
                raise SandboxError(f"there is a container {name} already")
            self.containers[name] = self.worker
            self.containers_made[name] = Container(name=name, id=secrets.token_hex(32), began_at=time.time())
        sandbox = FakeSandbox(self, scratch, name, limits)
        self.made.append(sandbox)
        return sandbox

    def orphans(self, *, is_live: Callable[[str], bool]) -> list[tuple[str, str]]:
        self.meet("orphans")
        with self._lock:
            containers = list(self.containers.items())
        return [(name, worker) for name, worker in containers if not is_live(worker)]

    def remove(self, name: str) -> Container | None:
        self.meet("remove")
        return self.known(name) if self.forget(name) else None

    def known(self, name: str) -> Container:
        """Also of a container that a test put there by hand."""
        return self.containers_made.setdefault(name, Container(name=name, id=secrets.token_hex(32), began_at=time.time()))

    def close(self) -> None:
        """As the real one: ends its connections to the engine."""

    # for the fake's own parts and for tests ------------------------------------------------------------------------------
    def meet(self, call: str) -> None:
        with self._lock:
            self.visits.append(call)
        if call in self.faults:
            raise self.faults[call]

    def forget(self, name: str) -> bool:
        with self._lock:
            return self.containers.pop(name, None) is not None
