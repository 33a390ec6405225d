"""The keyboard: this terminal as the other end of one inside a sandbox."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from types import FrameType, TracebackType

from cli import config
from cli.terminal import Screened
from worker.debugging import DebugSandbox

PORTION_BYTES = 16 * 1024
END_OF_TRANSMISSION = b"\x04"
COLOURS_OFF = b"\x1b[0m"


class Terminal:
    """A context manager. Keys are passed on as they are pressed (Ctrl-C too) and the way it was is restored at the end. Where
    stdin is no terminal its lines are passed on, and its end as Ctrl-D."""

    def __init__(self, sandbox: DebugSandbox) -> None:
        self._sandbox = sandbox
        self._keys = sys.stdin.fileno()
        self._before: list[object] | None = None
        self._screened = Screened() if os.isatty(sys.stdout.fileno()) else None
        self._over, self._wake = os.pipe()
        self._gone = False

    def __enter__(self) -> Terminal:
        self._resized_before = signal.signal(signal.SIGWINCH, self._resized)
        if os.isatty(self._keys):
            self._before = termios.tcgetattr(self._keys)
            tty.setraw(self._keys)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._screened is not None:
            self._write(self._screened.rest().encode(errors="replace") + COLOURS_OFF)
        if self._before is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
        signal.signal(signal.SIGWINCH, self._resized_before)

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        columns, rows = shutil.get_terminal_size()
        return rows, columns

    def kind(self) -> str:
        return config.terminal_kind() if self._before is not None else "dumb"

    def show(self, data: bytes) -> None:
        """What the sandbox's terminal shows: into a pipe as it is, onto a terminal without what a script must not do there."""
        self._write(data if self._screened is None else self._screened.take(data).encode(errors="replace"))

    def _write(self, data: bytes) -> None:
        """Where nobody looks any more (`| head`) the session ends; until then what comes is still taken, or the engine would stop."""
        if self._gone:
            return
        try:
            sys.stdout.flush()
            view = memoryview(data)
            while view:
                view = view[os.write(sys.stdout.fileno(), view) :]
        except OSError:
            self._gone = True
            self._sandbox.leave()

    def until_the_end(self) -> None:
        """Pass keys on until the session is over."""
        self._sandbox.on_end(lambda: os.close(self._wake))
        watched = [self._keys, self._over]
        while True:
            readable, _, _ = select.select(watched, [], [])
            if self._over in readable:
                return
            keys = os.read(self._keys, PORTION_BYTES)
            if not keys:
                watched.remove(self._keys)
            with contextlib.suppress(OSError):  # Pressed while the sandbox went away: the end comes next.
                self._sandbox.type(keys or END_OF_TRANSMISSION)

    def _resized(self, number: int, frame: FrameType | None) -> None:
        self._sandbox.resize(*self.size())
