"""Every attack ends as it says, leaves nothing, and harms nobody else."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.hostile.corpus import ATTACKS, Attack, Ground
from tests.sandboxes import SMALL, run_script
from worker.collect import LOG_SLACK_BYTES
from worker.docker_sandbox import DockerHost
from worker.sandbox import Stop

# Behind the limit: two seconds until our own deadline, and what a kill takes on a machine that is busy.
AFTER_LIMIT_SECONDS = 4.0
GOOD = "import pandas\ndef azureml_main(): return pandas.DataFrame({'a': [1]})\n"


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_ends_as_it_says_and_leaves_nothing(name: str, ground: Ground) -> None:
    attack, ran = ATTACKS[name], ground.ran(name)
    assert ran.outcome.reason is attack.reason, (ran.outcome.message, ran.outcome.error, ran.exit, ran.log[-2000:])
    assert ran.exit.wall_seconds < attack.limits.wall_seconds + AFTER_LIMIT_SECONDS
    assert ran.exit.stopped is not Stop.FLOODED
    with pytest.raises(docker.errors.NotFound):
        ground.client.inspect_container(ran.container)
    assert not ran.scratch.exists()
    assert ground.canary.read_text() == ground.secret
    # What would be published stays within its caps, whatever was tried.
    assert ran.result_bytes <= attack.limits.output_bytes
    assert ran.log_bytes <= attack.limits.log_bytes + LOG_SLACK_BYTES
    assert str(ground.home) not in str(ran.outcome.message)


def test_every_promise_is_attacked() -> None:
    assert {attack.promise for attack in ATTACKS.values()} == set(range(1, 8))


def test_a_report_is_the_supervisors_own_although_a_daemon_scribbled_on_it(ground: Ground) -> None:
    ran = ground.ran("daemon_outlives")
    assert ran.outcome.report["result"] == {"rows": 1, "columns": [{"name": "harmless", "type": "int64", "nullable": False}]}


def test_a_memory_kill_beside_a_good_return_is_told(ground: Ground) -> None:
    ran = ground.ran("memory_bomb_in_a_child")
    assert ran.exit.oom_killed
    assert "memory" in ran.outcome.message


def test_a_flooded_log_says_that_it_was_cut(ground: Ground) -> None:
    assert ground.ran("log_flood").outcome.report["log"]["truncated"] is True


def test_rubbish_under_outputs_comes_back_as_names_and_bytes_only(ground: Ground) -> None:
    files = ground.ran("rubbish_under_outputs").outcome.report["files"]
    assert not [file for file in files if "passwd" in file["name"] or file["name"].startswith(("/", "..")) or "loop/" in file["name"]]
    assert [file for file in files if file["role"] == "figure"] == []


LEAVE = """
import os, pathlib, pandas
def azureml_main():
    for place in ("/job", "/job/tmp", "/dev/shm", os.path.expanduser("~")):
        pathlib.Path(place).mkdir(exist_ok=True)
        (pathlib.Path(place) / "left-behind").write_text("canary")
    return pandas.DataFrame({"a": [1]})
"""
LOOK = """
import os, pandas
def azureml_main():
    found = [os.path.join(place, name) for top in ("/job", "/dev/shm", "/tmp", "/var/tmp", "/run", "/in", "/out", "/dev/mqueue")
             for place, _, names in os.walk(top) for name in names if "left" in name]
    assert not found, found
    assert not [name for name in os.listdir("/out") if os.path.getsize("/out/" + name)]
    return pandas.DataFrame({"a": [1]})
"""


def test_the_next_job_of_the_same_uid_sees_a_clean_machine(ground: Ground) -> None:
    """Promise 2, in the worst case: one uid only."""
    host = DockerHost(
        Settings(home=ground.home, image=ground.host.image, sandbox_uid_first=4_000_000, sandbox_uid_count=1), worker_id="hostile"
    )
    with contextlib.closing(host):
        assert run_script(host, ground.home, LEAVE).outcome.reason is Reason.OK
        ran = run_script(host, ground.home, LOOK)
    assert ran.outcome.reason is Reason.OK, ran.outcome.error


@pytest.mark.parametrize("name", ["fork_bomb", "memory_bomb", "endless_output", "spin"])
def test_a_neighbour_runs_on_while_the_machine_is_attacked(name: str, ground: Ground) -> None:
    """Promise 5: the neighbour ends well, in a time in which an unharmed one would have on a busy machine."""
    attack: Attack = ATTACKS[name]
    with ThreadPoolExecutor(1) as pool:
        attacker = pool.submit(ground.run, attack)
        began = time.monotonic()
        neighbour = run_script(ground.host, ground.home, GOOD, limits=SMALL)
        took_seconds = time.monotonic() - began
        assert attacker.result(timeout=60).outcome.reason is attack.reason
    assert neighbour.outcome.reason is Reason.OK, neighbour.outcome
    assert took_seconds < 15
