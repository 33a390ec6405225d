"""One sandbox that waits for its job: what ends it, what may still be changed, and what it can see. Real engine, real runner."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fumehood.errors import SandboxError
from fumehood.limits import FLOOR, MIB, Limits
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.sandboxes import PYTHON, SMALL, Wall, run_script
from tests.services import until
from worker.container import DockerSandbox
from worker.docker_sandbox import DockerHost
from worker.sandbox import StopSignal
from worker.scratch import Scratch

LEFT = 3
READ_ONLY = (errno.EROFS, errno.EACCES)
END_SECONDS = 20.0
WARM = replace(Limits(), disk_bytes=SMALL.disk_bytes)

# The others that a process of the same user sees: the child that waits.
KILL_THE_CHILD = "import os; [os.kill(int(pid), 9) for pid in os.listdir('/proc') if pid.isdigit() and int(pid) not in (1, os.getpid())]"
# Who else is of the user looks into the supervisor and into its child.
LOOK_INTO = """
import json, os
def opened(pid):
    for name in ("mem", "environ", "fd/0"):
        try: os.close(os.open(f"/proc/{pid}/{name}", os.O_RDWR if name == "mem" else os.O_RDONLY))
        except OSError: continue
        yield name
others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
print(json.dumps({("1" if pid == "1" else "child"): list(opened(pid)) for pid in others}))
"""
ASK = """
import json, os, pandas, resource
def refused(path, flags):
    try: os.close(os.open(path, flags))
    except OSError as error: return error.errno
def figure(*paths):
    return next(int(open(path).read().split()[0]) for path in paths if os.path.exists(path))
def azureml_main():
    print(json.dumps({
        "write": refused("/in/script.py", os.O_WRONLY), "create": refused("/in/more", os.O_WRONLY | os.O_CREAT),
        "memory": figure("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        "processes": figure("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
        "file": resource.getrlimit(resource.RLIMIT_FSIZE)[1],
    }))
    return pandas.DataFrame({"a": [1]})
"""


@pytest.fixture
def host(image: str, sandbox_home: Path) -> Iterator[DockerHost]:
    host = DockerHost(Settings(home=sandbox_home, image=image), worker_id="w1")
    yield host
    host.close()


Waits = Callable[..., DockerSandbox]


@pytest.fixture
def waits(host: DockerHost, sandbox_home: Path) -> Iterator[Waits]:
    """Makes one that is ready; afterwards it is gone."""
    with contextlib.ExitStack() as last:

        def make(*, wait_seconds: float = 120.0) -> DockerSandbox:
            scratch = Scratch.create(sandbox_home, worker="w1")
            last.callback(scratch.erase)
            sandbox = last.enter_context(host.prepare(scratch, WARM, wait_seconds=wait_seconds))
            assert sandbox.make_ready(StopSignal())
            return sandbox

        yield make


def exit_code(wall: Wall, sandbox: DockerSandbox) -> int:
    until(lambda: not sandbox.waits, seconds=END_SECONDS, what="its end is seen")
    until(lambda: not wall.client.inspect_container(sandbox.name)["State"]["Running"], seconds=END_SECONDS, what="it ends")
    return int(wall.client.inspect_container(sandbox.name)["State"]["ExitCode"])


def test_it_ends_by_itself_when_nobody_has_used_it_in_time(waits: Waits, wall: Wall) -> None:
    assert exit_code(wall, waits(wait_seconds=4.0)) == LEFT


def test_the_end_of_its_stdin_ends_it(waits: Waits, wall: Wall) -> None:
    """So that those of a worker that died do not wait on."""
    sandbox = waits()
    sandbox._stream.end_input()
    assert exit_code(wall, sandbox) == LEFT


def test_the_death_of_the_child_inside_ends_it(waits: Waits, wall: Wall) -> None:
    """Or else it would look ready, and its job would find nobody to run it. A host without memory kills that child first."""
    sandbox = waits()
    ended: list[bool] = []
    sandbox.on_end(lambda: ended.append(True))
    kill = wall.client.exec_create(sandbox.name, [PYTHON, "-c", KILL_THE_CHILD])["Id"]
    wall.client.exec_start(kill)
    assert exit_code(wall, sandbox) == LEFT
    until(lambda: ended, seconds=END_SECONDS, what="who keeps it hears of it")


def test_nothing_runs_in_it_but_the_supervisor_and_its_child(waits: Waits, wall: Wall) -> None:
    sandbox = waits()
    assert len(wall.client.top(sandbox.name)["Processes"]) == 2
    assert [path.name for path in sandbox.scratch.inside.iterdir()] == []
    assert {output: sandbox.scratch.size(output) for output in sandbox.scratch.descriptors} == dict.fromkeys(sandbox.scratch.descriptors, 0)


def test_its_supervisor_is_closed_while_it_waits(waits: Waits, wall: Wall) -> None:
    """From its start on: there is no moment at which a script could have got there first. The child shows what open looks like."""
    sandbox = waits()
    look = wall.client.exec_create(sandbox.name, [PYTHON, "-c", LOOK_INTO])["Id"]
    seen = json.loads(wall.client.exec_start(look))
    assert seen["1"] == []
    assert "environ" in seen["child"]


def test_its_job_finds_its_inputs_read_only_and_its_own_limits(host: DockerHost, waits: Waits, sandbox_home: Path, wall: Wall) -> None:
    sandbox = waits()
    limits = replace(SMALL, memory_bytes=384 * MIB, processes=48, cpus=0.5)
    sandbox.fit(limits)
    found = wall.client.inspect_container(sandbox.name)["HostConfig"]
    assert (found["Memory"], found["MemorySwap"], found["PidsLimit"], found["NanoCpus"]) == (384 * MIB, 384 * MIB, 48, 500_000_000)
    ran = run_script(host, sandbox_home, ASK, limits=limits, ready=sandbox)
    assert ran.outcome.reason is Reason.OK, ran.outcome.error
    seen = json.loads(ran.log)
    assert seen.pop("write") in READ_ONLY
    assert seen.pop("create") in READ_ONLY
    assert seen == {"memory": 384 * MIB, "processes": 48, "file": limits.file_bytes}


def test_the_least_memory_and_processor_that_a_job_may_ask_for_can_be_given(waits: Waits) -> None:
    """What waits must hold less than that, or each such job would spoil one after the other."""
    waits().fit(replace(SMALL, **{name: FLOOR[name] for name in ("memory_bytes", "cpus", "processes")}))


# What is done to one that waits, and undone: a name, what the engine does at its end, its share of memory, its progress.
BY_HAND: dict[str, tuple[Callable[[Any, str], Any], Callable[[Any, str], Any]]] = {
    "renamed": (lambda client, name: client.rename(name, name + "-other"), lambda client, name: client.rename(name + "-other", name)),
    "restarts by itself": (
        lambda client, name: client.update_container(name, restart_policy={"Name": "always"}),
        lambda client, name: client.update_container(name, restart_policy={"Name": "no"}),
    ),
    "has more memory": (
        lambda client, name: client.update_container(name, mem_limit=WARM.memory_bytes * 2, memswap_limit=WARM.memory_bytes * 2),
        lambda client, name: client.update_container(name, mem_limit=WARM.memory_bytes, memswap_limit=WARM.memory_bytes),
    ),
    "paused": (lambda client, name: client.pause(name), lambda client, name: client.unpause(name)),
}


def test_what_somebody_did_to_it_by_hand_is_seen(waits: Waits, wall: Wall) -> None:
    sandbox = waits()
    for what, (do, undo) in BY_HAND.items():
        do(wall.client, sandbox.name)
        with capture_logs():
            try:
                sandbox.fit(WARM)
            except SandboxError:
                seen = True
            else:
                seen = False
        undo(wall.client, sandbox.name)
        assert seen, f"a sandbox that is {what} would be handed out"
        sandbox.fit(WARM)


def test_its_death_is_known_before_the_engine_tells(
    host: DockerHost, waits: Waits, sandbox_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = waits()
    told: list[bool] = []
    listening = sandbox._stream.ends_within

    def ends_within(seconds: float) -> bool:
        told.append(sandbox._init is not None and sandbox._init.ends_within(0))
        return listening(seconds)

    monkeypatch.setattr(sandbox._stream, "ends_within", ends_within)
    monkeypatch.setattr(sandbox, "_state_of_death", lambda seconds: pytest.fail("the engine was asked"))
    ran = run_script(host, sandbox_home, "def azureml_main():\n    return None\n", ready=sandbox)
    assert ran.outcome.reason is Reason.BAD_RETURN, ran.outcome
    assert told == [True], "only the removal waits for the engine, and nothing lives by then"
