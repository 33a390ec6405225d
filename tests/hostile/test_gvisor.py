"""The corpus with a kernel of its own between sandbox and host: every attack ends as on runc, or as `DIFFERENCES` says, never worse."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from structlog.testing import capture_logs

from cli.differences import DIFFERENCES, SEEN_ON, heard
from fumehood.errors import SandboxError
from fumehood.limits import GIB
from fumehood.outcome import Blame, Reason
from fumehood.settings import Settings
from tests.e2e.stand import descendants
from tests.hostile.corpus import ATTACKS, STARTS, STARTS_ELSEWHERE, Attack, Ground, standing, take
from tests.hostile.differences import LEFT_OTHERWISE, TRIED_INPUTS, UNTRIED
from tests.hostile.inputs import BUNDLES, IDENTITY, TABLES
from tests.hostile.test_hostile import AFTER_LIMIT_SECONDS
from tests.hostile.test_inputs import NOTHING, hold
from tests.hostile.test_leavings import LEAVINGS, Slot, go_through
from tests.sandboxes import SMALL, Ran, run_script
from tests.walls import GVISOR_ARGUMENTS, PATH, engine_with, packaged
from worker import isolation, runtimes
from worker.collect import LOG_SLACK_BYTES
from worker.docker_sandbox import DockerHost
from worker.isolation import LABEL_WORKER
from worker.sandbox import Stop, StopSignal

OPEN = "runsc-without-filter"
BARE = "bare"
CRUN = shutil.which("crun", path=PATH)
# Each process of the leavings takes memory of its own.
ROOMY = replace(SMALL, memory_bytes=GIB)
# A quota is given out for a tenth of a second, and what was given to a processor may be used up to its end.
CPU_SLACK_SECONDS = 0.2
FIRST_OF_ALL = """
import os, signal
def azureml_main():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
    print(os.nice(-20), open("/proc/self/oom_score_adj").read().strip(), flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def gvisor(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    program = packaged("runsc")
    home: Path = tmp_path_factory.mktemp("gvisor") / "home"
    known = {
        **{name: {"path": str(program), "runtimeArgs": GVISOR_ARGUMENTS} for name in ("runsc", BARE)},
        OPEN: {"path": str(program), "runtimeArgs": [each for each in GVISOR_ARGUMENTS if each != "--oci-seccomp"]},
    }
    if CRUN:
        known["crun"] = {"path": CRUN}
    with (
        engine_with(image, {"runtimes": known}) as engine,
        standing(home, image, worker="gvisor", runtime="runsc", docker_host=engine.address) as ground,
    ):
        yield ground


@pytest.fixture(scope="module")
def as_measured() -> bool:
    """Whether this is the release on which the differences were seen: of another one, some may have gone."""
    said = subprocess.run([packaged("runsc"), "--version"], capture_output=True, text=True, timeout=30, check=True)
    return SEEN_ON in said.stdout


def is_different(ran: Ran, name: str) -> bool:
    difference = DIFFERENCES[name]
    is_said = ran.outcome.reason is not Reason.SCRIPT_ERROR or difference.says in str(ran.outcome.error)
    return ran.outcome.reason in difference.reasons and is_said


@pytest.mark.parametrize("start", STARTS_ELSEWHERE)
@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_ends_as_on_runc_or_as_stated_and_leaves_nothing(name: str, start: str, gvisor: Ground, as_measured: bool) -> None:
    attack = ATTACKS[name]
    if start not in gvisor.starts(attack):
        pytest.skip("the limits of a sandbox that waits cannot be changed on gVisor; a job with others gets one made for it")
    ran = gvisor.ran(name, start)
    as_on_runc = ran.outcome.reason in heard({attack.reason}, runtime="runsc")
    shown = (ran.outcome.message, ran.outcome.error, ran.exit, ran.log[-2000:])
    if name not in DIFFERENCES:
        assert as_on_runc, shown
    elif as_measured and not DIFFERENCES[name].at_times:
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
    # What gVisor tells a script of processor time is a guess; this is the host's count, from the container's first moment on.
    lived_seconds = sum(ran.exit.milliseconds[part] for part in ("start", "ready", "go", "end")) / 1000
    assert 0 < ran.exit.cpu_seconds < attack.limits.cpus * lived_seconds + CPU_SLACK_SECONDS


def test_who_kills_its_own_supervisor_has_crashed_and_is_not_run_again(gvisor: Ground) -> None:
    ran = run_script(
        gvisor.host, gvisor.home, "import os, signal\ndef azureml_main():\n    os.kill(1, signal.SIGKILL)\n    signal.pause()\n"
    )
    assert (ran.exit.exit_code, ran.outcome.reason, ran.outcome.reason.blame) == (137, Reason.CRASHED, Blame.TENANT)


def test_who_stops_its_own_supervisor_ends_at_its_deadline(gvisor: Ground) -> None:
    script = "import os, signal\ndef azureml_main():\n    os.kill(1, signal.SIGSTOP)\n    signal.pause()\n"
    ran = run_script(gvisor.host, gvisor.home, script, limits=replace(SMALL, wall_seconds=1.0))
    assert (ran.exit.stopped, ran.outcome.reason) == (Stop.DEADLINE, Reason.TIMED_OUT)
    assert ran.exit.wall_seconds < 1.0 + AFTER_LIMIT_SECONDS


def test_to_the_host_no_script_changes_its_turn_for_the_processor_or_for_memory(gvisor: Ground) -> None:
    """gVisor lets it set the numbers, and keeps them for itself. What else there is of a sandbox ends with gVisor's first process."""
    settings = Settings(home=gvisor.home, image=gvisor.host.image, **gvisor.settings)
    turns: set[int] = set()
    scores: list[int] = []
    stop = StopSignal()

    def look(_log_bytes: int) -> None:
        [found] = gvisor.client.containers(filters={"label": f"{LABEL_WORKER}=turns"})
        first = gvisor.client.inspect_container(found["Id"])["State"]["Pid"]
        scores.append(int(Path(f"/proc/{first}/oom_score_adj").read_text()))
        for process in (first, *descendants(first)):
            # A thread may end meanwhile.
            with contextlib.suppress(OSError):
                turns.update(os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path(f"/proc/{process}/task").iterdir())
        stop.set(Stop.CANCELLED)

    with contextlib.closing(DockerHost(settings, worker_id="turns")) as host:
        ran = run_script(host, gvisor.home, FIRST_OF_ALL, stop=stop, on_log=look)
    assert ran.log == "-20 -1000\n"
    assert ran.outcome.reason is Reason.CANCELLED
    assert (turns, set(scores)) == ({0}, {isolation.ISOLATION["OomScoreAdj"]})


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
    ("taken", "reasons"),
    [
        ({"closed": {}}, {Reason.SCRIPT_ERROR}),
        # Whether so few tasks are enough to get ready is a matter of a few threads of gVisor's.
        ({"tasks_each": 1, "tasks_beside": 0}, {Reason.SANDBOX_ERROR, Reason.CRASHED}),
    ],
)
def test_what_is_adapted_to_it_is_needed(
    taken: dict[str, object], reasons: set[Reason], gvisor: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another runtime of the same program, so that nothing is taken from those that run meanwhile.
    monkeypatch.setitem(runtimes.FAMILIES, BARE, replace(runtimes.FAMILIES["runsc"], **taken))
    settings = Settings(home=gvisor.home, image=gvisor.host.image, **{**gvisor.settings, "runtime": BARE})
    with contextlib.closing(DockerHost(settings, worker_id=BARE)) as host:
        ran = run_script(host, gvisor.home, ATTACKS["write_everywhere"].script)
    assert ran.outcome.reason in reasons, ran.outcome


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


INPUTS = {"dataset1": TABLES, "bundle": BUNDLES}
TRIED = [(port, name) for names in TRIED_INPUTS.values() for name in names for port, known in INPUTS.items() if name in known]


@pytest.fixture(scope="module")
def fed(gvisor: Ground) -> Callable[[str, str], Ran]:
    """Every run of a hostile input, two at a time."""

    def run(port: str, name: str) -> Ran:
        script = IDENTITY if port == "dataset1" else NOTHING
        return run_script(gvisor.host, gvisor.home, script, ready=take(gvisor.pool), inputs={port: INPUTS[port][name][0]()})

    futures = {(port, name): gvisor.submit(run, port, name) for port, name in TRIED}
    return lambda port, name: futures[port, name].result(timeout=300)


@pytest.mark.parametrize(("port", "name"), TRIED)
def test_a_hostile_input_ends_its_job_with_a_reason(port: str, name: str, fed: Callable[[str, str], Ran], gvisor: Ground) -> None:
    reasons = heard(map(Reason, INPUTS[port][name][1]), runtime="runsc")
    hold(fed(port, name), set(map(str, reasons)), gvisor)


def test_of_every_format_an_input_is_tried_for_each_ending() -> None:
    assert len(TRIED) == len(set(TRIED)) == sum(map(len, TRIED_INPUTS.values()))
    ends = {
        (port, name): {(name.split(":")[0] if port == "dataset1" else port, reason) for reason in known[name][1]}
        for port, known in INPUTS.items()
        for name in known
    }
    assert set().union(*ends.values()) - set().union(*(ends[each] for each in TRIED)) == set()
