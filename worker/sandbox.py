"""The port to whatever runs a script: facts about a run, and no judgement."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from fumehood.image import Image
from fumehood.limits import Limits
from worker.scratch import Scratch

# The longest that a runner may take to be ready, however little of the processors it gets.
READY_SECONDS_MAX = 60.0


class Stop(StrEnum):
    """Why we ended a run ourselves."""

    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    SHUTDOWN = "shutdown"
    FLOODED = "flooded"
    """The supervisor's own stream broke its rules: not a runner of ours any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """What the engine and our own clock say about one run, taken after the container was dead."""

    exit_code: int | None
    oom_killed: bool
    """An out-of-memory kill happened somewhere inside; by itself no verdict."""
    stopped: Stop | None
    ready: bool
    """The supervisor said that it was ready: what went wrong before is the service's fault."""
    done: bool
    """The supervisor said that its report is complete."""
    wall_seconds: float
    cpu_seconds: float
    memory_peak_bytes: int
    mortal: bool = False
    """The script could kill the supervisor, so that no kill speaks for somebody outside."""
    engine_error: str | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    """`create`, `start`, `ready` of a sandbox that was made for this run, `fit` of one that waited; `go`, `end`, `destroy`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One container, by all that the engine and our own records call it."""

    name: str
    id: str
    """The engine's, 64 hexadecimal digits; never given twice."""
    began_at: float
    """When it was made; seconds since the epoch."""


class StopSignal:
    """Set once, by whoever comes first; the sandbox ends the run at once when it is set. Safe between threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self.reason: Stop | None = None
        self._listeners: list[Callable[[], None]] = []

    def set(self, reason: Stop) -> None:
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason
            listeners = list(self._listeners)
            self._event.set()
        for listener in listeners:
            listener()

    def on_set(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the signal is set, or now if it was set already."""
        with self._lock:
            if self.reason is None:
                self._listeners.append(listener)
                return
        listener()

    def wait(self, timeout_seconds: float) -> bool:
        return self._event.wait(timeout_seconds)


class Sandbox(Protocol):
    """One container: prepared, used once, destroyed. A context manager: leaving it destroys the container."""

    name: str
    container: Container
    scratch: Scratch
    image: str

    @property
    def waits(self) -> bool:
        """It got ready and, as far as it tells by itself, still is. Costs nothing; `fit` looks closely."""

    def make_ready(self, stop: StopSignal) -> bool:
        """Start it and wait until its runner is ready; idempotent. False when it does not get ready in time, ends, or is stopped.

        Raises:
            SandboxError: it did not start, or the engine runs something else than it was asked for.
        """

    def on_end(self, listener: Callable[[], None]) -> None:
        """Call `listener`, from any thread, when the sandbox has ended by itself."""

    def cpu_seconds(self) -> float | None:
        """What it has used of the processors so far; None where nobody can see."""

    def open_script(self, limits: Limits, *, stop: StopSignal) -> None:
        """Let a sandbox that is ready open the script that lies in its scratch (`prepare.json`, docs/wall.md), and wait with it.

        Raises:
            SandboxError: the script could not be opened in the time of `limits`, or not at all; why is nobody's to hear.
        """

    def fit(self, limits: Limits) -> None:
        """Give a sandbox that waits the memory, processors and processes of `limits`, and look that it is the one that got
        ready, that it still runs, and that it has just these.

        Raises:
            SandboxError: any of that does not hold; it must not be used.
        """

    def run(self, limits: Limits, *, stop: StopSignal, on_log: Callable[[int], None]) -> Exit:
        """Send the go line, wait for the end, and kill the container if it is not over in time.

        The inputs and `request.json` lie in the scratch already. `on_log(n)` is called from this thread when the first n bytes
        of the log will not change any more. Never raises for anything the script does.

        Raises:
            SandboxError: the engine did not do what it was asked for; the service's fault.
        """

    def destroy(self) -> Container:
        """Remove the container and look that it is gone; returns which it was. Raises SandboxError if it is not gone in time."""


class SandboxHost(Protocol):
    """Makes sandboxes. The only implementation that ships is `worker.docker_sandbox.DockerHost`."""

    image: str

    def check(self) -> None:
        """Look that engine, image, runtime and mounts are usable. Raises SandboxError saying what is missing."""

    def name_of(self, scratch: Scratch) -> str:
        """The container's name, known before there is a container, so that a row can name what might exist."""

    def weaker(self) -> list[str]:
        """Sentences for the controls that this host cannot give. Raises SandboxError."""

    def describe_image(self) -> Image:
        """What the image says is in it. Raises SandboxError where it cannot be looked at."""

    def prepare(self, scratch: Scratch, limits: Limits, *, wait_seconds: float = ...) -> Sandbox:
        """Take a user id, create and attach the container (not started). It ends by itself where it gets no go line within
        `wait_seconds` of its start. Raises SandboxError."""

    def orphans(self, *, is_live: Callable[[str], bool]) -> list[tuple[str, str]]:
        """(name, worker) of this home's containers whose worker is not live."""

    def remove(self, name: str) -> Container | None:
        """Kill and remove a container by name and look that it is gone. None if there was none. Raises SandboxError."""
