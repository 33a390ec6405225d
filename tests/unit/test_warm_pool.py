"""The warm pool over a host without an engine: who gets a sandbox, who does not, and how many wait."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fumehood.errors import LeaseLost, SandboxError
from fumehood.job import Job, Kind, Lane
from fumehood.limits import GIB, MIB, Limits
from fumehood.settings import Settings
from tests.services import until
from worker import stock, warm_pool
from worker.recipe import Recipe, errand_limits
from worker.scratch import owners
from worker.shelf import Offer
from worker.testing import FakeSandbox, FakeSandboxHost
from worker.warm_pool import WarmPool

WORKER = "wrk_test"
SECONDS = 5.0
Make = Callable[..., WarmPool]


@pytest.fixture
def host() -> FakeSandboxHost:
    return FakeSandboxHost(worker=WORKER)


@pytest.fixture
def make(host: FakeSandboxHost, tmp_path: Path) -> Iterator[Make]:
    """A started pool of 1 to 3; at the end of the test nothing that waited is left."""
    pools: list[WarmPool] = []

    def made(
        *, at_least: int = 1, at_most: int = 3, cpus: int = 2, idle_seconds: float = 60.0, may_fill: Callable[[], bool] = lambda: True
    ) -> WarmPool:
        recipe = Recipe(limits=Limits(), at_least=at_least, at_most=at_most)
        pool = WarmPool(
            {Lane.JOBS: recipe, Lane.ERRANDS: replace(recipe, at_least=0)},
            host=host,
            home=tmp_path,
            worker=WORKER,
            cpus=cpus,
            idle_seconds=idle_seconds,
            may_fill=may_fill,
        )
        pool.start()
        pools.append(pool)
        return pool

    yield made
    for pool in pools:
        for sandbox in list(pool.held()):
            pool.put_back(sandbox)
        assert pool.close()
    assert host.containers == {}
    assert list(owners(tmp_path)) == []


def waiting(pool: WarmPool, count: int) -> None:
    until(lambda: pool.counts()[Lane.JOBS] == count, seconds=SECONDS, what=f"{count} sandboxes wait")


def held(pool: WarmPool) -> FakeSandbox:
    sandbox = until(lambda: pool.hold(Lane.JOBS), seconds=SECONDS, what="a sandbox to hold")
    assert isinstance(sandbox, FakeSandbox)
    return sandbox


def job(sandbox: FakeSandbox | None = None, **changes: object) -> Job:
    return Job(id="job_1", tenant="ten_1", sandbox=sandbox.name if sandbox else None, **changes)  # type: ignore[arg-type]


def use(offer: Offer) -> None:
    """What the journey does at the end."""
    assert offer.sandbox is not None
    offer.sandbox.destroy()
    offer.sandbox.scratch.erase()


def test_what_was_held_for_a_job_is_its_own_and_another_is_prepared(make: Make, host: FakeSandboxHost) -> None:
    pool = make()
    sandbox = held(pool)
    with pool.offer(job(sandbox)) as offer:
        assert (offer.sandbox, offer.reason) == (sandbox, None)
    waiting(pool, 1)
    assert sandbox.name in host.containers, "the pool leaves it to its job"
    use(offer)
    assert pool.hold(Lane.JOBS) is not sandbox


def test_a_sandbox_gets_the_limits_of_its_job(make: Make) -> None:
    pool = make()
    limits = Limits(memory_bytes=1 * GIB, cpus=0.5, processes=32, output_bytes=600 * MIB)
    with pool.offer(job(held(pool), limits=limits)) as offer:
        pass
    assert isinstance(offer.sandbox, FakeSandbox)
    assert offer.sandbox.limits == limits
    use(offer)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(disk_bytes=16 * MIB), "disk_bytes is 16,777,216; warm sandboxes have 536,870,912"),
        (Limits(output_bytes=2 * GIB), "output_bytes is 2,147,483,648; warm sandboxes can write 1,073,741,824 into a file"),
    ],
)
def test_what_cannot_be_changed_starts_cold_and_what_was_held_waits_on(make: Make, limits: Limits, told: str) -> None:
    pool = make()
    sandbox = held(pool)
    with pool.offer(job(sandbox, limits=limits)) as offer:
        assert offer == Offer(None, told)
        assert pool.hold(Lane.JOBS) is not sandbox, "as long as the row names it, it is nobody else's"
    until(lambda: held(pool) is sandbox, seconds=SECONDS, what="it waits for another job")


def test_where_the_row_cannot_name_another_sandbox_the_one_that_it_names_is_thrown_away(make: Make, host: FakeSandboxHost) -> None:
    pool = make()
    sandbox = held(pool)
    with pytest.raises(LeaseLost), pool.offer(job(sandbox, limits=Limits(disk_bytes=16 * MIB))):
        raise LeaseLost("the job is not ours any more")
    until(lambda: sandbox.name not in host.containers, seconds=SECONDS, what="its container is removed")


def test_held_and_not_claimed_goes_back_or_is_thrown_away(make: Make, host: FakeSandboxHost) -> None:
    pool = make()
    sandbox = held(pool)
    pool.put_back(sandbox)
    assert held(pool) is sandbox
    pool.discard(sandbox)
    until(lambda: sandbox.name not in host.containers, seconds=SECONDS, what="its container is removed")


def test_one_that_ended_while_it_waited_is_replaced(make: Make, host: FakeSandboxHost) -> None:
    pool = make()
    waiting(pool, 1)
    first = host.made[0]
    first.end()
    until(lambda: first.name not in host.containers, seconds=SECONDS, what="it is removed")
    assert held(pool) is not first


def test_one_that_is_not_as_it_was_is_not_used(make: Make, host: FakeSandboxHost) -> None:
    """The close look (`fit`) fails where the quick one saw nothing."""
    pool = make(at_most=1)
    sandbox = held(pool)
    del host.containers[sandbox.name]
    with pool.offer(job(sandbox)) as offer:
        assert offer.sandbox is not sandbox
    # The one that takes its place may be ready already, or get ready while the job asks.
    if offer.sandbox is not None:
        use(offer)
    else:
        assert offer.reason is not None


def test_an_engine_that_can_change_no_limit_does_not_spoil_one_after_the_other(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(self: FakeSandbox, limits: Limits) -> None:
        tried.append(self.name)
        raise SandboxError("the engine did not update it")

    monkeypatch.setattr(FakeSandbox, "fit", refuse)
    pool = make(at_least=warm_pool.FITS_MAX + 1, at_most=warm_pool.FITS_MAX + 1)
    waiting(pool, warm_pool.FITS_MAX + 1)
    with capture_logs(), pool.offer(job(held(pool))) as offer:
        assert (offer.sandbox, offer.reason) == (None, "no warm sandbox could be given the limits of the job")
    assert len(tried) == len(set(tried)) == warm_pool.FITS_MAX


def test_one_that_is_too_old_is_replaced(make: Make, host: FakeSandboxHost, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make()
    waiting(pool, 1)
    first = host.made[0]
    monkeypatch.setattr(stock, "AGE_SECONDS", 0.0)
    assert pool.hold(Lane.JOBS) is None
    monkeypatch.undo()
    assert held(pool) is not first


def test_two_never_get_the_same(make: Make) -> None:
    pool = make(at_least=3)
    waiting(pool, 3)
    taken: list[object] = []
    threads = [threading.Thread(target=lambda: taken.append(pool.hold(Lane.JOBS))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len({id(sandbox) for sandbox in taken if sandbox is not None}) == len([sandbox for sandbox in taken if sandbox is not None])


def test_it_follows_demand_to_the_ceiling_and_back(make: Make) -> None:
    pool = make(at_most=2, idle_seconds=0.3)
    for _ in range(4):
        with pool.offer(job(held(pool))) as offer:
            pass
        if offer.sandbox is not None:
            use(offer)
    waiting(pool, 2)
    waiting(pool, 1)


def test_nothing_is_prepared_beside_a_job_while_others_wait(make: Make, host: FakeSandboxHost) -> None:
    pool = make(at_least=2)
    waiting(pool, 2)
    with pool.running():
        with pool.offer(job(held(pool))) as offer:
            pass
        assert len(host.made) == 2
        use(offer)
    waiting(pool, 2)


def test_nothing_is_prepared_where_every_processor_has_a_job(make: Make, host: FakeSandboxHost) -> None:
    pool = make(cpus=1)
    waiting(pool, 1)
    with pool.running():
        with pool.offer(job(held(pool))) as first:
            pass
        with pool.offer(job()) as second:
            assert second == Offer(None, "no warm sandbox was ready")
        assert len(host.made) == 1
        use(first)


def test_nothing_is_prepared_beside_a_job_while_another_is_about_to_run(make: Make, host: FakeSandboxHost) -> None:
    looks: list[int] = []
    pool = make(at_least=2, may_fill=lambda: bool(looks.append(1)) or True)
    waiting(pool, 2)
    first, second = held(pool), held(pool)
    with pool.running():
        with pool.offer(job(first)) as offer:
            pass
        seen = len(looks)
        pool.poke()
        until(lambda: len(looks) > seen + 1 or pool.poke(), seconds=SECONDS, what="the pool has looked")
        assert len(host.made) == 2
        use(offer)
    pool.put_back(second)
    waiting(pool, 2)


def test_nothing_is_prepared_while_the_worker_takes_no_work(make: Make, host: FakeSandboxHost) -> None:
    may_fill = threading.Event()
    pool = make(may_fill=may_fill.is_set)
    pool.poke()
    assert pool.hold(Lane.JOBS) is None
    assert host.made == []
    may_fill.set()
    pool.poke()
    waiting(pool, 1)


def test_one_that_was_held_for_a_job_which_never_asked_for_it_is_thrown_away(make: Make, host: FakeSandboxHost) -> None:
    pool = make()
    sandbox = held(pool)
    pool.settle(job(sandbox))
    assert list(pool.held()) == []
    until(lambda: sandbox.name not in host.containers, seconds=SECONDS, what="it is removed")


def test_what_a_job_took_is_not_the_pools_any_more(make: Make, host: FakeSandboxHost) -> None:
    pool = make()
    sandbox = held(pool)
    with pool.offer(job(sandbox)) as offer:
        pass
    pool.settle(job(sandbox))
    assert sandbox.name in host.containers
    use(offer)


def test_one_that_cannot_be_looked_at_is_used_by_nobody(make: Make, host: FakeSandboxHost, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(at_most=1)
    sandbox = held(pool)
    monkeypatch.setattr(sandbox, "fit", lambda limits: {}["no such answer"])
    with capture_logs(), pool.offer(job(sandbox)) as offer:
        assert offer.sandbox is not sandbox
    until(lambda: sandbox.name not in host.containers, seconds=SECONDS, what="it is removed")
    if offer.sandbox is not None:
        use(offer)


def test_one_that_cannot_be_removed_at_once_is_removed_later_with_its_files(
    make: Make, host: FakeSandboxHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock, "BACKOFF_SECONDS", 0.05)
    pool = make(at_most=1)
    sandbox = held(pool)
    host.faults["destroy"] = SandboxError("the engine is away")
    with capture_logs():
        pool.discard(sandbox)
        until(lambda: "destroy" in host.visits, seconds=SECONDS, what="it was tried")
        assert sandbox.scratch.directory.exists()
        host.faults.clear()
        until(lambda: not sandbox.scratch.directory.exists(), seconds=SECONDS, what="it is removed")
    assert sandbox.name not in host.containers


@pytest.mark.parametrize("call", ["prepare", "make_ready"])
def test_a_failure_leaves_nothing_and_is_not_tried_in_a_loop(make: Make, host: FakeSandboxHost, tmp_path: Path, call: str) -> None:
    host.faults[call] = SandboxError("the engine is away")
    pool = make()
    until(lambda: call in host.visits and not host.containers, seconds=SECONDS, what="it was tried")
    pool.poke()
    assert pool.hold(Lane.JOBS) is None
    assert host.visits.count(call) == 1
    until(lambda: list(owners(tmp_path)) == [], seconds=SECONDS, what="its directory is gone")
    host.faults.clear()
    waiting(pool, 1)


def test_a_job_waits_for_one_that_is_being_prepared(make: Make, host: FakeSandboxHost) -> None:
    """It began before another could; and the record says that it was not ready."""
    began, go_on = threading.Event(), threading.Event()

    def linger(_name: str) -> None:
        began.set()
        go_on.wait(SECONDS)

    host.on_prepare = linger
    pool = make()
    assert began.wait(SECONDS)
    offers: list[Offer] = []

    def take() -> None:
        with pool.offer(job()) as offer:
            offers.append(offer)

    thread = threading.Thread(target=take)
    thread.start()
    # Made any sooner, it would just have been ready.
    until(lambda: pool._stock.shelves[Lane.JOBS].takers == 1, seconds=SECONDS, what="the job waits")
    go_on.set()
    thread.join(SECONDS)
    (offer,) = offers
    assert offer.reason == "no warm sandbox was ready; one was being prepared"
    use(offer)


def test_errands_have_their_own(make: Make, host: FakeSandboxHost) -> None:
    pool = make()
    waiting(pool, 1)
    assert pool.hold(Lane.ERRANDS) is None
    with pool.offer(job(kind=Kind.DESCRIBE)) as offer:
        assert offer.sandbox is None
    until(lambda: pool.counts()[Lane.ERRANDS] == 1, seconds=SECONDS, what="the next upload finds one")


def test_every_errand_fits(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    recipe = Recipe(limits=errand_limits(settings), at_least=0, at_most=1)
    from api.errands import describe_limits, profile_limits

    assert recipe.unfit(profile_limits(settings)) is None
    for format, size_bytes in (("csv", 1), ("arrow", 4 * GIB)):
        assert recipe.unfit(describe_limits(settings, format=format, size_bytes=size_bytes)) is None


def test_after_the_end_nothing_is_handed_out(make: Make) -> None:
    pool = make(at_least=2)
    sandbox = held(pool)
    waiting(pool, 1)
    assert pool.close()
    assert pool.hold(Lane.JOBS) is None
    pool.put_back(sandbox)  # A claim that was just under way.


def test_operations_explain_every_reason_for_a_cold_start() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    _, _, table = page.partition("| `start_reason` |")
    told = set(re.findall(r"^\| `([^`]+)` \|", table.partition("\n\n")[0], re.MULTILINE))
    said = set(re.findall(r'"(no warm sandbox[^"]*)"', inspect.getsource(warm_pool)))
    small = Recipe(limits=replace(Limits(), disk_bytes=MIB, output_bytes=MIB), at_least=0, at_most=0)
    said |= {
        re.sub(r"[\d,]*\d", "…", small.unfit(limits) or "").removesuffix(" into a file")
        for limits in (Limits(), replace(Limits(), disk_bytes=MIB))
    }
    assert told == said
