"""Every attack ends as it says, leaves nothing, and harms nobody else."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from fumehood.outcome import Reason
from tests.hostile.corpus import ATTACKS, STARTS, Attack, Ground, take
from tests.sandboxes import run_script
from worker.collect import LOG_SLACK_BYTES
from worker.sandbox import Stop

# Behind the limit: two seconds until our own deadline, and what a kill takes on a machine that is busy.
AFTER_LIMIT_SECONDS = 4.0
# What these do is done by their top level, so that there is no call that could find them open.
ENDS_WHILE_IT_IS_OPENED: set[str] = set()
GOOD = "import pandas\ndef azureml_main(): return pandas.DataFrame({'a': [1]})\n"


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_ends_as_it_says_and_leaves_nothing(name: str, start: str, ground: Ground) -> None:
    attack, ran = ATTACKS[name], ground.ran(name, start)
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


def test_nearly_every_attack_is_opened_ahead_of_its_call(ground: Ground) -> None:
    """Or the third start would be the first one again."""
    for name in ATTACKS:
        ground.ran(name, "prepared")
    assert set(ATTACKS) - ground.opened_ahead <= ENDS_WHILE_IT_IS_OPENED


def test_every_promise_is_attacked() -> None:
    assert {attack.promise for attack in ATTACKS.values()} == set(range(1, 8))


@pytest.mark.parametrize("start", STARTS)
def test_a_report_is_the_supervisors_own_although_a_daemon_scribbled_on_it(start: str, ground: Ground) -> None:
    ran = ground.ran("daemon_outlives", start)
    assert ran.outcome.report["result"] == {"rows": 1, "columns": [{"name": "harmless", "type": "int64", "nullable": False}]}


@pytest.mark.parametrize("start", STARTS)
def test_a_memory_kill_beside_a_good_return_is_told(start: str, ground: Ground) -> None:
    ran = ground.ran("memory_bomb_in_a_child", start)
    assert ran.exit.oom_killed
    assert "memory" in ran.outcome.message


@pytest.mark.parametrize("start", STARTS)
def test_a_flooded_log_says_that_it_was_cut(start: str, ground: Ground) -> None:
    assert ground.ran("log_flood", start).outcome.report["log"]["truncated"] is True


@pytest.mark.parametrize("start", STARTS)
def test_rubbish_under_outputs_comes_back_as_names_and_bytes_only(start: str, ground: Ground) -> None:
    files = ground.ran("rubbish_under_outputs", start).outcome.report["files"]
    assert not [file for file in files if "passwd" in file["name"] or file["name"].startswith(("/", "..")) or "loop/" in file["name"]]
    assert [file for file in files if file["role"] == "figure"] == []


@pytest.mark.parametrize("name", ["fork_bomb", "memory_bomb", "endless_output", "spin"])
def test_a_neighbour_runs_on_while_the_machine_is_attacked(name: str, ground: Ground) -> None:
    """Promise 5: the neighbour ends well, in a time in which an unharmed one would have on a busy machine."""
    attack: Attack = ATTACKS[name]
    with ThreadPoolExecutor(1) as pool:
        attacker = pool.submit(ground.run, attack, "warm")
        began = time.monotonic()
        neighbour = run_script(ground.host, ground.home, GOOD, ready=take(ground.pool))
        took_seconds = time.monotonic() - began
        assert attacker.result(timeout=60).outcome.reason is attack.reason
    assert neighbour.outcome.reason is Reason.OK, neighbour.outcome
    assert took_seconds < 15
