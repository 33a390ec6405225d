"""What holds where no script has a say: the engine's own logs and restarts, the line to the worker, volumes of others.

Each control is compared with its absence: two sandboxes get the same, one of them without it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from fumehood.errors import SandboxError
from fumehood.outcome import Reason
from tests.hostile.corpus import ATTACKS, Ground
from tests.hostile.mutations import ROOT_USER, Literal, Mutation, together, with_root
from tests.hostile.runner import runner_with
from tests.hostile.test_mutations import mutate
from tests.sandboxes import SMALL
from tests.services import until
from worker.container import DockerSandbox
from worker.isolation import LABEL_HOME
from worker.sandbox import StopSignal
from worker.scratch import Scratch

__all__ = ["mutate"]
END_SECONDS = 20.0
WAITS = "import signal\ndef azureml_main():\n    signal.pause()\n"
Open = Callable[[Mutation], DockerSandbox]


@pytest.fixture
def opened(ground: Ground, mutate: Callable[[Mutation], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Makes a sandbox that is ready, with a script that waits for ever staged."""
    with contextlib.ExitStack() as last:

        def make(mutation: Mutation) -> DockerSandbox:
            scratch = Scratch.create(ground.home, worker=ground.host.worker_id)
            last.callback(scratch.erase)
            request = {"version": 1, "kind": "script", "inputs": {}, "parameters": {}, "limits": SMALL.as_dict()}
            for name, text in (("script.py", WAITS), ("request.json", json.dumps(request))):
                (scratch.inside / name).write_text(text)
                (scratch.inside / name).chmod(0o444)
            with monkeypatch.context():
                mutate(mutation)
                sandbox = ground.host.prepare(scratch, SMALL)
                last.callback(sandbox.destroy)
                assert sandbox.make_ready(StopSignal())
            monkeypatch.undo()
            return sandbox

        yield make


AS_IT_IS = Mutation(attack="")


DEAF_FROM_THE_GO_LINE_ON = """
hear = supervisor.Worker.hear
supervisor.Worker.hear = lambda self: hear(self) if self._listens else os.set_blocking(0, False)
"""


def state(ground: Ground, sandbox: DockerSandbox) -> dict[str, Any] | None:
    try:
        return dict(ground.client.inspect_container(sandbox.name))
    except docker.errors.NotFound:
        return None


def runs(ground: Ground, sandbox: DockerSandbox) -> bool:
    found = state(ground, sandbox)
    return found is not None and bool(found["State"]["Running"])


@pytest.mark.parametrize(
    ("mutation", "goes"),
    [
        (Mutation(attack="", config={"StdinOnce": False}), False),
        # While a script runs, the supervisor has to look for itself.
        (
            Mutation(
                attack="",
                config={"Entrypoint": runner_with(DEAF_FROM_THE_GO_LINE_ON)},
            ),
            True,
        ),
    ],
    ids=["StdinOnce", "the supervisor's look at its stdin"],
)
def test_without_it_a_sandbox_outlives_its_worker(mutation: Mutation, goes: bool, opened: Open, ground: Ground) -> None:
    without, honest = opened(mutation), opened(AS_IT_IS)
    for sandbox in (without, honest):
        if goes:
            sandbox._go(SMALL)
        sandbox._stream.close()
    until(lambda: not runs(ground, honest), seconds=END_SECONDS, what="the end of the sandbox")
    assert runs(ground, without)


def test_without_the_restart_policy_a_sandbox_is_used_twice(opened: Open, ground: Ground) -> None:
    without = opened(Mutation(attack="", host_config={"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}))
    honest = opened(AS_IT_IS)
    for sandbox in (without, honest):
        sandbox._stream.close()
    until(lambda: (state(ground, without) or {})["RestartCount"], seconds=END_SECONDS, what="a restart")
    until(lambda: not runs(ground, honest), seconds=END_SECONDS, what="the end of the sandbox")
    assert (state(ground, honest) or {})["RestartCount"] == 0


def test_with_removal_by_the_engine_nobody_can_see_how_a_sandbox_ended(opened: Open, ground: Ground) -> None:
    without, honest = opened(Mutation(attack="", host_config={"AutoRemove": True})), opened(AS_IT_IS)
    for sandbox in (without, honest):
        sandbox._stream.close()
    until(lambda: state(ground, without) is None, seconds=END_SECONDS, what="the engine's removal")
    until(lambda: not runs(ground, honest), seconds=END_SECONDS, what="the end of the sandbox")
    assert (state(ground, honest) or {})["State"]["ExitCode"] == 3


def test_without_the_log_driver_the_engine_keeps_what_a_sandbox_says(opened: Open, ground: Ground) -> None:
    without = opened(Mutation(attack="", host_config={"LogConfig": {"Type": "json-file", "Config": {}}}))
    assert b'"ready"' in ground.client.logs(without.name)
    with pytest.raises(docker.errors.APIError):
        ground.client.logs(opened(AS_IT_IS).name)


def test_with_volumes_of_another_container_a_canary_is_reached(ground: Ground, mutate: Callable[[Mutation], None]) -> None:
    """And with the user that owns nothing away, as for every mount."""
    name = f"fumehood-volumes-{ground.secret[:8]}"
    host_config = ground.client.create_host_config(binds=["/:/mnt:ro"])
    ground.client.create_container(ground.host.image, name=name, labels={LABEL_HOME: str(ground.home)}, host_config=host_config)
    try:
        mutate(Mutation(attack="", host_config=together(with_root, {"VolumesFrom": [name]}), config=ROOT_USER, unseen=True))
        assert ground.run(ATTACKS["reach_the_canary"]).outcome.reason is Reason.SCRIPT_ERROR
    finally:
        ground.client.remove_container(name, force=True)


CLOSED: dict[str, tuple[Literal, Literal]] = {
    "HostConfig.PidMode": ({"PidMode": "host"}, {}),
    "HostConfig.Init": ({"Init": True}, {}),
    "Config.Tty": ({}, {"Tty": True}),
    "Config.OpenStdin": ({}, {"OpenStdin": False, "StdinOnce": False}),
}


@pytest.mark.parametrize("name", CLOSED)
def test_without_it_no_script_ever_runs(name: str, ground: Ground, mutate: Callable[[Mutation], None]) -> None:
    host_config, config = CLOSED[name]
    mutate(Mutation(attack="", host_config=host_config, config=config, unseen=True))
    try:
        ran = ground.run(ATTACKS["look_around"])
    except SandboxError:
        return
    assert ran.outcome.reason is Reason.SANDBOX_ERROR


def test_an_engine_that_forgets_a_control_is_not_used(
    ground: Ground, mutate: Callable[[Mutation], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison after the start is a control too: without it, a script would run behind whatever wall there is."""
    original = ground.host.engine.create

    def forgets(name: str, config: Literal, host_config: Literal) -> str:
        return original(name, config, host_config | {"SecurityOpt": ["seccomp=unconfined"]})

    monkeypatch.setattr(ground.host.engine, "create", forgets)
    with pytest.raises(SandboxError, match="did not apply 1 part"):
        ground.run(ATTACKS["io_uring"])
    mutate(Mutation(attack="", unseen=True))
    assert ground.run(ATTACKS["io_uring"]).outcome.reason is Reason.SCRIPT_ERROR
