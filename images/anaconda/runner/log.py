"""The stored log: as it comes up to three quarters of its cap, then only the last part is kept."""

import os
from collections import deque

from . import disk

MARKER = b"\n[fumehood: %d bytes of the log left out here; its limit is %d bytes]\n"
MARKER_ROOM_BYTES = 120


class Log:
    """A log file of at most `cap_bytes`, with all of the beginning and the end of what was fed to it.

    `disk_full`: the host's disk had no room for it.
    `settled_bytes` of the file will not change any more. What comes after them waits in memory, at most a quarter of the
    cap, until `finish`. All writes are at positions of our own: the file is open to the script too.
    """

    def __init__(self, descriptor: int, cap_bytes: int, *, begin: int = 0):
        """`begin`: where in the file; what lies before it is another's."""
        self._descriptor = descriptor
        self._begin = begin
        self._cap_bytes = cap_bytes
        self._head_bytes = cap_bytes * 3 // 4
        self._tail_bytes = max(0, cap_bytes - self._head_bytes)
        self._ring: deque[bytes] = deque()
        self._ring_bytes = 0
        self._dropped_bytes = 0
        self._last = b"\n"
        self._broken = False
        self.disk_full = False
        self.settled_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream; never blocks on the reader of the log and never fails."""
        if not data:
            return
        self._last = data[-1:]
        room = self._head_bytes - self.settled_bytes
        if room > 0:
            self._write(data[:room])
            data = data[room:]
        if data:
            self._ring.append(data)
            self._ring_bytes += len(data)
            self._trim(self._tail_bytes)

    def feed_paragraph(self, text: str) -> None:
        """Add text of our own, beginning on a new line."""
        if self._last != b"\n":
            self.feed(b"\n")
        self.feed(text.encode("utf-8", "replace"))

    def finish(self) -> dict:
        """Add the kept end, cut the file to what we wrote, and say how it is: `{"bytes", "truncated"}`."""
        if self._dropped_bytes:
            self._trim(max(0, self._tail_bytes - MARKER_ROOM_BYTES))
            self._write((MARKER % (self._dropped_bytes, self._cap_bytes))[: self._tail_bytes])
        for part in self._ring:
            self._write(part)
        self._ring.clear()
        try:
            os.ftruncate(self._descriptor, self._begin + self.settled_bytes)
        except OSError:
            self._broken = True
        return {"bytes": self.settled_bytes, "truncated": bool(self._dropped_bytes) or self._broken}

    def _trim(self, keep_bytes: int) -> None:
        """Forget the oldest bytes of the ring until at most `keep_bytes` are left."""
        while self._ring_bytes > keep_bytes:
            excess = self._ring_bytes - keep_bytes
            oldest = self._ring.popleft()
            if len(oldest) > excess:
                self._ring.appendleft(oldest[excess:])
            forgotten = min(excess, len(oldest))
            self._ring_bytes -= forgotten
            self._dropped_bytes += forgotten

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view and not self._broken:
                written = os.pwrite(self._descriptor, view, self._begin + self.settled_bytes)
                self.settled_bytes += written
                view = view[written:]
        except OSError as error:
            # The host's disk is full, or the log's cap is above the file limit. The job goes on; the flags say it.
            self._broken = True
            self.disk_full = disk.means_full(error)
