"""Whose a user id is while containers come and go: taken until the container is known to be gone, and free from then on. No engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from fumehood.errors import SandboxError
from fumehood.image import LABEL_PACKAGES, Image
from fumehood.limits import FLOOR, Limits
from fumehood.settings import Settings
from worker import docker_sandbox
from worker.attach import AttachStream
from worker.container import DockerSandbox
from worker.docker_engine import DockerEngine
from worker.docker_sandbox import DockerHost
from worker.isolation import LABEL_HOME, LABEL_WORKER
from worker.scratch import Scratch
from worker.uids import take_uid

FIRST, COUNT = 5000, 1
ID = "1d" * 32


class Engine:
    """The engine as the host sees it; `broken` names the calls that fail, after `create` has done its work."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, str]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.broken: set[str] = set()
        self.on_list: Callable[[], None] = lambda: None

    def image(self, image: str) -> dict[str, Any] | None:
        return self.images.get(image)

    def info(self) -> dict[str, Any]:
        return {"NCPU": 1}

    def create(self, name: str, config: dict[str, Any], host_config: dict[str, Any]) -> str:
        self.containers[name] = config["Labels"]
        self._check("create")
        return ID

    def attach(self, name: str) -> AttachStream:
        self._check("attach")
        return cast(AttachStream, Stream())

    def inspect(self, name: str) -> dict[str, Any] | None:
        if name not in self.containers:
            return None
        return {"Config": {"Labels": self.containers[name]}, "Id": ID, "Created": "2026-01-05T09:30:00.123456789Z"}

    def remove(self, name: str) -> bool:
        self._check("remove")
        return self.containers.pop(name, None) is not None

    def labelled(self, label: str) -> list[tuple[str, dict[str, str]]]:
        found = list(self.containers.items())
        self.on_list()
        return found

    def _check(self, call: str) -> None:
        if call in self.broken:
            raise SandboxError(f"the container engine could not {call} the sandbox")


class Stream:
    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def host(home: Path, engine: Engine) -> DockerHost:
    """One user id only."""
    host = DockerHost(Settings(home=home, image="sha256:" + "0" * 64, sandbox_uid_first=FIRST, sandbox_uid_count=COUNT), worker_id="w1")
    host.engine = cast(DockerEngine, engine)
    return host


@pytest.fixture
def scratch(home: Path) -> Iterator[Scratch]:
    scratch = Scratch.create(home, worker="w1")
    yield scratch
    scratch.erase()


def is_free(home: Path) -> bool:
    try:
        take_uid(home, first=FIRST, count=COUNT).release()
    except SandboxError:
        return False
    return True


def opened(host: DockerHost, scratch: Scratch) -> DockerSandbox:
    return host.prepare(scratch, Limits())


def test_a_destroyed_sandbox_gives_its_uid_back(host: DockerHost, scratch: Scratch, home: Path) -> None:
    sandbox = opened(host, scratch)
    assert not is_free(home)
    sandbox.destroy()
    assert is_free(home)


@pytest.mark.parametrize("call", ["create", "attach"])
def test_a_sandbox_that_could_not_be_prepared_and_is_gone_gives_its_uid_back(
    call: str, host: DockerHost, engine: Engine, scratch: Scratch, home: Path
) -> None:
    engine.broken = {call}
    with pytest.raises(SandboxError, match=call):
        opened(host, scratch)
    assert engine.containers == {}
    assert is_free(home)


@pytest.mark.parametrize("call", ["create", "attach"])
def test_what_a_failed_preparation_left_keeps_its_uid_until_it_is_removed(
    call: str, host: DockerHost, engine: Engine, scratch: Scratch, home: Path
) -> None:
    engine.broken = {call, "remove"}
    with pytest.raises(SandboxError, match=call):
        opened(host, scratch)
    assert not is_free(home), "its container may be there"
    engine.broken = set()
    assert host.orphans(is_live=lambda worker: True) == [(host.name_of(scratch), "w1")]
    assert not is_free(home)
    assert host.remove(host.name_of(scratch)) is not None
    assert is_free(home)


def test_a_container_that_somebody_removes_later_gives_its_uid_back(host: DockerHost, engine: Engine, scratch: Scratch, home: Path) -> None:
    sandbox = opened(host, scratch)
    engine.broken = {"remove"}
    with pytest.raises(SandboxError):
        sandbox.destroy()
    assert not is_free(home)
    engine.broken = set()
    assert host.remove(sandbox.name) is not None
    assert is_free(home)
    sandbox.destroy()


def test_a_forgotten_container_that_is_not_there_any_more_gives_its_uid_back(
    host: DockerHost, engine: Engine, scratch: Scratch, home: Path
) -> None:
    sandbox = opened(host, scratch)
    engine.broken = {"remove"}
    with pytest.raises(SandboxError):
        sandbox.destroy()
    engine.containers.clear()  # An operator was quicker.
    assert host.orphans(is_live=lambda worker: True) == []
    assert is_free(home)


def test_one_that_was_forgotten_after_the_list_was_made_keeps_its_uid(
    host: DockerHost, engine: Engine, scratch: Scratch, home: Path
) -> None:
    def fail_to_prepare() -> None:
        engine.broken = {"create", "remove"}
        with pytest.raises(SandboxError):
            opened(host, scratch)

    engine.on_list = fail_to_prepare
    assert host.orphans(is_live=lambda worker: True) == []
    assert not is_free(home)


def test_one_that_somebody_still_answers_for_keeps_its_uid_whoever_removes_it(
    host: DockerHost, engine: Engine, scratch: Scratch, home: Path
) -> None:
    """The reaper took the container of a run whose lease was lost; the run itself comes to its end later."""
    sandbox = opened(host, scratch)
    assert host.remove(sandbox.name) is not None
    assert host.remove(sandbox.name) is None
    assert not is_free(home)
    sandbox.destroy()
    assert is_free(home)


@pytest.mark.parametrize(("cpus", "seconds"), [(8.0, 30.0), (1.0, 30.0), (0.75, 40.0), (0.5, 60.0), (FLOOR["cpus"], 60.0)])
def test_little_of_a_processor_gets_more_time_to_be_ready_but_not_without_bound(
    cpus: float, seconds: float, host: DockerHost, scratch: Scratch
) -> None:
    with host.prepare(scratch, Limits(cpus=cpus)) as sandbox:
        assert sandbox.ready_seconds == pytest.approx(seconds)
    assert sandbox.ready_seconds < docker_sandbox.WAIT_SECONDS
    # 1.5 seconds of a processor on a cold machine, and as much again for neighbours.
    assert FLOOR["cpus"] * seconds >= 3.0


def test_labels_name_home_and_worker(host: DockerHost, engine: Engine, scratch: Scratch, home: Path) -> None:
    with opened(host, scratch) as sandbox:
        labels = engine.containers[sandbox.name]
        assert (labels[LABEL_HOME], labels[LABEL_WORKER]) == (str(home), "w1")


@pytest.mark.parametrize(
    ("found", "python"),
    [(None, None), ({}, None), ({"Labels": None}, None), ({"Labels": {LABEL_PACKAGES: '{"python": "3.13.5", "packages": {}}'}}, "3.13.5")],
)
def test_an_image_is_described_by_its_label_alone(
    host: DockerHost, engine: Engine, found: dict[str, Any] | None, python: str | None
) -> None:
    engine.images = {} if found is None else {host.image: {"Id": host.image, "Config": found}}
    assert host.describe_image() == Image(digest=host.image, python=python, packages={} if python else None)
