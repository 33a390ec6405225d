"""A container's first process: found where it can be seen, and known to be dead as soon as it is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.init_process import InitProcess

ID = "f" * 64
WAIT_SECONDS = 10.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as made:
        yield made
        made.kill()


@pytest.fixture
def proc(process: subprocess.Popen[bytes], tmp_path: Path) -> Path:
    place = tmp_path / str(process.pid)
    place.mkdir()
    (place / "cgroup").write_text(f"2:memory:/docker/{ID}\n0::/system.slice/docker-{ID}.scope\n")
    return tmp_path


def test_its_end_is_known_before_anybody_reaps_it(process: subprocess.Popen[bytes], proc: Path) -> None:
    found = InitProcess.find(process.pid, ID, runtime="runc", proc=proc)
    assert found is not None
    assert not found.ends_within(0)
    assert not found.ends_within(0.01)
    process.kill()
    assert found.ends_within(WAIT_SECONDS)
    assert process.returncode is None, "nobody has asked for it yet"
    assert found.ends_within(0)
    found.close()
    found.close()


@pytest.mark.parametrize(("container", "runtime"), [("e" * 64, "runc"), ("", "runc"), (ID, "runsc"), (ID, "io.containerd.kata.v2")])
def test_one_of_another_container_or_behind_another_kernel_is_not_watched(
    container: str, runtime: str, process: subprocess.Popen[bytes], proc: Path
) -> None:
    assert InitProcess.find(process.pid, container, runtime=runtime, proc=proc) is None


def test_one_that_is_dead_or_cannot_be_seen_is_not_watched(process: subprocess.Popen[bytes], proc: Path, tmp_path: Path) -> None:
    assert InitProcess.find(process.pid, ID, runtime="runc", proc=tmp_path / "empty") is None
    assert InitProcess.find(0, ID, runtime="runc", proc=proc) is None
    process.kill()
    process.wait(WAIT_SECONDS)
    assert InitProcess.find(process.pid, ID, runtime="runc", proc=proc) is None


def test_nothing_stays_open_of_one_that_is_not_watched(process: subprocess.Popen[bytes], proc: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        assert InitProcess.find(process.pid, "e" * 64, runtime="runc", proc=proc) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
