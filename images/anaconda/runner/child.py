"""The child: one job, from a fresh fork to its report. What it sends is believed by nobody."""

import functools
import io
import itertools
import json
import os
import resource
import signal
import sys
import time
import traceback
from contextlib import contextmanager

from . import failure, kinds, places, processes, rehearsal
from .refused import Refused

PREPARE = b"p"
"""Begins what the pipe says to the child that is to be prepared for its call."""
EXIT_FAILED = 1
EXIT_NO_REPORT = 70


class Progress:
    """What the child knows about its own run: the time of each part, notes, and what came out."""

    def __init__(self, report_pipe: int):
        self.pipe = report_pipe
        self._pid = os.getpid()
        self.notes: list[dict] = []
        self.milliseconds: dict[str, int] = {}
        self.results: dict[str, dict | None] = {"result": None, "result2": None}
        # What a check tells beside: of the entry point and the tables' columns.
        self.described: dict[str, dict | None] = {}
        self.script_has_started = False

    @contextmanager
    def part(self, name: str):
        """Time one part of the job."""
        began_at = time.monotonic()
        try:
            yield
        finally:
            spent = round((time.monotonic() - began_at) * 1000)
            self.milliseconds[name] = self.milliseconds.get(name, 0) + spent

    def note(self, kind: str, text: str, **facts: str | None) -> None:
        """Add a note for the author; only the first NOTES are kept."""
        if len(self.notes) < places.NOTES:
            self.notes.append({"kind": kind, "text": text, **facts})

    def say_script_starts(self) -> None:
        """From here on whatever goes wrong is the script's doing."""
        self.script_has_started = True
        self._send({"script_started": True})

    def say_prepared(self) -> None:
        """All that can be done before the call is done; what it took is not the call's."""
        self.milliseconds.clear()
        self._send({"prepared": True})

    def is_this_process(self) -> bool:
        """False in a process that the script forked and that came back here."""
        return os.getpid() == self._pid

    def finish(self, reason: str, message: str = "", error: dict | None = None, exit_code: int | None = None) -> None:
        """Send the report."""
        self._send(
            {"reason": reason, "message": message, "error": error, "notes": self.notes, "milliseconds": self.milliseconds,
             "exit_code": exit_code, **self.results, **self.described}
        )  # fmt: skip

    def _send(self, words: dict) -> None:
        text = memoryview(json.dumps(words).encode("utf-8", "replace") + b"\n")
        while text:
            text = text[os.write(self.pipe, text) :]


def main(request: dict, log_pipe: int, report_pipe: int, modules_at_start: frozenset[str]) -> None:
    """Do the job and end this process. Never returns and never raises."""
    code = EXIT_NO_REPORT
    try:
        progress = leave_supervisor(log_pipe, report_pipe)
        code = work(request, progress, kind_of(request, modules_at_start))
    finally:
        # Not `sys.exit`: nothing of the script may run now, no thread, no atexit function, no destructor.
        os._exit(code)


def wait(go_pipe: int, log_pipe: int, report_pipe: int, modules_at_start: frozenset[str]) -> None:
    """Rehearse, say one byte, wait for the number of bytes that a file may grow to, then do the job as `main` does.

    Where PREPARE stands before the number: open the script first, say so, and wait for the number again.
    """
    code = EXIT_NO_REPORT
    try:
        try:
            rehearsal.rehearse()
            progress = leave_supervisor(log_pipe, report_pipe, go_pipe)
        except Exception:
            # Still to the worker's log: nothing of a tenant's is here yet.
            traceback.print_exc()
            return
        os.write(progress.pipe, b"\n")
        # The end of this pipe: there is no job for this child.
        order, run = os.read(go_pipe, 64), None
        if order.startswith(PREPARE):
            processes.lower_file_limit(int(order[len(PREPARE) :]))
            run = prepare(progress, modules_at_start)
            order = os.read(go_pipe, 64) if run is not None else b""
        if order:
            os.close(go_pipe)
            processes.lower_file_limit(int(order))
            request = read_request()
            code = work(request, progress, run or kind_of(request, modules_at_start))
    finally:
        os._exit(code)


def leave_supervisor(log_pipe: int, report_pipe: int, *kept: int) -> Progress:
    # Another number, not inherited by programs that the script starts.
    progress = Progress(os.dup(report_pipe))
    settle(log_pipe, progress.pipe, *kept)
    return progress


def read_request(path: str = places.REQUEST) -> dict:
    """What the worker asks for."""
    with open(path, "rb", buffering=0) as file:
        return json.loads(file.read(min(os.fstat(file.fileno()).st_size, places.REQUEST_BYTES)))


def kind_of(request: dict, modules_at_start: frozenset[str]):
    """The function of `(request, progress)` that does what is asked for."""
    return functools.partial(kinds.run, modules_at_start=modules_at_start)


def prepare(progress: Progress, modules_at_start: frozenset[str]):
    """The function of `(request, progress)` that does the rest; None where the script could not be opened, and the report says why."""
    made: list = []

    def open_script(request: dict, progress: Progress) -> None:
        made.append(kinds.prepare(request, progress, modules_at_start))

    ending = ending_of(read_request(places.PREPARE), progress, open_script)
    if ending["reason"] != "ok" or not progress.is_this_process():
        tell(ending, progress)
        return None
    progress.say_prepared()
    return functools.partial(kinds.run_prepared, made[0])


def work(request: dict, progress: Progress, run) -> int:
    """Do the job and report; the exit code."""
    return tell(ending_of(request, progress, run), progress)


def ending_of(request: dict, progress: Progress, run) -> dict:
    """Whatever the script does comes out as one."""
    try:
        run(request, progress)
    except Refused as refused:
        return {"reason": refused.reason, "message": refused.message}
    except BaseException as exception:
        return failure.judge(exception, request["limits"], script_has_started=progress.script_has_started)
    return {"reason": "ok"}


def tell(ending: dict, progress: Progress) -> int:
    """Report it; the exit code. A process that the script forked and that came back here says nothing."""
    if not progress.is_this_process():
        return 0
    flush()
    progress.finish(**ending)
    return 0 if ending["reason"] == "ok" else ending.get("exit_code", EXIT_FAILED)


def settle(log_pipe: int, *kept: int) -> None:
    """Turn a copy of the supervisor into an ordinary process that holds nothing of the supervisor's but `kept`."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log_pipe, 1)
    os.dup2(log_pipe, 2)
    top = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65536)
    for below, above in itertools.pairwise((2, *sorted(kept), top)):
        os.closerange(below + 1, above)
    unbuffer()

    processes.set_dumpable(True)
    # When memory runs out the kernel must take the script and leave the supervisor.
    with open("/proc/self/oom_score_adj", "wb") as file:
        file.write(b"1000")
    for directory in (places.JOB_TMP, places.MATPLOTLIB):
        os.makedirs(directory, exist_ok=True)
    os.chdir(places.JOB)


def unbuffer() -> None:
    """Every `print` goes to the pipe at once: live, and in order with raw writes and child processes."""
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = io.FileIO(number, "w", closefd=False)
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors=errors, write_through=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)


def flush() -> None:
    """Write out what a script's own wrapper around stdout still holds."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # The stream is whatever the script put there.
            continue
