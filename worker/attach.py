"""The attach stream of one sandbox: always drained, never trusted.

An attach stream that nobody reads stops the engine: kill, inspect and even the list of containers then wait for it. So one
thread reads from before the start until the socket is shut down, and keeps only what is bounded: how far the supervisor is.
A stream that breaks the rules of docs/wall.md counts as flooded; it is still drained, and the run is over.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

HEADER_BYTES = 8
STDOUT, STDERR = 1, 2
FRAME_BYTES = 64 * 1024
LINE_BYTES = 512
STDERR_KEPT_BYTES = 2048
# The supervisor says at most ten short lines a second; this is more than it ever needs, and little to read.
STREAM_BYTES = 64 * 1024
STREAM_BYTES_PER_SECOND = 8 * 1024
JOIN_SECONDS = 5.0


class Lines:
    """Takes the engine's frames in pieces of any size, gives the supervisor's events; holds at most one line."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._on_event = on_event
        self._header = b""
        self._left = 0
        self._kind = 0
        self._line = b""
        self._raw: Callable[[bytes], None] | None = None
        self.bytes = 0
        self.stderr = b""

    def hand_over(self, take: Callable[[bytes], None]) -> None:
        """From now on stdout is no events, but bytes for `take`."""
        self._raw = take

    def feed(self, chunk: bytes) -> None:
        """Raises ValueError where the stream is not one of a supervisor of ours."""
        self.bytes += len(chunk)
        while chunk:
            if not self._left:
                take = HEADER_BYTES - len(self._header)
                self._header, chunk = self._header + chunk[:take], chunk[take:]
                if len(self._header) == HEADER_BYTES:
                    self._begin_frame()
                continue
            part, chunk = chunk[: self._left], chunk[self._left :]
            self._left -= len(part)
            if self._kind == STDOUT and self._raw is not None:
                self._raw(part)
            elif self._kind == STDOUT:
                self._take(part)
            else:
                self.stderr = (self.stderr + part)[-STDERR_KEPT_BYTES:]

    def _begin_frame(self) -> None:
        kind, padding, size = self._header[0], self._header[1:4], int.from_bytes(self._header[4:], "big")
        if kind not in (STDOUT, STDERR) or padding != b"\0\0\0" or size > FRAME_BYTES:
            raise ValueError(f"frame of kind {kind} with {size} bytes; expected kind 1 or 2 and at most {FRAME_BYTES} bytes")
        self._header, self._kind, self._left = b"", kind, size

    def _take(self, part: bytes) -> None:
        *complete, rest = (self._line + part).split(b"\n")
        for line in complete:
            self._parse(line)
        if len(rest) > LINE_BYTES:
            raise ValueError(f"a line of more than {LINE_BYTES} bytes")
        self._line = rest

    def _parse(self, line: bytes) -> None:
        if len(line) > LINE_BYTES:
            raise ValueError(f"a line of {len(line)} bytes; expected at most {LINE_BYTES}")
        try:
            event = json.loads(line)
        except RecursionError as error:
            raise ValueError("a line that is nested too deep") from error
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise ValueError("a line that is not an event")
        self._on_event(event)


class AttachStream:
    """How far the supervisor is, as its own lines say: `ready`, `prepared`, `log_bytes`, `done`; and `ended`, `flooded`.

    Everything is guarded by `changed`, which is notified on every change and by `wake()`.
    """

    def __init__(self, connection: socket.socket, *, name: str, on_close: Callable[[], None] = lambda: None) -> None:
        self.changed = threading.Condition()
        self.ready = self.prepared = False
        self.done = False
        self.ended = False
        self.flooded: str | None = None
        self.log_bytes = 0
        self._connection = connection
        self._on_close = on_close
        self._on_end: list[Callable[[], None]] = []
        self._budget_bytes = STREAM_BYTES
        self._lines = Lines(self._on_event)
        self._thread = threading.Thread(target=self._drain, name=f"attach-{name}", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def allow(self, seconds: float) -> None:
        """Let the supervisor speak for so much longer."""
        self._budget_bytes += int(seconds * STREAM_BYTES_PER_SECOND)

    def hand_over(self, take: Callable[[bytes], None]) -> None:
        """Give everything that comes to `take`, unread and without a budget, in the reading thread: a debugger's terminal. To be
        called before the go line, while the supervisor is silent."""
        self._budget_bytes = sys.maxsize
        self._lines.hand_over(take)

    def send(self, line: bytes) -> None:
        """Raises OSError, TimeoutError included."""
        self._connection.sendall(line)

    def end_input(self) -> None:
        """Close our half only: the supervisor sees the end of its stdin."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def on_end(self, listener: Callable[[], None]) -> None:
        """Call `listener`, from the reading thread, when the stream ends; now, if it has."""
        with self.changed:
            if not self.ended:
                self._on_end.append(listener)
                return
        listener()

    def ends_within(self, seconds: float) -> bool:
        """Wait for the engine to say that nothing writes any more."""
        with self.changed:
            return self.changed.wait_for(lambda: self.ended, timeout=seconds)

    def wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    @property
    def stderr(self) -> str:
        """The end of what the supervisor itself said on stderr: for our log, never for a tenant."""
        return self._lines.stderr.decode(errors="replace")

    def close(self) -> None:
        """Shut the socket down (closing alone would not free the engine) and wait for the thread; idempotent."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)
        self._connection.close()
        self._on_close()

    def _drain(self) -> None:
        buffer = bytearray(FRAME_BYTES)
        while True:
            try:
                count = self._connection.recv_into(buffer)
            except TimeoutError:
                continue  # The socket's timeout is for sending; silence is fine, the run has its own deadline.
            except OSError:
                count = 0
            if not count:
                break
            if self.flooded is None:
                self._feed(bytes(buffer[:count]))
        with self.changed:
            self.ended = True
            self.changed.notify_all()
            listeners = list(self._on_end)
        for listener in listeners:
            listener()

    def _feed(self, chunk: bytes) -> None:
        try:
            self._lines.feed(chunk)
            if self._lines.bytes > self._budget_bytes:
                raise ValueError(f"{self._lines.bytes} bytes so far; expected at most {self._budget_bytes}")
        except ValueError as error:
            with self.changed:
                self.flooded = str(error)
                self.changed.notify_all()

    def _on_event(self, event: dict[str, Any]) -> None:
        with self.changed:
            match event:
                case {"event": "ready"}:
                    self.ready = True
                case {"event": "prepared"}:
                    self.prepared = True
                case {"event": "log", "bytes": int(count)} if count >= self.log_bytes:
                    self.log_bytes = count
                case {"event": "done"}:
                    self.done = True
                case _:
                    raise ValueError("an event that is not in docs/wall.md, or a log that shrinks")
            self.changed.notify_all()
