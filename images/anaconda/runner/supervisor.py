"""The supervisor: waits for the go line, starts the child, outlives it, and tells how it went.

It never runs a line of the script and never parses a file the script can write. Of the child's words it takes one
size-capped JSON text, checked field by field (report.py).
"""

import contextlib
import gc
import json
import os
import select
import signal
import time

import pyarrow

from . import batch, child, collector, places, processes, report, report_file
from .attempt import Attempt
from .log import Log
from .waiting import WaitingChild

# The worker's own deadline stands two seconds behind the wall limit; killing, collecting and reporting must fit.
AFTER_WALL_SECONDS = 1.4
KILL_AGAIN_SECONDS = 1.0
COLLECT_SECONDS = 30.0
COLLECT_SECONDS_LEAST = 0.3
LINGER_SECONDS = 5.0
EXIT_LEFT = 3
EXIT_BROKEN_OFF = 4


class Deadline:
    """The moment at which this process ends whatever happens, waiting included.

    Backed by a timer signal for the case that the loop is stuck. A script can send that signal too: the clock decides.
    """

    def __init__(self, at: float):
        self.at = at
        signal.signal(signal.SIGALRM, self._ring)
        self.move(at)

    def move(self, at: float) -> None:
        self.at = at
        signal.setitimer(signal.ITIMER_REAL, max(0.001, at - time.monotonic()), 0.5)

    def _ring(self, _signal: int, _frame: object) -> None:
        self.check()

    def check(self) -> None:
        if time.monotonic() >= self.at:
            os._exit(EXIT_LEFT)


class Worker:
    """The other end of stdin and stdout."""

    def __init__(self):
        self._heard = b""
        self._listens = True
        # A worker that does not read must never stop the supervisor, so a line that does not fit is dropped.
        os.set_blocking(1, False)

    def tell(self, event: str, must_arrive: bool = True, **facts: object) -> None:
        line = json.dumps({"event": event, **facts}).encode() + b"\n"
        for seconds in (1.0, 0.0) if must_arrive else (0.0,):
            try:
                os.write(1, line[: places.EVENT_LINE_BYTES])
                return
            except OSError:
                select.select([], [1], [], seconds)

    def hear(self) -> None:
        """Stdin has something to read, or its end: that means that nobody wants the result any more, and it ends the sandbox. What
        nobody waits for is dropped."""
        try:
            part = os.read(0, 65536)
        except OSError:
            part = b""
        if not part:
            os._exit(EXIT_LEFT)
        if self._listens:
            self._heard += part

    def has_line(self) -> bool:
        """A worker that talks nonsense ends the sandbox."""
        if len(self._heard) > places.GO_LINE_BYTES:
            os._exit(EXIT_LEFT)
        return b"\n" in self._heard

    def read_line(self, deadline: Deadline, child_ended: int) -> dict:
        """The next line of stdin, as JSON. A worker that waits too long ends the sandbox, and so does the end of the child that
        waits: a host that is short of memory takes that first."""
        while not self.has_line():
            readable, _, _ = select.select([0, child_ended], [], [], max(0.0, deadline.at - time.monotonic()))
            deadline.check()
            if child_ended in readable:
                os._exit(EXIT_LEFT)
            if readable:
                self.hear()
        return self.take_line()

    def take_line(self) -> dict:
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def stop_listening(self) -> None:
        """What follows is not for us."""
        self._listens, self._heard = False, b""


def main(*, started_at: float, wait_seconds: float, modules_at_start: frozenset[str]) -> None:
    """Run one job from `ready` to `done`."""
    processes.set_dumpable(False)
    # Python's own handler for SIGINT would let a script interrupt us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    deadline = Deadline(started_at + wait_seconds)
    fill_casts()
    child_ended = wake_on_child_end()
    waiting = WaitingChild(modules_at_start)
    worker = Worker()
    imported_at = time.monotonic()
    worker.tell("ready", milliseconds=round((imported_at - started_at) * 1000))

    go, prepared = worker.read_line(deadline, child_ended), None
    # Opened before any script runs: what a script does to its own user's limits is too late for it.
    descriptor = os.open(places.REPORT, os.O_WRONLY)
    if "prepare" in go:
        prepared = prepare(waiting, worker, go, deadline, child_ended)
        go = worker.take_line()
    worker.stop_listening()
    go_at = time.monotonic()
    deadline.move(started_at + float(go["expires_seconds"]))
    try:
        processes.lower_file_limit(int(go["file_bytes"]))
        wall_at = go_at + float(go["wall_seconds"])
        request = child.read_request()
        chunk = None
        if prepared is not None:
            log, attempt = prepared
            attempt.go_on(wall_at)
            waiting.go(int(go["file_bytes"]))
        elif request.get("kind") == "chunk":
            waiting.dismiss()
            log_descriptor = os.open(places.LOG, os.O_WRONLY)
            chunk = batch.Chunk(request, worker, log_descriptor, int(go["log_bytes"]), wall_at, modules_at_start)
        else:
            log = Log(os.open(places.LOG, os.O_WRONLY), int(go["log_bytes"]))
            attempt = Attempt(worker, log, wall_at)
            attempt.adopt(waiting.go(int(go["file_bytes"])))
    except Exception as error:
        text = report.of_failure("sandbox_error" if prepared is None else "crashed", error)
    else:
        milliseconds = {"import": round((imported_at - started_at) * 1000)}
        if chunk is not None:
            text = batch.outlive(chunk, child_ended, milliseconds)
        else:
            text = outlive(attempt, child_ended, request, log, milliseconds)
    if not report_file.write(descriptor, text):
        # As where the worker is gone: this end is never taken for the script's.
        os._exit(EXIT_LEFT)
    worker.tell("done")
    linger()


def prepare(waiting: WaitingChild, worker: Worker, line: dict, deadline: Deadline, child_ended: int) -> tuple[Log, Attempt]:
    """Let the child open its script, say so, and wait for the go line; the script's threads may go on meanwhile. Whatever else becomes
    of the child ends the sandbox: the call will be made in another one, and told from there."""
    began_at = time.monotonic()
    log = Log(os.open(places.LOG, os.O_WRONLY), int(line["log_bytes"]))
    attempt = Attempt(worker, log, min(deadline.at, began_at + float(line["wall_seconds"])))
    attempt.adopt(waiting.prepare(int(line["file_bytes"])))
    attempt.watch(child_ended, until=attempt.is_prepared)
    if not attempt.is_prepared():
        os._exit(EXIT_LEFT)
    worker.tell("prepared", milliseconds=round((time.monotonic() - began_at) * 1000))
    attempt.go_on(deadline.at)
    attempt.watch(child_ended, until=worker.has_line)
    if not worker.has_line():
        # The script's doing, also where its call is on the way and only the go line is not here yet.
        os._exit(EXIT_LEFT if attempt.timed_out else EXIT_BROKEN_OFF)
    return log, attempt


def outlive(attempt: Attempt, child_ended: int, request: dict, log: Log, milliseconds: dict) -> bytes:
    """See the child to its end; the report, whatever the script does to us: nothing of that is the service's fault."""
    try:
        attempt.watch(child_ended)
        attempt.end()
        files = collector.collect(request, seconds=seconds_for_files(attempt.wall_at))
        return report.assemble(
            said=attempt.said(), status=attempt.status, timed_out=attempt.timed_out, request=request, files=files,
            log=log, milliseconds=milliseconds,
            memory_peak_bytes=processes.first_figure(processes.MEMORY_PEAK),
            oom_kills=processes.first_figure(processes.OOM_KILLS),
        )  # fmt: skip
    except Exception as error:
        with contextlib.suppress(Exception):
            processes.kill_all(KILL_AGAIN_SECONDS)
        return report.of_failure("crashed", error)


def fill_casts() -> None:
    """Arrow fills its table of casts at the first one, which would cost each of many children six milliseconds.

    The only thing that runs before a fork: it starts no thread. A fork after a library has *run* its OpenMP threads leaves a
    child that hangs.
    """
    pyarrow.array(["a"]).cast(pyarrow.large_string())
    # As after the imports (ahead.py): nothing of this is garbage.
    gc.freeze()


def wake_on_child_end() -> int:
    """A descriptor that becomes readable when a child has ended."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable


def seconds_for_files(wall_at: float) -> float:
    """How long collecting may take: within the wall limit and a little more, and never without a bound."""
    left = wall_at + AFTER_WALL_SECONDS - time.monotonic()
    return min(COLLECT_SECONDS, max(COLLECT_SECONDS_LEAST, left))


def linger() -> None:
    """Wait for the worker to end the container, so that it can read the engine's figures first; not for long."""
    end_at = time.monotonic() + LINGER_SECONDS
    while (left := end_at - time.monotonic()) > 0:
        readable, _, _ = select.select([0], [], [], left)
        if readable and not os.read(0, 65536):
            break
    os._exit(0)
