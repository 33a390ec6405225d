"""A sandbox to debug in: the same container, whose runner gives the script a terminal and pdb.

Nothing is added to the policy: the terminal is made inside, and its bytes go through the same stdin and stdout as ever.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fumehood.errors import SandboxError
from fumehood.limits import Limits
from worker.container import DEATH_SECONDS, DockerSandbox
from worker.docker_sandbox import DockerHost
from worker.sandbox import StopSignal
from worker.scratch import Scratch

COMMAND = ("debug",)
TERMINAL_LINE = b'{"event": "terminal"}\n'
TERMINAL_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """Where to stop, and the terminal: rows and columns, and its type."""

    step: bool = False
    breaks: Sequence[int] = ()
    size: tuple[int, int] = (24, 80)
    term: str = "dumb"


class DebugSandbox(DockerSandbox):
    """`open_terminal`, then `type` and `resize` until `ended`; leaving the block destroys the container."""

    def open_terminal(self, limits: Limits, wishes: Wishes, *, on_output: Callable[[bytes], None], stop: StopSignal) -> None:
        """Start, send the go line and wait until the terminal is there. `on_output` is called from another thread.

        Raises:
            SandboxError: the runner did not get ready, or is too old to know debugging.
        """
        stop.on_set(self._stream.wake)
        if not self.make_ready(stop):
            raise SandboxError(f"the image's runner did not get ready within {self.ready_seconds:g} s; expected `ready`")
        sink = _Sink(on_output)
        self._stream.hand_over(sink.take)
        self._go(limits, step=wishes.step, breaks=list(wishes.breaks), size=list(wishes.size), term=wishes.term)
        if not sink.answered.wait(TERMINAL_SECONDS) or not sink.is_terminal:
            raise SandboxError("this image is too old to debug in: its runner knows no debugger; build the present one")

    def type(self, data: bytes) -> None:
        """Raises OSError where the sandbox is gone."""
        self._tell({"input": data.decode("latin-1")})

    def resize(self, rows: int, columns: int) -> None:
        self._tell({"size": [rows, columns]})

    def leave(self) -> None:
        """End the session: the end of its stdin ends a sandbox."""
        self._stream.end_input()

    def on_end(self, listener: Callable[[], None]) -> None:
        """Call `listener`, in a thread of its own, when the session is over."""

        def wait() -> None:
            stream = self._stream
            with stream.changed:
                stream.changed.wait_for(lambda: stream.ended)
            listener()

        threading.Thread(target=wait, name="end of debugging", daemon=True).start()

    def how_it_ended(self) -> tuple[int, bool]:
        """Exit code, and whether memory ran out; kills what still runs."""
        state = self._state_of_death(0.5)
        if state is None:
            self._engine.kill(self.name)
            state = self._state_of_death(DEATH_SECONDS)
        if state is None:
            raise SandboxError(f"the sandbox still runs {DEATH_SECONDS:g} s after it was killed")
        return int(state["ExitCode"]), bool(state["OOMKilled"])

    def _tell(self, line: dict[str, Any]) -> None:
        self._stream.send(json.dumps(line).encode() + b"\n")


class _Sink:
    """Takes the runner's first line for itself, and passes everything behind it on."""

    def __init__(self, on_output: Callable[[bytes], None]) -> None:
        self._on_output = on_output
        self._first = b""
        self.answered = threading.Event()
        self.is_terminal = False

    def take(self, part: bytes) -> None:
        if not self.answered.is_set():
            self._first += part
            if not TERMINAL_LINE.startswith(self._first[: len(TERMINAL_LINE)]):
                self.answered.set()
                return
            if len(self._first) < len(TERMINAL_LINE):
                return
            self.is_terminal = True
            self.answered.set()
            part = self._first[len(TERMINAL_LINE) :]
        if part and self.is_terminal:
            self._on_output(part)


def prepare(host: DockerHost, scratch: Scratch, limits: Limits) -> DebugSandbox:
    """As `DockerHost.prepare`."""
    return host.prepare_as(DebugSandbox, scratch, limits, command=COMMAND)
