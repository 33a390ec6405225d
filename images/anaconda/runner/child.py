"""The child: one job, from a fresh fork to its report. What it sends is believed by nobody."""

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

from . import environment, failure, kinds, places, processes, rehearsal
from .refused import Refused

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
        code = work(request, progress, modules_at_start)
    finally:
        # Not `sys.exit`: nothing of the script may run now, no thread, no atexit function, no destructor.
        os._exit(code)


def wait(go_pipe: int, log_pipe: int, report_pipe: int, modules_at_start: frozenset[str]) -> None:
    """Rehearse, say one byte, wait for the number of bytes that a file may grow to, then do the job as `main` does."""
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
        if file_bytes := os.read(go_pipe, 64):
            os.close(go_pipe)
            processes.lower_file_limit(int(file_bytes))
            code = work(read_request(), progress, modules_at_start)
    finally:
        os._exit(code)


def leave_supervisor(log_pipe: int, report_pipe: int, *kept: int) -> Progress:
    # Another number, not inherited by programs that the script starts.
    progress = Progress(os.dup(report_pipe))
    settle(log_pipe, progress.pipe, *kept)
    return progress


def read_request() -> dict:
    """The worker's request for this job."""
    with open(places.REQUEST, "rb", buffering=0) as file:
        return json.loads(file.read(min(os.fstat(file.fileno()).st_size, places.REQUEST_BYTES)))


def work(request: dict, progress: Progress, modules_at_start: frozenset[str]) -> int:
    """Do the job and report; the exit code."""
    try:
        environment.for_script(float(request["limits"]["cpus"]))
        kinds.KINDS[request.get("kind", "script")](request, progress, modules_at_start)
    except Refused as refused:
        ending = {"reason": refused.reason, "message": refused.message}
    except BaseException as exception:
        ending = failure.judge(exception, request["limits"], script_has_started=progress.script_has_started)
    else:
        ending = {"reason": "ok"}
    if not progress.is_this_process():
        return 0
    flush()
    progress.finish(**ending)
    if ending["reason"] == "ok":
        return 0
    return ending.get("exit_code", EXIT_FAILED)


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
