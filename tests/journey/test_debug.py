"""`fumehood debug` as a person uses it: at a real terminal, with a container behind it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journey.local_runs import LocalRuns, local_runs
from tests.services import until

__all__ = ["local_runs"]

ROOT = Path(__file__).resolve().parents[2]
ANSWER_SECONDS = 60.0
CTRL_C = b"\x03"

FAILS = """
import pandas as pd


def ratio(frame, column):
    total = frame[column].sum()
    return frame[column] / frame["no such column"]


def azureml_main(dataframe1, dataframe2=None, *, scale=1):
    "Text of the function."
    doubled = scale * 2
    values = ratio(dataframe1, "a")
    return pd.DataFrame({"v": values * doubled}),
"""
RETURNS = """
import pandas as pd

def azureml_main(dataframe1=None):
    total = 0
    for n in range(3):
        total += n
    try:
        input()
    except EOFError:
        print("stdin is empty, as in a run")
    return pd.DataFrame({"total": [total]}),
"""
RUNS_ON = """
def azureml_main():
    n = 0
    print("it runs")
    while True:
        n += 1
"""


class Session:
    """The command at a terminal. `until` reads what it shows."""

    def __init__(self, runs: LocalRuns, *arguments: object) -> None:
        self.shown = ""
        self._terminal, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "debug", *map(str, arguments)],
            cwd=ROOT,
            env=runs.environment | {"TERM": "dumb"},
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)

    def until(self, pattern: str) -> str:
        """What is shown up to the end of the first match of `pattern`; the rest is kept for the next question."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not (match := re.search(pattern, self.shown)):
            readable, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            if not readable or not self._read():
                pytest.fail(f"no {pattern!r} in:\n{self.shown}")
        seen, self.shown = self.shown[: match.end()], self.shown[match.end() :]
        return seen

    def ask(self, command: str) -> str:
        """What pdb says to `command`."""
        self.until(r"\(Pdb\) $")
        os.write(self._terminal, command.encode() + b"\n")
        self.until(re.escape(command) + r"\r?\n")
        return self.until(r"(?=\(Pdb\) )")

    def press(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def type(self, line: str) -> None:
        self.until(r"\(Pdb\) $")
        os.write(self._terminal, line.encode() + b"\n")

    def ended(self) -> int:
        self.until("the sandbox is gone, and so are its files")
        return self.process.wait(ANSWER_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._terminal)

    def _read(self) -> bool:
        try:
            data = os.read(self._terminal, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


Debug = Callable[..., Session]


@pytest.fixture
def debug(local_runs: LocalRuns) -> Iterator[Debug]:
    sessions: list[Session] = []

    def begin(script: str, *arguments: object) -> Session:
        path = local_runs.file("script.py", script)
        sessions.append(Session(local_runs, "--local", path, *arguments))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()


def test_it_stops_at_the_failing_line_in_the_frame_of_the_script(debug: Debug, local_runs: LocalRuns) -> None:
    table = local_runs.file("table.csv", "a,b\n1,2\n3,4\n")
    session = debug(FAILS, "--dataset1", table, "--param", "scale=21")

    before = session.until(r"-> return frame\[column\] / frame\[\"no such column\"\]")
    assert "KeyError: 'no such column'" in before
    assert "/opt/fumehood/runner" not in before
    assert "'a'" in session.ask("p column")
    assert "[1, 3]" in session.ask("p frame['a'].tolist()")
    assert "total = frame[column].sum()" in session.ask("l")
    stack = session.ask("w")
    assert "azureml_main" in stack
    assert "runner" not in stack
    session.ask("u")
    assert "42" in session.ask("p doubled")
    session.type("q")
    assert session.ended() == 0
    assert local_runs.leftovers() == []


def test_step_stops_at_the_first_line_and_break_at_another(debug: Debug) -> None:
    session = debug(RETURNS, "--step", "--break", "7")

    assert "total = 0" in session.until(r"-> total = 0")
    assert "for n in range(3)" in session.ask("n")
    assert "total += n" in session.ask("c")
    assert "0" in session.ask("p n")
    session.ask("c")
    assert "1" in session.ask("p n")
    session.ask("clear script.py:7")
    session.type("c")
    seen = session.until("nothing failed")
    assert "stdin is empty, as in a run" in seen
    assert "azureml_main returned 1 rows and 1 columns" in seen
    assert session.ended() == 0


def test_it_stops_at_sys_exit_and_says_what_a_run_would_be_called(debug: Debug) -> None:
    session = debug("import sys\n\ndef azureml_main():\n    code = 7\n    sys.exit(code)\n")

    session.until("crashed: The script ended itself with exit code 7")
    assert "7" in session.ask("p code")
    session.type("q")
    assert session.ended() == 0


def test_what_no_line_of_the_script_raised_is_said(debug: Debug) -> None:
    assert "bad_return: " in debug("def azureml_main():\n    return 1\n").until("the sandbox is gone")


def test_ctrl_c_stops_a_script_that_runs_on(debug: Debug) -> None:
    session = debug(RUNS_ON)

    session.until("it runs")
    session.press(CTRL_C)
    session.until("KeyboardInterrupt")
    assert re.search(r"\d+", session.ask("p n"))
    session.type("q")
    assert session.ended() == 0


def test_a_command_that_is_killed_leaves_a_container_that_ends_by_itself(debug: Debug, local_runs: LocalRuns) -> None:
    session = debug(FAILS, "--step")
    session.until(r"\(Pdb\) $|KeyError|NoneType")
    session.process.send_signal(signal.SIGKILL)
    session.process.wait(10)

    until(lambda: local_runs.containers(only_running=True) == [], seconds=20, what="the container has ended")
    assert local_runs.containers() != []
    assert local_runs("run", "--local", local_runs.file("s.py", RETURNS), "-q").returncode == 0
    assert local_runs.leftovers() == []
