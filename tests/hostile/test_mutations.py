"""Each control, taken away: then at least one attack must succeed, or the attacks prove nothing.

An attack that expects `ok` asserts that everything it tried failed, so any other ending is its success. Where two controls
stand behind each other, both are taken away, and a second test shows that the user who owns nothing holds alone.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fumehood.limits import GIB, MIB
from fumehood.outcome import Reason
from tests.hostile.corpus import ATTACKS, Ground
from tests.sandboxes import PYTHON
from worker import container, isolation

Literal = dict[str, Any]

# The runner as it is, but open to a debugger.
DUMPABLE_RUNNER = """
import importlib.util, os, sys, time
at_start, here = frozenset(sys.modules), "/opt/fumehood/runner"
spec = importlib.util.spec_from_file_location("_fumehood_runner", here + "/__init__.py", submodule_search_locations=[here])
package = sys.modules["_fumehood_runner"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from _fumehood_runner import environment, processes, supervisor
processes.set_dumpable = lambda dumpable: None
environment.replace(environment.for_supervisor(os.environ))
supervisor.main(started_at=time.monotonic(), wait_seconds=60.0, modules_at_start=at_start)
"""


def without_seccomp(host_config: Literal) -> Literal:
    return {"SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined"]}


def with_root(host_config: Literal) -> Literal:
    return {"Tmpfs": {path: re.sub(r"(uid|gid)=\d+", r"\1=0", options) for path, options in host_config["Tmpfs"].items()}}


def without_fsize(host_config: Literal) -> Literal:
    return {"Ulimits": [limit for limit in host_config["Ulimits"] if limit["Name"] != "fsize"]}


def with_nofile(host_config: Literal) -> Literal:
    return {"Ulimits": [limit | ({"Soft": 9000, "Hard": 9000} if limit["Name"] == "nofile" else {}) for limit in host_config["Ulimits"]]}


def with_tmpfs(path: str, **options: str) -> Callable[[Literal], Literal]:
    def change(host_config: Literal) -> Literal:
        kept = [part for part in host_config["Tmpfs"][path].split(",") if part.partition("=")[0] not in options]
        return {"Tmpfs": host_config["Tmpfs"] | {path: ",".join([*kept, *(f"{key}={value}" for key, value in options.items())])}}

    return change


def with_host_mount(host_config: Literal) -> Literal:
    return {"Mounts": [*host_config["Mounts"], {"Type": "bind", "Source": "/", "Target": "/mnt", "ReadOnly": True}]}


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """`attack` succeeds once the literal is changed: `ends` is how. `script_error` is its own assertion, which saw a success."""

    attack: str
    ends: Reason = Reason.SCRIPT_ERROR
    host_config: Literal | Callable[[Literal], Literal] = field(default_factory=dict)
    config: Literal = field(default_factory=dict)


ROOT_USER = {"User": "0:0"}
MUTATIONS = {
    "network": Mutation(attack="reach_out", host_config={"NetworkMode": "bridge"}, config={"NetworkDisabled": False}),
    "seccomp: socket families": Mutation(attack="socket_families", host_config=without_seccomp),
    "seccomp: io_uring": Mutation(attack="io_uring", host_config=without_seccomp),
    "seccomp: kernel objects": Mutation(attack="message_queues", host_config=without_seccomp),
    "seccomp: blocks beyond the end": Mutation(attack="reserve_past_the_end", host_config=without_seccomp),
    "seccomp: other processes": Mutation(attack="starve_the_supervisor", host_config=without_seccomp),
    "read-only root, and a user that owns nothing": Mutation(
        attack="write_everywhere", host_config=lambda literal: with_root(literal) | {"ReadonlyRootfs": False}, config=ROOT_USER
    ),
    "masked paths": Mutation(attack="look_around", host_config={"MaskedPaths": []}),
    "cgroup namespace": Mutation(attack="look_around", host_config={"CgroupnsMode": "host"}),
    "hostname": Mutation(attack="look_around", config={"Hostname": "worker-7"}),
    "capabilities": Mutation(attack="gain_privileges", host_config={"CapDrop": []}),
    # The filter denies what the runtime needs to become the user; it only takes hold late enough with no-new-privileges.
    "no new privileges": Mutation(attack="gain_privileges", host_config={"SecurityOpt": ["seccomp=unconfined"]}),
    "user": Mutation(attack="gain_privileges", host_config=with_root, config=ROOT_USER),
    "processes": Mutation(attack="many_processes", host_config={"PidsLimit": 500}),
    "memory": Mutation(attack="memory_bomb", ends=Reason.OK, host_config={"Memory": 2 * GIB, "MemorySwap": 2 * GIB}),
    "size of /job": Mutation(attack="disk_bomb", ends=Reason.BAD_RETURN, host_config=with_tmpfs("/job", size=str(128 * MIB))),
    "size of /dev/shm": Mutation(
        attack="shared_memory_bomb", ends=Reason.BAD_RETURN, host_config=with_tmpfs("/dev/shm", size=str(128 * MIB))
    ),
    "inodes": Mutation(attack="inode_bomb", ends=Reason.BAD_RETURN, host_config=with_tmpfs("/dev/shm", nr_inodes="200000")),
    "descriptors": Mutation(attack="descriptor_bomb", ends=Reason.BAD_RETURN, host_config=with_nofile),
    # `done` in the supervisor's place, so we took what there was: no report.
    "dumpable": Mutation(
        attack="speak_for_the_supervisor", ends=Reason.CRASHED, config={"Entrypoint": [PYTHON, "-P", "-s", "-c", DUMPABLE_RUNNER]}
    ),
    "mounts, and a user that owns nothing": Mutation(
        attack="reach_the_canary", host_config=lambda literal: with_root(literal) | with_host_mount(literal), config=ROOT_USER
    ),
}


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mutation], None]:
    """Change the literal for this test, so that the engine is asked for, and held to, the weaker thing."""

    def change(mutation: Mutation) -> None:
        original, ours = isolation.container, threading.current_thread()

        def weaker(**values: Any) -> tuple[Literal, Literal]:
            config, host_config = original(**values)
            if threading.current_thread() is not ours:
                return config, host_config  # A pool prepares one, for another test.
            changes = mutation.host_config(host_config) if callable(mutation.host_config) else mutation.host_config
            return config | mutation.config, host_config | changes

        monkeypatch.setattr(isolation, "container", weaker)

    return change


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_the_control_an_attack_succeeds(name: str, ground: Ground, mutate: Callable[[Mutation], None]) -> None:
    mutation = MUTATIONS[name]
    attack = ATTACKS[mutation.attack]
    mutate(mutation)
    ran = ground.run(attack)
    assert ran.outcome.reason is not attack.reason, f"without {name} the attack {attack.name} ends as it does with it"
    assert (ran.exit.ready, ran.outcome.reason) == (True, mutation.ends), ran.outcome
    if mutation.ends is Reason.SCRIPT_ERROR:
        assert ran.outcome.error is not None
        assert ran.outcome.error["type"] == "AssertionError", ran.outcome.error


def test_without_the_cap_on_files_a_sparse_output_succeeds(
    ground: Ground, mutate: Callable[[Mutation], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two controls: the engine's ulimit, and the runner that lowers it at the go line. Either holds alone."""
    attack = ATTACKS["sparse_output"]
    mutation = Mutation(attack=attack.name, host_config=without_fsize)
    mutate(mutation)
    assert ground.run(attack).outcome.reason is attack.reason, "the runner's own limit holds"
    original = container.DockerSandbox._go
    endless = replace(attack.limits, output_bytes=2**62)
    monkeypatch.setattr(container.DockerSandbox, "_go", lambda self, limits: original(self, endless))
    ran = ground.run(attack)
    assert ran.outcome.reason is not attack.reason
    assert ran.report.too_large == () or "files.bin" in ran.report.too_large


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("write_everywhere", Mutation(attack="write_everywhere", host_config={"ReadonlyRootfs": False})),
        ("reach_the_canary", Mutation(attack="reach_the_canary", host_config=with_host_mount)),
    ],
)
def test_a_user_that_owns_nothing_holds_alone(name: str, alone: Mutation, ground: Ground, mutate: Callable[[Mutation], None]) -> None:
    mutate(alone)
    assert ground.run(ATTACKS[name]).outcome.reason is Reason.OK


def test_every_mutation_names_an_attack_of_the_corpus() -> None:
    assert {mutation.attack for mutation in MUTATIONS.values()} <= set(ATTACKS)
