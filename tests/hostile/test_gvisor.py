"""The corpus with a kernel of its own between sandbox and host: every attack ends as on runc, or as `DIFFERENCES` says, never worse."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from structlog.testing import capture_logs

from cli.differences import DIFFERENCES, SEEN_ON
from fumehood.errors import SandboxError
from fumehood.limits import GIB
from fumehood.outcome import Blame, Reason
from fumehood.settings import Settings
from tests.hostile.corpus import ATTACKS, STARTS, Attack, Ground, take
from tests.hostile.differences import LEFT_OTHERWISE, UNTRIED
from tests.hostile.inputs import BUNDLES, IDENTITY, TABLES
from tests.hostile.test_hostile import AFTER_LIMIT_SECONDS
from tests.hostile.test_inputs import NOTHING, hold
from tests.hostile.test_leavings import LEAVINGS, Slot, go_through
from tests.sandboxes import SMALL, Ran, left_over, run_script
from tests.walls import GVISOR_ARGUMENTS, PATH, engine_with, packaged
from worker import runtimes
from worker.collect import LOG_SLACK_BYTES
from worker.docker_sandbox import DockerHost
from worker.sandbox import Stop

OPEN = "runsc-without-filter"
CRUN = shutil.which("crun", path=PATH)
# Each process of the leavings takes memory of its own.
ROOMY = replace(SMALL, memory_bytes=GIB)


@pytest.fixture(scope="module")
def gvisor(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    program = packaged("runsc")
    home: Path = tmp_path_factory.mktemp("gvisor") / "home"
    known = {
        "runsc": {"path": str(program), "runtimeArgs": GVISOR_ARGUMENTS},
        OPEN: {"path": str(program), "runtimeArgs": [each for each in GVISOR_ARGUMENTS if each != "--oci-seccomp"]},
    }
    if CRUN:
        known["crun"] = {"path": CRUN}
    with engine_with(image, {"runtimes": known}) as engine:
        settings = {"runtime": "runsc", "docker_host": engine.address}
        host = DockerHost(Settings(home=home, image=image, **settings), worker_id="gvisor")
        ground = Ground(host, home, settings=settings)
        host.check()
        yield ground
        ground.close()
        left = left_over(ground.client, home)
        ground.client.close()
        assert not any(left.values()), left


@pytest.fixture(scope="module")
def as_measured() -> bool:
    """Whether this is the release on which the differences were seen: of another one, some may have gone."""
    said = subprocess.run([packaged("runsc"), "--version"], capture_output=True, text=True, timeout=30, check=True)
    return SEEN_ON in said.stdout


def is_different(ran: Ran, name: str) -> bool:
    difference = DIFFERENCES[name]
    is_said = ran.outcome.reason is not Reason.SCRIPT_ERROR or difference.says in str(ran.outcome.error)
    return ran.outcome.reason in difference.reasons and is_said


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_ends_as_on_runc_or_as_stated_and_leaves_nothing(name: str, start: str, gvisor: Ground, as_measured: bool) -> None:
    attack = ATTACKS[name]
    if start not in gvisor.starts(attack):
        pytest.skip("the limits of a sandbox that waits cannot be changed on gVisor; a job with others gets one made for it")
    ran = gvisor.ran(name, start)
    as_on_runc = ran.outcome.reason is attack.reason
    shown = (ran.outcome.message, ran.outcome.error, ran.exit, ran.log[-2000:])
    if name not in DIFFERENCES:
        assert as_on_runc, shown
    elif as_measured:
        assert is_different(ran, name), shown
    else:
        assert as_on_runc or is_different(ran, name), shown
    assert ran.outcome.reason.blame is not Blame.SERVICE
    assert ran.exit.wall_seconds < attack.limits.wall_seconds + AFTER_LIMIT_SECONDS
    assert ran.exit.stopped is not Stop.FLOODED
    with pytest.raises(docker.errors.NotFound):
        gvisor.client.inspect_container(ran.container)
    assert not ran.scratch.exists()
    assert gvisor.canary.read_text() == gvisor.secret
    assert ran.result_bytes <= attack.limits.output_bytes
    assert ran.log_bytes <= attack.limits.log_bytes + LOG_SLACK_BYTES
    assert str(gvisor.home) not in str(ran.outcome.message)


def test_every_difference_is_of_an_attack() -> None:
    assert DIFFERENCES.keys() <= ATTACKS.keys()
    assert all(ATTACKS[name].reason not in difference.reasons for name, difference in DIFFERENCES.items())


@pytest.mark.parametrize("name", [name for name, difference in DIFFERENCES.items() if difference.instead])
def test_the_rest_of_an_attack_ends_as_it_says(name: str, gvisor: Ground) -> None:
    attack: Attack = ATTACKS[name]
    for line, _ in DIFFERENCES[name].instead:
        assert line in attack.script, f"{name}.py has no more {line!r}"
    ran = gvisor.run(attack.on("runsc"))
    assert ran.outcome.reason is attack.reason, (ran.outcome.message, ran.outcome.error)


def test_who_kills_its_own_supervisor_has_crashed_and_is_not_run_again(gvisor: Ground) -> None:
    ran = run_script(
        gvisor.host, gvisor.home, "import os, signal\ndef azureml_main():\n    os.kill(1, signal.SIGKILL)\n    signal.pause()\n"
    )
    assert (ran.exit.exit_code, ran.outcome.reason, ran.outcome.reason.blame) == (137, Reason.CRASHED, Blame.TENANT)


def test_without_the_filter_an_attack_succeeds(gvisor: Ground) -> None:
    settings = Settings(home=gvisor.home, image=gvisor.host.image, **{**gvisor.settings, "runtime": OPEN})
    with contextlib.closing(DockerHost(settings, worker_id="open")) as host:
        with pytest.raises(SandboxError, match="without --oci-seccomp"):
            host.check()
        ran = run_script(host, gvisor.home, ATTACKS["message_queues"].script)
    assert ran.outcome.reason is Reason.SCRIPT_ERROR, ran.outcome


@pytest.mark.skipif(CRUN is None, reason="no crun on this machine; nothing depends on it")
def test_crun_runs_a_script_or_the_check_says_beforehand_why_it_cannot(gvisor: Ground) -> None:
    settings = Settings(home=gvisor.home, image=gvisor.host.image, **{**gvisor.settings, "runtime": "crun"})
    with contextlib.closing(DockerHost(settings, worker_id="crun")) as host, capture_logs() as logs:
        if list(runtimes.problems("crun", {"path": CRUN})):
            with pytest.raises(SandboxError, match="v1 and v2 at once"):
                host.check()
            with pytest.raises(SandboxError, match="could not start"):
                run_script(host, gvisor.home, "")
            assert "cgroups in hybrid mode not supported" in str(logs)
        else:
            host.check()
            assert run_script(host, gvisor.home, NOTHING).outcome.reason is Reason.OK


@pytest.mark.parametrize(
    ("taken", "reason"), [({"closed": {}}, Reason.SCRIPT_ERROR), ({"tasks_each": 1, "tasks_beside": 0}, Reason.SANDBOX_ERROR)]
)
def test_what_is_adapted_to_it_is_needed(taken: dict[str, object], reason: Reason, gvisor: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runtimes.FAMILIES, "runsc", replace(runtimes.FAMILIES["runsc"], **taken))
    ran = run_script(gvisor.host, gvisor.home, ATTACKS["write_everywhere"].script)
    assert ran.outcome.reason is reason, ran.outcome


@pytest.mark.parametrize("start", STARTS)
def test_the_next_job_in_the_slot_finds_nothing_of_the_one_before(start: str, gvisor: Ground) -> None:
    leavings = {name: edited(name, text) for name, text in LEAVINGS.items() if name not in UNTRIED}
    with contextlib.closing(Slot(gvisor, start, limits=ROOMY, leavings=leavings)) as slot:
        go_through(slot)


def edited(name: str, text: str) -> str:
    for line, other in LEFT_OTHERWISE.get(name, ()):
        assert line in text, f"{name}.py has no more {line!r}"
        text = text.replace(line, other)
    return text


@pytest.fixture(scope="module")
def fed(gvisor: Ground) -> Callable[[str, str], Ran]:
    """Every hostile input's run, two at a time."""
    futures: dict[tuple[str, str], Future[Ran]] = {}

    def run(port: str, name: str) -> Ran:
        made = (TABLES if port == "dataset1" else BUNDLES)[name][0]()
        script = IDENTITY if port == "dataset1" else NOTHING
        return run_script(gvisor.host, gvisor.home, script, ready=take(gvisor.pool), inputs={port: made})

    for port, name in [*(("dataset1", name) for name in TABLES), *(("bundle", name) for name in BUNDLES)]:
        futures[port, name] = gvisor.submit(run, port, name)
    return lambda port, name: futures[port, name].result(timeout=300)


@pytest.mark.parametrize("name", TABLES)
def test_a_hostile_table_ends_its_job_with_a_reason(name: str, fed: Callable[[str, str], Ran], gvisor: Ground) -> None:
    hold(fed("dataset1", name), TABLES[name][1], gvisor)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_hostile_bundle_ends_its_job_with_a_reason(name: str, fed: Callable[[str, str], Ran], gvisor: Ground) -> None:
    hold(fed("bundle", name), BUNDLES[name][1], gvisor)
