"""One line per step with the seconds since the start; what commands print goes to a log, and is shown when they fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".build" / "setup.log"
STARTED = time.monotonic()
HEARTBEAT_SECONDS = 15.0


class SetupError(Exception):
    """A step cannot go on; the message says what was found and what to do."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    say(f"{title} …")
    started = time.monotonic()
    yield
    if time.monotonic() - started >= 1:
        say(f"{title}: done in {time.monotonic() - started:.0f} s")


def quiet(command: Sequence[str | Path], *, timeout_seconds: float = 30.0) -> tuple[int, str]:
    """Exit code and output of a short command; 127 where it is not there, 124 where it did not end in time."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_seconds, env=environment(), cwd=ROOT
        )
    except FileNotFoundError:
        return 127, f"{command[0]}: not found"
    except subprocess.TimeoutExpired:
        return 124, f"{' '.join(map(str, command))}: no answer within {timeout_seconds:.0f} s"
    return done.returncode, done.stdout.strip()


def logged(command: Sequence[str | Path], *, deadline_seconds: float) -> None:
    """Run a long command with its output in the log; say from time to time that it still runs, and its last line.

    Raises:
        SetupError: it failed or took longer than the deadline; with the last lines of its output.
    """
    LOG.parent.mkdir(exist_ok=True)
    title = " ".join(map(str, command))
    with LOG.open("ab") as log:
        log.write(f"\n$ {title}\n".encode())
        log.flush()
        begin, started = log.tell(), time.monotonic()
        try:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment()
            )
        except OSError as error:
            raise SetupError(f"{title}: {error}") from error
        while True:
            try:
                code = process.wait(HEARTBEAT_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() - started > deadline_seconds:
                    process.kill()
                    process.wait()
                    raise SetupError(f"{title}: not done after {deadline_seconds:.0f} s\n{_tail(begin)}") from None
                say(f"    {_tail(begin, lines=1)[:110]}")
            except BaseException:
                process.kill()
                raise
    if code:
        raise SetupError(f"{title} ended with {code}; its last lines (all of it: {LOG}):\n{_tail(begin)}")


def environment() -> dict[str, str]:
    """The caller's environment without our own settings: what counts lies in the home, not in the shell of the moment."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("FUMEHOOD_", "COMPOSE_"))}


def _tail(begin: int, lines: int = 25) -> str:
    with LOG.open("rb") as log:
        log.seek(max(begin, LOG.stat().st_size - 16384))
        text = log.read().decode(errors="replace").replace("\r", "\n")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def confirm(question: str) -> bool:
    """Ask; `FORCE=1` answers yes.

    Raises:
        SetupError: there is no terminal, so nobody can be asked.
    """
    if os.environ.get("FORCE") == "1":
        return True
    if not sys.stdin.isatty():
        raise SetupError(f"{question} Nobody can be asked here; say so with FORCE=1.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
