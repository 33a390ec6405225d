"""What `make test` starts, beside what and after what: with a program that is told how to end in the place of Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rungs import RUNGS
from tests.services import until

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 180.0
# In the order of their words.
PARTS = ("unit", "contract", "faults", "hostile")

# Each session writes down what it was asked; then it ends as its file says, or waits to be interrupted.
PYTHON = """\
#!/bin/sh
for word; do case $word in tests) part=rest ;; tests/*) part=${{word#tests/}} ;; esac; done
trap 'echo taken down > {shelf}/$part.end; exit 2' INT
echo "the words of $part"
echo "$*" > {shelf}/$part.new && mv {shelf}/$part.new {shelf}/$part.asked
while [ -e {shelf}/$part.waits ]; do sleep 0.05; done
exit $(cat {shelf}/$part.code 2>/dev/null || echo 0)
"""
PROGRAM = """\
import sys
from pathlib import Path
sys.path.insert(0, "setup")
import trial
sys.exit(trial.run(Path(sys.argv[1]), logs=Path(sys.argv[2])))
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "python").write_text(PYTHON.format(shelf=tmp_path))
    (tmp_path / "python").chmod(0o755)
    return tmp_path


@contextmanager
def started(shelf: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-B", "-c", PROGRAM, str(shelf / "python"), str(shelf / "logs")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run(shelf: Path) -> tuple[int, str]:
    with started(shelf) as process:
        words, _ = process.communicate(timeout=SECONDS)
        return process.returncode, words


def asked(shelf: Path) -> dict[str, list[str]]:
    return {path.stem: path.read_text().split() for path in shelf.glob("*.asked")}


def test_every_rung_is_run_once(shelf: Path) -> None:
    code, words = run(shelf)
    assert code == 0
    parts = asked(shelf)
    assert set(parts) == {*PARTS, "rest"}
    own = [word for part in PARTS for word in parts[part] if word.startswith("tests/")]
    left_out = [word.removeprefix("--ignore=") for word in parts["rest"] if word.startswith("--ignore=")]
    # The last part runs whatever is in tests/ but what the others run.
    assert sorted(own) == sorted(left_out) == sorted(f"tests/{part}" for part in PARTS)
    assert {Path(path).name for path in own} <= set(RUNGS)
    order = [words.index(f"the words of {part}") for part in (*PARTS, "rest")]
    assert order == sorted(order)


@pytest.mark.parametrize("part", [*PARTS, "rest"])
def test_a_part_that_fails_fails_the_whole_and_nothing_is_started_after_it(part: str, shelf: Path) -> None:
    (shelf / f"{part}.code").write_text("3")
    code, words = run(shelf)
    assert code == 3
    assert f"the words of {part}" in words
    assert ("rest" in asked(shelf)) == (part == "rest")


def wait_for_both(shelf: Path) -> None:
    until(lambda: set(asked(shelf)) == {"unit", "faults"}, seconds=SECONDS, what="both have begun")


def asked_to_end(shelf: Path, process: subprocess.Popen[str]) -> None:
    wait_for_both(shelf)
    process.send_signal(signal.SIGTERM)


def interrupted(shelf: Path, process: subprocess.Popen[str]) -> None:
    wait_for_both(shelf)
    process.send_signal(signal.SIGINT)


def fails(shelf: Path, process: subprocess.Popen[str]) -> None:
    wait_for_both(shelf)
    (shelf / "unit.code").write_text("1")
    (shelf / "unit.waits").unlink()


@pytest.mark.parametrize("end", [asked_to_end, interrupted, fails])
def test_what_runs_beside_is_taken_down_with_the_rest(end: Callable[[Path, subprocess.Popen[str]], None], shelf: Path) -> None:
    (shelf / "unit.waits").touch()
    (shelf / "faults.waits").touch()
    with started(shelf) as process:
        end(shelf, process)
        process.communicate(timeout=SECONDS)
    assert process.returncode not in (None, 0)
    assert (shelf / "faults.end").read_text() == "taken down\n"
    assert (shelf / "unit.end").exists() == (end is not fails)


def test_what_ran_beside_and_failed_first_is_shown(shelf: Path) -> None:
    (shelf / "unit.code").write_text("1")
    (shelf / "unit.waits").touch()
    (shelf / "faults.code").write_text("1")
    with started(shelf) as process:
        wait_for_both(shelf)
        until(lambda: not beside(process), seconds=SECONDS, what="the faults have ended")
        (shelf / "unit.waits").unlink()
        words, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "the words of faults" in words


def beside(process: subprocess.Popen[str]) -> bool:
    """Whether the session of the faults still runs; one that has ended and was not waited for does not."""
    for path in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        try:
            words = Path(f"/proc/{path}/cmdline").read_bytes()
        except OSError:
            continue
        if b"tests/faults" in words:
            return True
    return False


def test_there_are_two_workers_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "setup")
    import trial

    for processors, workers in ((1, 2), (2, 2), (64, trial.WORKERS_MAX)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=processors: set(range(count)))
        assert trial.workers() == workers
    for name in ("trial", "progress"):
        sys.modules.pop(name, None)
