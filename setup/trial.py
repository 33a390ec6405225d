"""The tests in as many processes as pay: the unit rung in several, the faults beside what computes, and then one rung after the other.

The faults mostly wait, on an engine of their own, while the unit rung and the contract compute. The contract and the hostile corpus
are shared out by their files: each has its own ground, or an engine of its own. Later rungs are about limits, time and what is left on
the machine: nothing runs beside them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from progress import ROOT, say

WORKERS_MAX = 4
# A session that is broken off still takes down what it has started: an engine, workers, a Redis.
STOP_SECONDS = 120.0
# What waits for most of its time must not wait for a processor too.
POLITELY = ("nice", "-n", "5")

UNIT, CONTRACT, FAULTS, HOSTILE = "tests/unit", "tests/contract", "tests/faults", "tests/hostile"
ALL = "--durations=15"
# Whatever is not named stands in the last part: a new rung is run before anybody thinks of it here.
REST = ("tests", *(f"--ignore={part}" for part in (UNIT, CONTRACT, FAULTS, HOSTILE)))


@dataclass(frozen=True, kw_only=True)
class Aside:
    """A session of pytest whose words are shown when it is over."""

    process: subprocess.Popen[bytes]
    log: Path
    started: float

    def ended(self) -> int:
        """Wait for it, then show what it said. Returns its exit code."""
        code = self.process.wait()
        say(f"{FAULTS}, which ran beside the others for up to {time.monotonic() - self.started:.0f} s, ended with {code}:")
        print(self.log.read_text(errors="replace"), flush=True)
        return code


def run(python: Path, *, logs: Path = ROOT / ".build") -> int:
    """Run every test. Returns pytest's exit code: of the first session that failed, after which none is started."""
    signal.signal(signal.SIGTERM, _interrupted)
    # Whoever is started in the background of a shell ignores it, and so would all that are started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pytest = [str(python), "-m", "pytest", ALL]
    with _aside([*pytest, FAULTS], log=logs / "faults.log") as faults:
        say(f"{UNIT}, then {CONTRACT}, and {FAULTS} beside them")
        failed = _session([*POLITELY, *pytest, UNIT, f"--numprocesses={workers()}", "--dist=worksteal"])
        failed = failed or _session([*POLITELY, *pytest, CONTRACT, f"--numprocesses={workers()}", "--dist=loadfile"])
        if not failed or faults.process.poll() is not None:
            failed = faults.ended() or failed
    if not failed:
        say(f"{HOSTILE}, then the other rungs, one after the other")
        failed = _session([*pytest, HOSTILE, f"--numprocesses={workers()}", "--dist=loadfile"])
        failed = failed or _session([*pytest, *REST])
    return failed


def workers() -> int:
    """At least two, so that a machine of one processor tries what the others try."""
    return max(2, min(len(os.sched_getaffinity(0)), WORKERS_MAX))


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Who is asked to end takes its sessions down, as on Ctrl-C."""
    raise KeyboardInterrupt


def _session(command: Sequence[str]) -> int:
    with _started(command) as process:
        return process.wait()


@contextmanager
def _aside(command: Sequence[str], *, log: Path) -> Iterator[Aside]:
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output, _started(command, output) as process:
        try:
            yield Aside(process=process, log=log, started=time.monotonic())
        finally:
            if process.poll() is None:
                say(f"{FAULTS} is broken off; what it says until then: {log}")


@contextmanager
def _started(command: Sequence[str], output: BinaryIO | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive this block, whatever ends that."""
    # In a group of its own: a terminal's Ctrl-C would reach it too, and a second one breaks off the taking down.
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
            finally:
                process.kill()
                process.wait()
