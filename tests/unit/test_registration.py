"""Who is alive: a lock for each worker, and its pulse."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.health import healthy
from worker.registration import Registration

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import pathlib, sys
from worker.registration import Registration
print(Registration(pathlib.Path(sys.argv[1])).worker, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def registration(home: Path) -> Iterator[Registration]:
    home.mkdir()
    registration = Registration(home)
    yield registration
    registration.leave()


def file_of(home: Path, worker: str) -> Path:
    return home / "workers" / f"{worker}.lock"


def test_a_worker_lives_while_it_holds_its_lock(home: Path, registration: Registration) -> None:
    other = Registration(home)
    assert registration.is_live(registration.worker)
    assert registration.is_live(other.worker)
    other.leave()
    assert not registration.is_live(other.worker)
    assert not file_of(home, other.worker).exists()


def test_a_process_that_was_killed_is_dead_at_once(home: Path, registration: Registration) -> None:
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    worker = process.stdout.readline().strip()
    assert registration.is_live(worker)
    process.kill()
    process.wait(10)
    process.stdout.close()
    process.stdin.close()
    assert not registration.is_live(worker)
    with registration.dead() as dead:
        assert dead == {worker}
    assert not file_of(home, worker).exists()


def test_a_burial_that_fails_is_done_again(home: Path, registration: Registration) -> None:
    dead_file = file_of(home, "wrk_dead")
    dead_file.write_text("{}")

    def fail_to_bury() -> None:
        with registration.dead() as dead:
            assert dead == {"wrk_dead"}
            raise RuntimeError("engine away")

    with pytest.raises(RuntimeError, match="engine away"):
        fail_to_bury()
    assert dead_file.exists()
    with registration.dead():
        pass
    assert not dead_file.exists()


@pytest.mark.parametrize("worker", ["", "wrk_unknown", "../home", "a/b"])
def test_who_has_no_file_is_not_alive(registration: Registration, worker: str) -> None:
    assert not registration.is_live(worker)


def test_health_needs_a_pulse_of_this_host(home: Path, registration: Registration) -> None:
    path = file_of(home, registration.worker)
    assert healthy(str(home))
    old = time.time() - 60
    os.utime(path, (old, old))
    assert not healthy(str(home))
    registration.pulse()
    assert healthy(str(home))
    path.write_text(path.read_text().replace(socket.gethostname(), "elsewhere"))
    assert not healthy(str(home))


def test_a_dead_worker_is_not_healthy(home: Path) -> None:
    home.mkdir()
    registration = Registration(home)
    path = file_of(home, registration.worker)
    content = path.read_bytes()
    registration.leave()
    path.write_bytes(content)
    assert not healthy(str(home))


def test_a_home_without_workers_is_not_healthy(home: Path) -> None:
    assert not healthy(str(home))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', "x" * 10_000])
def test_what_no_worker_wrote_is_not_healthy(home: Path, content: str) -> None:
    (home / "workers").mkdir(parents=True)
    (home / "workers" / "wrk_odd.lock").write_text(content)
    assert not healthy(str(home))


def test_the_health_check_starts_with_next_to_nothing(home: Path, registration: Registration) -> None:
    """Many times a minute: what it imports is what it costs."""
    program = ROOT / "worker" / "health.py"
    command = [sys.executable, "-I", "-S", "-X", "importtime", program, home]
    imported = subprocess.run(command, capture_output=True, text=True, timeout=30).stderr
    assert "socket" in imported
    assert not re.search(r"\| +(pathlib|subprocess|typing|pydantic|structlog|worker)\b", imported)
    command = [sys.executable, "-I", "-S", program]
    assert subprocess.run([*command, home], timeout=30).returncode == 0
    assert subprocess.run([*command, home.parent], timeout=30).returncode == 1
