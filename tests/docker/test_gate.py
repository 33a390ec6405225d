"""Behind the gate: the worker's own host works as before it, and one that somebody has taken over reaches no more than sandboxes.

Each look of the gate is taken away once, and then the attack succeeds.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from fumehood.errors import SandboxError
from fumehood.limits import MIB
from fumehood.outcome import Reason
from fumehood.settings import Settings
from gate import bodies, server, sources
from tests.gates import ROOT, ask, gate_here, gate_process
from tests.sandboxes import PYTHON, SMALL, Wall, run_script
from tests.services import until
from tests.unit.test_gate import HOSTILE_CALLS
from worker import isolation, seccomp
from worker.docker_sandbox import DockerHost
from worker.isolation import LABEL_HOME, LABEL_SANDBOX, LABEL_WORKER, Host
from worker.sandbox import StopSignal
from worker.scratch import Scratch

WORKER = "wrk_0123456789abcdef"
ONE_COLUMN = "import pandas\ndef azureml_main(): return pandas.DataFrame({'a': [1, 2]})\n"
# Prepares a sandbox, says its name, and is killed.
DOOMED = """
import sys, time
from pathlib import Path
from fumehood.settings import Settings
from tests.sandboxes import SMALL
from worker.docker_sandbox import DockerHost
from worker.sandbox import StopSignal
from worker.scratch import Scratch

home, image, address = sys.argv[1:]
host = DockerHost(Settings(home=Path(home), image=image, docker_host=address), worker_id="wrk_0123456789abcdef")
sandbox = host.prepare(Scratch.create(Path(home), worker=host.worker_id), SMALL)
assert sandbox.make_ready(StopSignal())
print(sandbox.name, flush=True)
time.sleep(300)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Short, because the path of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="fumehood-") as directory:
        yield Path(directory)


@pytest.fixture
def gate(place: Path, sandbox_home: Path, image: str) -> Iterator[Path]:
    sandbox_home.mkdir(mode=0o700)
    with gate_here(Settings(home=sandbox_home, image=image), place) as path:
        yield path


@pytest.fixture
def host(gate: Path, sandbox_home: Path, image: str) -> Iterator[DockerHost]:
    host = DockerHost(Settings(home=sandbox_home, image=image, docker_host=f"unix://{gate}"), worker_id=WORKER)
    yield host
    host.close()


@pytest.fixture
def engine() -> Iterator[docker.APIClient]:
    """The engine itself, past the gate."""
    client = docker.APIClient(version="auto", timeout=30)
    yield client
    client.close()


@pytest.fixture
def scratch(sandbox_home: Path) -> Iterator[Scratch]:
    scratch = Scratch.create(sandbox_home, worker=WORKER)
    yield scratch
    scratch._close()
    shutil.rmtree(scratch.directory)


# what a worker does ----------------------------------------------------------------------------------------------------------
def test_the_worker_s_host_finds_all_it_needs(host: DockerHost) -> None:
    host.check()
    assert host.describe_image().packages
    assert host.weaker() == DockerHost(Settings(image=host.image), worker_id=WORKER).weaker()


def test_a_cold_job_runs(host: DockerHost, sandbox_home: Path) -> None:
    ran = run_script(host, sandbox_home, ONE_COLUMN)
    assert ran.outcome.reason is Reason.OK, ran.outcome


def test_a_sandbox_that_waited_gets_the_limits_of_its_job(host: DockerHost, sandbox_home: Path, engine: docker.APIClient) -> None:
    scratch = Scratch.create(sandbox_home, worker=WORKER)
    with host.prepare(scratch, SMALL) as ready:
        assert ready.make_ready(StopSignal())
        ready.fit(replace(SMALL, memory_bytes=300 * MIB))
        assert engine.inspect_container(ready.name)["HostConfig"]["Memory"] == 300 * MIB
        assert run_script(host, sandbox_home, ONE_COLUMN, ready=ready).outcome.reason is Reason.OK


def test_a_sandbox_is_measured_killed_waited_for_and_removed(host: DockerHost, scratch: Scratch) -> None:
    with host.prepare(scratch, SMALL) as sandbox:
        assert sandbox.make_ready(StopSignal())
        cpu_seconds, _ = host.engine.usage(sandbox.name)
        assert cpu_seconds > 0
        host.engine.kill(sandbox.name)
        host.engine.wait(sandbox.name, 20)
        found = host.engine.inspect(sandbox.name)
        assert found is not None
        assert (found["State"]["Running"], found["State"]["ExitCode"]) == (False, 137)
        assert host.remove(sandbox.name)
        assert host.engine.inspect(sandbox.name) is None


def test_what_a_dead_worker_left_is_found_and_removed(host: DockerHost, scratch: Scratch) -> None:
    gone = DockerHost(host._settings, worker_id="wrk_ffffffffffffffff")
    left = gone.prepare(scratch, SMALL)
    try:
        assert host.orphans(is_live=lambda worker: worker == WORKER) == [(left.name, gone.worker_id)]
    finally:
        assert host.remove(left.name)
        left.destroy()
        gone.close()


# ends ------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("victim", ["worker", "gate"])
def test_a_sandbox_ends_with_the_worker_and_with_the_gate(
    victim: str, place: Path, sandbox_home: Path, image: str, engine: docker.APIClient
) -> None:
    sandbox_home.mkdir(mode=0o700)
    with gate_process(sandbox_home, image, place) as (path, gate):
        command = [sys.executable, "-c", DOOMED, str(sandbox_home), image, f"unix://{path}"]
        worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert worker.stdout is not None
        name = worker.stdout.readline().strip()
        try:
            assert engine.inspect_container(name)["State"]["Running"]
            (worker if victim == "worker" else gate).send_signal(signal.SIGKILL)
            until(lambda: not engine.inspect_container(name)["State"]["Running"], seconds=10, what=f"the sandbox ends with the {victim}")
            # Of itself, at the end of its stdin; a kill would say 137.
            assert engine.inspect_container(name)["State"]["ExitCode"] == 3
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
            engine.remove_container(name, force=True, v=True)
            shutil.rmtree(sandbox_home / "scratch")


# a worker that somebody has taken over -----------------------------------------------------------------------------------------
def described(scratch: Scratch, home: Path, image: str, **differences: Any) -> dict[str, Any]:
    """What the worker would send, but for `differences` of the host's configuration."""
    config, host_config = isolation.container(
        image=image,
        scratch=scratch,
        limits=SMALL,
        uid=Settings().sandbox_uid_first,
        host=Host(cpus=os.cpu_count() or 1),
        labels={LABEL_HOME: str(home), LABEL_WORKER: WORKER, LABEL_SANDBOX: scratch.name},
        wait_seconds=60,
    )
    return config | {"HostConfig": host_config | differences}


def with_host_mounted(scratch: Scratch, home: Path, image: str, place: Path) -> dict[str, Any]:
    """The sandbox's runner replaced by a look at a directory of the host: `place` stands for `/`."""
    asked = described(scratch, home, image)
    mount = {"Type": "bind", "Source": str(place), "Target": "/host", "ReadOnly": False, "BindOptions": {"Propagation": "rprivate"}}
    asked["HostConfig"]["Mounts"] = [*asked["HostConfig"]["Mounts"], mount]
    asked["User"] = "0:0"
    asked["HostConfig"]["CapDrop"] = []
    return asked | {"Entrypoint": [PYTHON, "-I", "-c", "open('/host/written', 'w').write('from inside')"]}


@contextlib.contextmanager
def removed_after(engine: docker.APIClient, name: str) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            engine.remove_container(name, force=True, v=True)


def run_as_asked(gate: Path, engine: docker.APIClient, name: str, asked: dict[str, Any]) -> int:
    """Create and start through the gate, and wait for the end; the status of the first answer that is no success, or 204."""
    with removed_after(engine, name):
        status, _ = ask(gate, f"POST /v1.41/containers/create?name={name}", json.dumps(asked).encode())
        if status == 201:
            status, _ = ask(gate, f"POST /v1.41/containers/{name}/start")
        if status == 204:
            engine.wait(name, timeout=30)
        return status


def test_the_host_cannot_be_mounted(
    gate: Path, engine: docker.APIClient, scratch: Scratch, sandbox_home: Path, image: str, place: Path
) -> None:
    target = place / "root"
    target.mkdir()
    asked = with_host_mounted(scratch, sandbox_home, image, target)
    assert run_as_asked(gate, engine, "fumehood-" + scratch.name, asked) == 403
    assert list(target.iterdir()) == []


def test_without_the_look_at_bodies_the_host_is_written_to(
    gate: Path,
    engine: docker.APIClient,
    scratch: Scratch,
    sandbox_home: Path,
    image: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "create", lambda name, body, **_: body)
    target = place / "root"
    target.mkdir()
    asked = with_host_mounted(scratch, sandbox_home, image, target)
    assert run_as_asked(gate, engine, "fumehood-" + scratch.name, asked) == 204
    assert (target / "written").read_text() == "from inside"


@pytest.fixture
def linked(scratch: Scratch, place: Path) -> Callable[[], None]:
    """Put a link to a directory of the host in the place of the inputs."""
    (place / "etc").mkdir()
    (place / "etc" / "of-the-host").touch()

    def link() -> None:
        shutil.rmtree(scratch.inside)
        scratch.inside.symlink_to(place / "etc")

    return link


@pytest.mark.parametrize("moment", ["before it is created", "before it is started"])
def test_a_link_in_the_place_of_what_is_mounted_is_refused(
    moment: str, host: DockerHost, scratch: Scratch, engine: docker.APIClient, linked: Callable[[], None]
) -> None:
    if moment == "before it is created":
        linked()
        with pytest.raises(SandboxError):
            host.prepare(scratch, SMALL)
        return
    with host.prepare(scratch, SMALL) as sandbox:
        linked()
        with pytest.raises(SandboxError):
            sandbox.make_ready(StopSignal())
        assert engine.inspect_container(sandbox.name)["State"]["Status"] == "created"


def test_without_the_look_at_sources_a_link_mounts_another_place(
    host: DockerHost, scratch: Scratch, engine: docker.APIClient, linked: Callable[[], None], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "check", lambda home, name: None)
    linked()
    with host.prepare(scratch, SMALL) as sandbox:
        assert sandbox.make_ready(StopSignal())
        pid = engine.inspect_container(sandbox.name)["State"]["Pid"]
        assert [path.name for path in Path(f"/proc/{pid}/root/in").iterdir()] == ["of-the-host"]


def test_a_worker_behind_its_filter_makes_no_links(wall: Wall) -> None:
    """What is looked at could be changed a moment later; so the worker's process cannot make a link at all."""
    code = """
        import ctypes, json, os
        libc, found = ctypes.CDLL(None, use_errno=True), {}
        def call(name, *arguments):
            found[name] = os.strerror(ctypes.get_errno()) if getattr(libc, name)(*arguments) else "done"
        call("symlink", b"/", b"/job/a")
        call("symlinkat", b"/", -100, b"/job/b")
        open("/job/c", "w").close()
        call("link", b"/job/c", b"/job/d")
        found["io_uring_setup"] = "done" if libc.syscall(425, 1, bytes(120)) >= 0 else os.strerror(ctypes.get_errno())
        print(json.dumps(found))
    """
    filtered = ["no-new-privileges:true", f"seccomp={json.dumps(seccomp.service_profile())}"]
    refused = "Operation not permitted"
    held = wall.say(code, host_config={"SecurityOpt": filtered})
    assert held == {"symlink": refused, "symlinkat": refused, "link": "done", "io_uring_setup": refused}
    assert wall.say(code)["symlink"] == "done"


@pytest.fixture
def foreign(engine: docker.APIClient, image: str) -> Iterator[str]:
    """A container of another home, named as a sandbox is."""
    name = "fumehood-" + secrets.token_hex(16)
    labels = {LABEL_HOME: f"/srv/fumehood-test-{name}"}
    engine.create_container_from_config({"Image": image, "Labels": labels, "Entrypoint": ["/bin/sleep", "60"]}, name=name)
    yield name
    engine.remove_container(name, force=True, v=True)


UPDATE = isolation.changeable(SMALL, host={"Runtime": "runc", "Memory": 0, "MemorySwap": 0, "NanoCpus": 0, "PidsLimit": 0})
CONTAINER_CALLS: dict[str, tuple[str, bytes]] = {
    "attach": ("POST /v1.41/containers/{}/attach?stdin=1&stdout=1&stderr=1&stream=1&detachKeys=", b""),
    "start": ("POST /v1.41/containers/{}/start", b""),
    "update": ("POST /v1.41/containers/{}/update", json.dumps(UPDATE).encode()),
    "inspect": ("GET /v1.41/containers/{}/json", b""),
    "kill": ("POST /v1.41/containers/{}/kill?signal=SIGKILL", b""),
    "wait": ("POST /v1.41/containers/{}/wait?condition=not-running", b""),
    "stats": ("GET /v1.41/containers/{}/stats?stream=False&one-shot=True", b""),
    "remove": ("DELETE /v1.41/containers/{}?v=True&link=False&force=True", b""),
}


@pytest.mark.parametrize("name", CONTAINER_CALLS)
def test_a_container_of_another_home_stays_as_it_is(
    name: str, gate: Path, engine: docker.APIClient, foreign: str, sandbox_home: Path
) -> None:
    before = engine.inspect_container(foreign)
    head, body = CONTAINER_CALLS[name]
    # As if its mounts were of this home: the look at them is not what stops it.
    place = Scratch.create(sandbox_home, worker=WORKER)
    place._close()
    place.directory.rename(sandbox_home / "scratch" / foreign.removeprefix("fumehood-"))
    try:
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"} if name == "attach" else {"Connection": "close"}
        status, text = ask(gate, head.format(foreign), body, **upgrade)
    finally:
        shutil.rmtree(sandbox_home / "scratch")
    assert status == 403
    assert "which is not of this home" in text
    assert engine.inspect_container(foreign) == before


def test_the_list_shows_only_this_home_s(host: DockerHost, foreign: str, scratch: Scratch) -> None:
    with host.prepare(scratch, SMALL) as sandbox:
        assert [name for name, _ in host.engine.labelled(f"{LABEL_HOME}={host._settings.home}")] == [sandbox.name]
        with pytest.raises(SandboxError):
            host.engine.labelled(f"{LABEL_HOME}=/srv/other")


HOSTILE_DIFFERENCES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "privileged": lambda asked: asked["HostConfig"].update(Privileged=True),
    "the host in a bind": lambda asked: asked["HostConfig"].update(Binds=["/:/host"]),
    "the engine's socket": lambda asked: asked["HostConfig"].update(Binds=["/var/run/docker.sock:/var/run/docker.sock"]),
    "the host's processes": lambda asked: asked["HostConfig"].update(PidMode="host"),
    "a device": lambda asked: asked["HostConfig"].update(Devices=[{"PathOnHost": "/dev/mem", "PathInContainer": "/dev/mem"}]),
    "a capability": lambda asked: asked["HostConfig"].update(CapAdd=["SYS_ADMIN"]),
    "another home's label": lambda asked: asked["Labels"].update({LABEL_HOME: "/srv/other"}),
    "another command": lambda asked: asked.update(Entrypoint=["/bin/sh"]),
    "root": lambda asked: asked.update(User="0:0"),
}


@pytest.mark.parametrize("name", HOSTILE_DIFFERENCES)
def test_a_container_that_is_no_sandbox_is_not_made(
    name: str, gate: Path, engine: docker.APIClient, scratch: Scratch, sandbox_home: Path, image: str
) -> None:
    asked, container = described(scratch, sandbox_home, image), "fumehood-" + scratch.name
    HOSTILE_DIFFERENCES[name](asked)
    assert run_as_asked(gate, engine, container, asked) == 403
    with pytest.raises(docker.errors.NotFound):
        engine.inspect_container(container)


def test_the_same_description_without_a_difference_is_made(
    gate: Path, engine: docker.APIClient, scratch: Scratch, sandbox_home: Path, image: str
) -> None:
    container = "fumehood-" + scratch.name
    asked = described(scratch, sandbox_home, image)
    if not server.host_check.capabilities(engine.info(), runtime="runc").private_cgroup_namespace:
        asked["HostConfig"]["CgroupnsMode"] = "host"
    with removed_after(engine, container):
        assert ask(gate, f"POST /v1.41/containers/create?name={container}", json.dumps(asked).encode())[0] == 201
        assert engine.inspect_container(container)["HostConfig"]["Mounts"]


@pytest.mark.parametrize(("method", "target"), HOSTILE_CALLS)
def test_the_engine_s_other_calls_are_refused(method: str, target: str, gate: Path) -> None:
    status, text = ask(gate, f"{method} {target or '/'}", b'{"Name": "fumehood-test-gate"}' if method == "POST" else b"")
    assert status == 403
    assert json.loads(text)["message"].startswith("gate: ")
