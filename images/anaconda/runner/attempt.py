"""One child seen from outside: forked, watched, ended."""

import os
import select
import time
from typing import NamedTuple

from . import places, processes
from .log import Log

LOG_EVENT_SECONDS = 0.1
PREPARED = b'{"prepared": true}\n'
PIPE_BYTES = 256 * 1024
# Freeing gigabytes takes a moment on a busy machine.
KILL_SECONDS = 10.0


class Forked(NamedTuple):
    """A child and our ends of its two pipes."""

    pid: int
    log_pipe: int
    report_pipe: int


def fork(run_child) -> Forked:
    """Fork; `run_child(log_pipe, report_pipe)` must not return."""
    log_pipe, log_end = os.pipe()
    report_pipe, report_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        run_child(log_end, report_end)
        os._exit(70)
    os.close(log_end)
    os.close(report_end)
    return Forked(pid, log_pipe, report_pipe)


class Attempt:
    """One child seen from outside: its two pipes, its end, and what it left running."""

    LISTEN_AFTER_SECONDS = 0.0
    """For so long what the child reports stays in its pipe."""

    def __init__(self, worker, log: Log, wall_at: float):
        self._worker = worker
        self._log = log
        self.wall_at = wall_at
        self._told_bytes = 0
        self._next_event_at = 0.0
        self._said = bytearray()
        self._pid = 0
        self._log_pipe = self._report_pipe = -1
        self.status: int | None = None
        self.timed_out = False

    def start(self, run_child) -> None:
        """Fork; `run_child(log_pipe, report_pipe)` must not return."""
        self.adopt(fork(run_child))

    def adopt(self, forked: Forked) -> None:
        """Take a child that was forked before."""
        self._pid, self._log_pipe, self._report_pipe = forked
        os.set_blocking(self._log_pipe, False)
        os.set_blocking(self._report_pipe, False)

    def watch(self, child_ended: int, *, until=lambda: False) -> None:
        """Copy the log until the child has ended, the wall limit has passed, or `until()`; `child_ended` is readable after SIGCHLD."""
        poller, listen_at = select.poll(), time.monotonic() + self.LISTEN_AFTER_SECONDS
        for descriptor in (0, child_ended, self._log_pipe):
            poller.register(descriptor, select.POLLIN)
        while self.status is None and not until():
            now = time.monotonic()
            if now >= self.wall_at:
                self.timed_out = True
                return
            if now >= listen_at:
                poller.register(self._report_pipe, select.POLLIN)
                listen_at = self.wall_at
            for descriptor, _ in poller.poll(self._poll_milliseconds(now, min(self.wall_at, listen_at))):
                if descriptor == 0:
                    self._worker.hear()
                elif descriptor == child_ended:
                    os.read(child_ended, 4096)
                    self._note_ended(processes.reap())
                elif self._read(descriptor) == b"":
                    poller.unregister(descriptor)
            self._tell_log()

    def is_prepared(self) -> bool:
        """The child said so: its script is open, and waits for its call."""
        return PREPARED in self._said

    def go_on(self, wall_at: float) -> None:
        """Another deadline holds from now on."""
        self.wall_at = wall_at

    def end(self) -> None:
        """Kill all that is left, then take what is still in the pipes."""
        self._note_ended(processes.kill_all(KILL_SECONDS))
        for descriptor in (self._log_pipe, self._report_pipe):
            while self._read(descriptor):
                pass
            os.close(descriptor)

    def said(self) -> bytes:
        """What came through the report pipe, at most CHILD_REPORT_BYTES."""
        return bytes(self._said)

    def _poll_milliseconds(self, now: float, wake_at: float) -> float:
        if self._told_bytes != self._log.settled_bytes:
            wake_at = min(wake_at, self._next_event_at)
        return max(0.0, wake_at - now) * 1000 + 1

    def _note_ended(self, ended: dict[int, int]) -> None:
        if self._pid in ended:
            self.status = ended[self._pid]

    def _read(self, descriptor: int) -> bytes | None:
        """Take one portion and return it: empty at the end of the pipe, None when there is nothing now."""
        try:
            data = os.read(descriptor, PIPE_BYTES)
        except BlockingIOError:
            return None
        if descriptor == self._log_pipe:
            self._log.feed(data)
        elif len(self._said) <= places.CHILD_REPORT_BYTES:
            self._said += data
        return data

    def _tell_log(self) -> None:
        now = time.monotonic()
        if self._told_bytes != self._log.settled_bytes and now >= self._next_event_at:
            self._told_bytes = self._log.settled_bytes
            self._next_event_at = now + LOG_EVENT_SECONDS
            self._worker.tell("log", must_arrive=False, bytes=self._told_bytes)
