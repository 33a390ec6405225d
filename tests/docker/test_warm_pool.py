"""The warm pool on a real engine: whom it hands out, whom it never does, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fumehood.job import Job, Kind, Lane, new_id
from fumehood.limits import MIB, Limits
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.sandboxes import SMALL, Wall
from tests.services import until
from worker import warm_pool
from worker.collect import collect
from worker.docker_sandbox import DockerHost
from worker.recipe import Recipe
from worker.sandbox import Sandbox, StopSignal
from worker.scratch import Removed, erase_directory, owners
from worker.shelf import Offer
from worker.verdict import judge
from worker.warm_pool import WarmPool

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
RETURNS = "import pandas\ndef azureml_main(): return pandas.DataFrame({'a': [1]})\n"


class Clock:
    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_seconds


Open = Callable[..., WarmPool]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(image: str, sandbox_home: Path) -> Iterator[DockerHost]:
    host = DockerHost(Settings(home=sandbox_home, image=image), worker_id="w1")
    yield host
    host.close()


@pytest.fixture
def pool(host: DockerHost, sandbox_home: Path, clock: Clock) -> Iterator[Open]:
    """Opens a pool for jobs; every one is closed afterwards and must leave nothing (`sandbox_home` looks)."""
    with contextlib.ExitStack() as stack:

        def opened(*, at_least: int = 1, at_most: int = 4, limits: Limits = SMALL) -> WarmPool:
            pool = WarmPool(
                {Lane.JOBS: Recipe(limits=limits, at_least=at_least, at_most=at_most)},
                host=host,
                home=sandbox_home,
                worker="w1",
                cpus=4,
                idle_seconds=60.0,
                may_fill=lambda: True,
                monotonic=clock,
            )
            stack.callback(lambda: pytest.fail("the pool left something") if not pool.close() else None)
            pool.start()
            return pool

        yield opened


def waiting(pool: WarmPool, count: int) -> None:
    until(lambda: pool.counts()[Lane.JOBS] == count, seconds=READY_SECONDS, what=f"{count} wait")


def job(sandbox: Sandbox | None = None, limits: Limits = SMALL) -> Job:
    row = Job(id=new_id("job"), tenant="ten_test", kind=Kind.SCRIPT, inputs={}, limits=limits)
    return replace(row, sandbox=sandbox.name, scratch=sandbox.scratch.name) if sandbox else row


def taken(pool: WarmPool, limits: Limits = SMALL) -> Offer:
    """As claim and stage do it."""
    with pool.offer(job(pool.hold(Lane.JOBS), limits)) as offer:
        return offer


def use(sandbox: Sandbox, script: str = RETURNS, limits: Limits = SMALL) -> Reason:
    request = {"version": 1, "kind": "script", "inputs": {}, "parameters": {}, "limits": limits.as_dict()}
    for name, text in (("script.py", script), ("request.json", json.dumps(request))):
        (sandbox.scratch.inside / name).write_text(text)
        (sandbox.scratch.inside / name).chmod(0o444)
    exit = sandbox.run(limits, stop=StopSignal(), on_log=lambda count: None)
    return judge(exit, collect(sandbox.scratch, limits)).reason


def erase(sandbox: Sandbox) -> None:
    sandbox.destroy()
    sandbox.scratch.erase()


def containers(wall: Wall, home: Path) -> dict[str, str]:
    found = wall.client.containers(all=True, filters={"label": f"fumehood.home={home}"})
    return {each["Names"][0].lstrip("/"): each["State"] for each in found}


def test_each_goes_to_one_taker_runs_one_job_and_is_gone(pool: Open, wall: Wall, sandbox_home: Path) -> None:
    warm = pool(at_least=2, at_most=2)
    waiting(warm, 2)
    offers: list[Offer] = []
    threads = [threading.Thread(target=lambda: offers.append(taken(warm))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(READY_SECONDS)
    first, second = (offer.sandbox for offer in offers)
    assert first is not None
    assert second is not None
    assert first.name != second.name
    assert {offer.reason for offer in offers} == {None}
    for sandbox in (first, second):
        assert use(sandbox) is Reason.OK
        erase(sandbox)
    # What came instead is made anew.
    waiting(warm, 2)
    assert not {first.name, second.name} & containers(wall, sandbox_home).keys()


def test_what_a_job_wants_changed_is_changed_and_read_back(pool: Open, wall: Wall) -> None:
    warm = pool()
    waiting(warm, 1)
    limits = replace(SMALL, memory_bytes=384 * MIB, cpus=0.5, processes=48, output_bytes=SMALL.output_bytes // 2)
    sandbox = taken(warm, limits).sandbox
    assert sandbox is not None
    found = wall.client.inspect_container(sandbox.name)["HostConfig"]
    wanted = {"Memory": 384 * MIB, "MemorySwap": 384 * MIB, "NanoCpus": 500_000_000, "PidsLimit": 48}
    assert {key: found[key] for key in wanted} == wanted
    assert use(sandbox, limits=limits) is Reason.OK
    erase(sandbox)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (replace(SMALL, disk_bytes=8 * MIB), "disk_bytes is 8,388,608; warm sandboxes have 16,777,216"),
        (replace(SMALL, output_bytes=32 * MIB), "output_bytes is 33,554,432; warm sandboxes can write 16,777,216 into a file"),
    ],
)
def test_what_cannot_be_changed_is_started_cold_and_the_held_one_goes_back_untouched(
    pool: Open, wall: Wall, limits: Limits, reason: str
) -> None:
    warm = pool()
    waiting(warm, 1)
    held = warm.hold(Lane.JOBS)
    assert held is not None
    with warm.offer(job(held, limits)) as offer:
        assert warm.hold(Lane.JOBS) is None  # The row still names it.
    assert (offer.sandbox, offer.reason) == (None, reason)
    waiting(warm, 1)
    again = taken(warm).sandbox
    assert again is not None
    assert again.name == held.name
    assert use(again) is Reason.OK
    erase(again)


def kill(wall: Wall, name: str) -> None:
    wall.client.kill(name)


def restart(wall: Wall, name: str) -> None:
    wall.client.restart(name, timeout=0)


def pause(wall: Wall, name: str) -> None:
    wall.client.pause(name)


def grow(wall: Wall, name: str) -> None:
    """Somebody gives it more than its policy says."""
    wall.client.update_container(name, mem_limit=2 * SMALL.memory_bytes, memswap_limit=2 * SMALL.memory_bytes)


def remove(wall: Wall, name: str) -> None:
    wall.client.remove_container(name, force=True)


@pytest.mark.parametrize("tamper", [kill, restart, pause, grow, remove])
def test_one_that_is_not_as_it_was_is_never_handed_out(
    pool: Open, wall: Wall, sandbox_home: Path, tamper: Callable[[Wall, str], None]
) -> None:
    warm = pool()
    waiting(warm, 1)
    # Held, so that its end cannot be noticed before it is offered.
    held = warm.hold(Lane.JOBS)
    assert held is not None
    tamper(wall, held.name)
    with capture_logs(), warm.offer(job(held)) as offer:
        assert offer.sandbox is None or offer.sandbox.name != held.name
    until(lambda: held.name not in containers(wall, sandbox_home), seconds=READY_SECONDS, what="it is removed")
    until(lambda: not held.scratch.directory.exists(), seconds=READY_SECONDS, what="its files are erased")
    if offer.sandbox is not None:
        erase(offer.sandbox)


def test_one_that_ends_while_it_waits_is_replaced_at_once(pool: Open, wall: Wall, sandbox_home: Path) -> None:
    warm = pool()
    waiting(warm, 1)
    (name,) = containers(wall, sandbox_home)
    wall.client.kill(name)
    until(lambda: name not in containers(wall, sandbox_home), seconds=READY_SECONDS, what="it is removed")
    waiting(warm, 1)
    assert list(containers(wall, sandbox_home).values()) == ["running"]


def test_one_that_is_too_old_is_replaced_and_never_handed_out(pool: Open, wall: Wall, sandbox_home: Path, clock: Clock) -> None:
    warm = pool()
    waiting(warm, 1)
    (name,) = containers(wall, sandbox_home)
    clock.ahead_seconds = warm_pool.AGE_SECONDS
    assert warm.hold(Lane.JOBS) is None
    until(lambda: name not in containers(wall, sandbox_home), seconds=READY_SECONDS, what="the old one is removed")
    waiting(warm, 1)


def test_its_own_deadline_lies_behind_the_age_at_which_it_is_replaced(pool: Open, wall: Wall, sandbox_home: Path) -> None:
    waiting(pool(), 1)
    (name,) = containers(wall, sandbox_home)
    environment = dict(line.split("=", 1) for line in wall.client.inspect_container(name)["Config"]["Env"])
    assert float(environment["FUMEHOOD_WAIT_SECONDS"]) > warm_pool.AGE_SECONDS + 60


def test_it_follows_demand_and_gives_back_when_nobody_asks(pool: Open, wall: Wall, sandbox_home: Path, clock: Clock) -> None:
    warm = pool(at_least=0, at_most=2)
    assert warm.counts()[Lane.JOBS] == 0
    for _ in range(2):
        with warm.offer(job()) as offer:
            pass
        if offer.sandbox is not None:
            erase(offer.sandbox)
    waiting(warm, 2)
    clock.ahead_seconds = 61.0
    warm.poke()
    waiting(warm, 0)
    until(lambda: not containers(wall, sandbox_home), seconds=READY_SECONDS, what="the engine has none")


def test_one_that_is_not_ready_in_time_is_none(pool: Open, wall: Wall, sandbox_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = warm_pool.WarmPool._make
    made = threading.Event()

    def never_ready(self: WarmPool, shelf: Any) -> Any:
        try:
            return original(self, shelf)
        finally:
            made.set()

    monkeypatch.setattr(warm_pool.WarmPool, "_make", never_ready)
    monkeypatch.setattr("worker.container.DockerSandbox.make_ready", lambda self, stop: False)
    with capture_logs() as logs:
        warm = pool()
        assert made.wait(READY_SECONDS)
        until(lambda: not containers(wall, sandbox_home), seconds=READY_SECONDS, what="it is removed")
        assert taken(warm).sandbox is None
    assert any(entry["event"] == "warm sandbox not made" for entry in logs)


OWNER = """
import sys, threading
from pathlib import Path
from fumehood.job import Lane
from fumehood.settings import Settings
from tests.sandboxes import SMALL
from worker.docker_sandbox import DockerHost
from worker.recipe import Recipe
from worker.warm_pool import WarmPool

home, image = Path(sys.argv[1]), sys.argv[2]
host = DockerHost(Settings(home=home, image=image), worker_id="dead")
pool = WarmPool({Lane.JOBS: Recipe(limits=SMALL, at_least=2, at_most=2)}, host=host, home=home, worker="dead", cpus=4,
                idle_seconds=60.0, may_fill=lambda: True)
pool.start()
sys.stdin.read()
"""


def test_those_of_a_worker_that_is_killed_end_by_themselves_and_are_orphans(host: DockerHost, wall: Wall, sandbox_home: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(sandbox_home), host.image], cwd=ROOT, stdin=subprocess.PIPE)
    try:
        # The second begins to run before it is ready: one is killed in the middle of its start as well.
        until(lambda: "running" in containers(wall, sandbox_home).values(), seconds=READY_SECONDS, what="one runs")
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate(timeout=30)
    until(lambda: "running" not in containers(wall, sandbox_home).values(), seconds=10, what="they end with their worker")
    orphans = host.orphans(is_live=lambda worker: worker == "w1")
    assert {worker for _, worker in orphans} == {"dead"}
    for name, _ in orphans:
        host.remove(name)
    left = list(owners(sandbox_home))
    assert {worker for _, worker in left} == {"dead"}
    for directory, _ in left:
        erase_directory(directory, Removed())
