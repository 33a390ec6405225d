"""A wrong setting ends the start with one line that names it, and never with its value."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from api.__main__ import files_for
from fumehood.errors import Misconfigured
from fumehood.files import allow_files
from fumehood.job_store import JobStore
from tests.services import until


@pytest.mark.parametrize("package", ["api", "worker"])
def test_a_store_of_a_newer_version_ends_the_start_with_one_event_that_says_so(package: str, home: Path) -> None:
    store = JobStore(f"sqlite:///{home}/fumehood.db")
    store.migrate()
    with store.migrating() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    environment = os.environ | {"FUMEHOOD_HOME": str(home), "FUMEHOOD_IMAGE": f"sha256:{0:064}"}
    done = subprocess.run([sys.executable, "-m", package], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    assert [event["event"] for event in events] == [f"{package} cannot start"]
    assert "schema is revision 9999" in events[0]["error"]


@pytest.mark.parametrize("package", ["api", "worker"])
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FUMEHOOD_IMAGE", "fumehood-anaconda:latest", "setting image:"),
        ("FUMEHOOD_SLOTS", "-74123", "setting slots:"),
        ("FUMEHOOD_LIMITS", '{"wall_seconds": -74123}', "setting limits, ceiling, quota or retention:"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(package: str, name: str, value: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-m", package], env=os.environ | {name: value}, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.startswith(expected)
    assert "Traceback" not in done.stderr


def test_a_receipt_key_that_is_none_ends_the_worker_without_being_shown(home: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("74123" * 5)
    told = {"FUMEHOOD_HOME": str(home), "FUMEHOOD_IMAGE": f"sha256:{0:064}", "FUMEHOOD_RECEIPT_KEY_FILE": str(key)}
    environment = os.environ | told
    done = subprocess.run([sys.executable, "-m", "worker"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "expected 64 hexadecimal digits" in done.stderr
    assert "74123" not in done.stdout + done.stderr


def test_an_api_that_may_not_open_its_files_says_so_at_once(home: Path) -> None:
    """Later it would be in the middle of somebody's request."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))

    environment = os.environ | {"FUMEHOOD_HOME": str(home)}
    done = subprocess.run([sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, timeout=60, preexec_fn=few)
    assert done.returncode == 2
    (event,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert "300 files open; expected 3,712 or more for 1,024 connections" in event["error"]


def gate_with(home: Path, limits: tuple[int, int]) -> dict[str, object]:
    told = {
        "FUMEHOOD_HOME": str(home),
        "FUMEHOOD_IMAGE": f"sha256:{0:064}",
        "FUMEHOOD_GATE_SOCKET": str(home / "gate.sock"),
        "FUMEHOOD_DOCKER_HOST": f"unix://{home}/engine.sock",
    }
    return {
        "args": [sys.executable, "-m", "gate"],
        "env": os.environ | told,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
    }


def test_a_gate_that_may_not_open_its_files_says_so_at_once(home: Path) -> None:
    done = subprocess.run(**gate_with(home, (300, 300)), timeout=60)  # type: ignore[call-overload]
    assert done.returncode == 2
    assert "300 files open; expected 4,064 or more for 2,000 connections" in done.stdout


def test_a_gate_takes_as_many_files_as_it_needs() -> None:
    # A socket's path must be short.
    with tempfile.TemporaryDirectory() as home, subprocess.Popen(**gate_with(Path(home), (300, 4096))) as gate:  # type: ignore[call-overload]
        try:
            until(Path(home, "gate.sock").exists, seconds=60, what="a gate that stands")
            assert resource.prlimit(gate.pid, resource.RLIMIT_NOFILE) == (4064, 4096)
        finally:
            gate.terminate()
            gate.communicate(timeout=60)


def test_an_api_takes_as_many_files_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    allow_files(files_for(1024), connections=1024)
    assert given == [(3712, 4096)]
    with pytest.raises(Misconfigured, match="4,096 files open; expected 7,688"):
        allow_files(files_for(5000), connections=5000)
