"""What a warm start adds to the controls, each taken away: then an attack on a sandbox that waited succeeds.

What a sandbox is made with is the same as for a cold one (test_mutations.py). New are: limits that are changed while it waits,
the second look before it is handed out, that it leaves the shelf for good, and that those that wait have user ids of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from structlog.testing import capture_logs

from fumehood.errors import SandboxError
from fumehood.job import Job, Lane, new_id
from fumehood.outcome import Reason
from fumehood.settings import Settings
from tests.hostile.corpus import ATTACKS, READY_SECONDS, WARM, Ground, open_pool, take
from tests.hostile.test_hostile import GOOD
from tests.sandboxes import SMALL, run_script
from tests.services import until
from worker import docker_sandbox, isolation
from worker.container import DockerSandbox
from worker.docker_engine import DockerEngine
from worker.docker_sandbox import DockerHost
from worker.sandbox import Stop, StopSignal
from worker.shelf import Shelf, Waiting
from worker.stock import Stock
from worker.warm_pool import WarmPool

QUOTAS = (Path(__file__).parent / "leavings" / "quotas.py").read_text()
HOLD = QUOTAS + "\ndef azureml_main():\n    leave()\n    assert look()\n    print('held')\n    signal.pause()\n"
LOOK = QUOTAS + "\ndef azureml_main():\n    assert not look(), look()\n    return __import__('pandas').DataFrame({'a': [1]})\n"


@pytest.fixture
def host(ground: Ground) -> Iterator[DockerHost]:
    """A host of the test's own, so that no weaker sandbox gets into the pool that others use."""
    with contextlib.closing(DockerHost(Settings(home=ground.home, image=ground.host.image), worker_id="mutant")) as host:
        yield host


@contextlib.contextmanager
def pool_of(host: DockerHost, ground: Ground, *, size: int = 1) -> Iterator[WarmPool]:
    pool = open_pool(host, ground.home, size=size)
    try:
        yield pool
    finally:
        assert pool.close(), "the pool left something"


@pytest.mark.parametrize(("name", "ends"), [("memory_bomb", Reason.OK), ("many_processes", Reason.SCRIPT_ERROR)])
def test_without_the_update_the_limits_of_the_pool_hold_instead_of_the_jobs(
    name: str, ends: Reason, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "changeable", lambda limits, host: {})
    ran = ground.run(ATTACKS[name], "warm")
    assert ran.outcome.reason is ends, ran.outcome


def test_without_the_lowered_size_the_files_of_the_pool_can_be_written(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    original = DockerSandbox._go
    monkeypatch.setattr(DockerSandbox, "_go", lambda self, limits: original(self, WARM))
    ran = ground.run(ATTACKS["beyond_the_limit"], "warm")
    assert ran.outcome.reason is Reason.SCRIPT_ERROR, ran.outcome


def test_an_update_that_the_engine_does_not_carry_out_is_seen(host: DockerHost, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DockerEngine, "update", lambda self, name, resources: None)
    with pool_of(host, ground) as pool:
        held = until(lambda: pool.hold(Lane.JOBS), seconds=READY_SECONDS, what="a warm sandbox")
        with capture_logs(), pool.offer(job(held.name)) as offer:
            assert offer.sandbox is None
    # And if nobody looked: the bomb of a job with 256 MB goes off.
    monkeypatch.setattr(DockerSandbox, "fit", lambda self, limits: None)
    assert ground.run(ATTACKS["memory_bomb"], "warm").outcome.reason is Reason.OK


def test_without_the_second_look_one_that_was_paused_is_handed_out(
    host: DockerHost, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool_of(host, ground) as pool:
        for looks in (True, False):
            if not looks:
                monkeypatch.setattr(DockerSandbox, "fit", lambda self, limits: None)
            held = until(lambda: pool.hold(Lane.JOBS), seconds=READY_SECONDS, what="a warm sandbox")
            ground.client.pause(held.name)
            with capture_logs(), pool.offer(job(held.name)) as offer:
                assert (offer.sandbox is held) is not looks
            if offer.sandbox is not None:
                offer.sandbox.destroy()
                offer.sandbox.scratch.erase()


def test_a_sandbox_that_has_run_is_none_to_hand_out(host: DockerHost, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once only, by two controls: it leaves the shelf when it is taken, and the second look refuses what has run."""
    with pool_of(host, ground) as pool:
        first = take(pool)
        assert run_script(host, ground.home, GOOD, ready=first).outcome.reason is Reason.OK
        assert not first.waits
        with pytest.raises(SandboxError):
            first.fit(SMALL)
        assert take_and_leave(pool, monkeypatch, host, ground) is True


def take_and_leave(pool: WarmPool, monkeypatch: pytest.MonkeyPatch, host: DockerHost, ground: Ground) -> bool:
    """A pool that forgets to take what it hands out off its shelf: whether two tenants then get the same sandbox."""

    def peek(self: Stock, shelf: Shelf) -> Waiting | None:
        return shelf.waiting[0] if shelf.waiting else None

    until(lambda: pool.counts()[Lane.JOBS], seconds=READY_SECONDS, what="a warm sandbox")
    with monkeypatch.context() as weaker:
        weaker.setattr(Stock, "take", peek)
        one, other = take(pool), take(pool)
    return one is other


@pytest.mark.parametrize("own", [True, False])
def test_those_that_wait_need_user_ids_of_their_own(own: bool, host: DockerHost, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel counts watches and the pages of pipes per user: a neighbour of the same would be without."""
    if not own:

        class Shared:
            number = 4_000_200

            def release(self) -> None:
                pass

        monkeypatch.setattr(docker_sandbox, "take_uid", lambda home, first, count: Shared())
    held, stop = Event(), StopSignal()
    with pool_of(host, ground, size=2) as pool, ThreadPoolExecutor(1) as threads:
        sandboxes = take(pool), take(pool)
        holder = threads.submit(run_script, host, ground.home, HOLD, stop=stop, ready=sandboxes[0], on_log=lambda count: held.set())
        assert held.wait(READY_SECONDS)
        neighbour = run_script(host, ground.home, LOOK, ready=sandboxes[1])
        stop.set(Stop.CANCELLED)
        assert holder.result(timeout=60).outcome.reason is Reason.CANCELLED
    assert neighbour.outcome.reason is (Reason.OK if own else Reason.SCRIPT_ERROR), neighbour.outcome


def job(sandbox: str) -> Job:
    return Job(id=new_id("job"), tenant=new_id("ten"), limits=SMALL, sandbox=sandbox)
