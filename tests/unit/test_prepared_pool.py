"""Shelves of the warm pool for one kind of job only: who gets what waits there, and how many wait of which."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fumehood.errors import SandboxError
from fumehood.job import Job, Lane
from fumehood.limits import GIB, Limits
from tests.services import until
from worker import stock, warm_pool
from worker.recipe import Recipe
from worker.sandbox import Sandbox, StopSignal
from worker.scratch import owners
from worker.shelf import Offer, Shelf, shares
from worker.testing import FakeSandbox, FakeSandboxHost
from worker.warm_pool import WarmPool

WORKER = "wrk_test"
SECONDS = 5.0


@dataclass(kw_only=True)
class Own:
    """What the sandboxes of one key are made with; remembers what became of them."""

    key: str
    limits: Limits = field(default_factory=Limits)
    at_least: int = 0
    at_most: int = 4
    idle_cpu_seconds: float | None = 1.0
    owner: str | None = "ten_1"
    fault: Exception | None = None
    furnished: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def unfit(self, limits: Limits) -> str | None:
        return None if limits == self.limits else "other limits"

    def furnish(self, sandbox: Sandbox, stop: StopSignal) -> None:
        if self.fault is not None:
            raise self.fault
        self.furnished.append(sandbox.name)

    def gone(self, sandbox: Sandbox, *, cpu_seconds: float) -> None:
        self.over.append(sandbox.name)
        self.cpu_seconds += cpu_seconds


class Recipes:
    """By the label `key` of a job."""

    def __init__(self) -> None:
        self.made: dict[str, Own] = {}

    def of(self, job: Job) -> tuple[str, Own] | None:
        key = job.labels.get("key")
        return None if key is None else (key, self.made.setdefault(key, Own(key=key)))


@pytest.fixture
def host() -> FakeSandboxHost:
    return FakeSandboxHost(worker=WORKER)


@pytest.fixture
def recipes() -> Recipes:
    return Recipes()


Make = Callable[..., WarmPool]


@pytest.fixture
def make(host: FakeSandboxHost, recipes: Recipes, tmp_path: Path) -> Iterator[Make]:
    """A started pool; at its end nothing that waited is left, and each that was furnished is known to be gone or was handed out."""
    pools: list[WarmPool] = []

    def made(*, room: int = 2, cpus: int = 4, idle_seconds: float = 60.0, at_least: int = 0, disk_bytes: int = 1 << 60) -> WarmPool:
        pool = WarmPool(
            {Lane.JOBS: Recipe(limits=Limits(), at_least=at_least, at_most=at_least)},
            host=host,
            home=tmp_path,
            worker=WORKER,
            cpus=cpus,
            idle_seconds=idle_seconds,
            may_fill=lambda: True,
            recipe_of=recipes.of,
            room=room,
            has_room=lambda size: size <= disk_bytes,
        )
        pool.start()
        pools.append(pool)
        return pool

    yield made
    for pool in pools:
        assert pool.close()
        assert pool.names() == set()
    assert host.containers == {}
    assert list(owners(tmp_path)) == []


def job(key: str | None = "a", sandbox: Sandbox | None = None, **changes: object) -> Job:
    labels = {} if key is None else {"key": key}
    return Job(id="job_1", tenant="ten_1", labels=labels, sandbox=sandbox.name if sandbox else None, **changes)  # type: ignore[arg-type]


def call(pool: WarmPool, key: str | None = "a", **changes: object) -> Offer:
    """One call, served and destroyed."""
    with pool.offer(job(key, **changes)) as offer:
        pass
    if offer.sandbox is not None:
        offer.sandbox.destroy()
        offer.sandbox.scratch.erase()
    return offer


def waiting(pool: WarmPool, count: int) -> None:
    until(lambda: pool.prepared() == count, seconds=SECONDS, what=f"{count} sandboxes wait prepared")


def test_the_call_after_the_first_finds_one_and_uses_it_up(make: Make, recipes: Recipes) -> None:
    pool = make()
    assert not call(pool).prepared
    waiting(pool, 1)
    second = call(pool)
    assert (second.prepared, second.reason) == (True, None)
    assert isinstance(second.sandbox, FakeSandbox)
    assert recipes.made["a"].furnished[0] == second.sandbox.name
    waiting(pool, 2)
    third = call(pool)
    assert third.sandbox is not second.sandbox
    assert recipes.made["a"].over == [], "what is handed out is its job's to take away"
    assert recipes.made["a"].cpu_seconds == 0, "and counts for it"


def test_nobody_else_gets_it(make: Make) -> None:
    pool = make()
    call(pool)
    waiting(pool, 1)
    assert not call(pool, key="b").prepared
    assert not call(pool, key=None).prepared
    assert call(pool).prepared


def test_what_was_held_for_its_claim_waits_on(make: Make, host: FakeSandboxHost) -> None:
    pool = make(at_least=1)
    until(lambda: pool.counts()[Lane.JOBS] == 1, seconds=SECONDS, what="one for any job")
    call(pool)
    waiting(pool, 1)
    sandbox = until(lambda: pool.hold(Lane.JOBS), seconds=SECONDS, what="one to hold")
    assert call(pool, sandbox=sandbox).prepared
    until(lambda: pool.hold(Lane.JOBS) is sandbox, seconds=SECONDS, what="it waits for another job")
    pool.put_back(sandbox)


def test_one_that_works_while_nobody_called_is_thrown_away(
    make: Make, host: FakeSandboxHost, recipes: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make()
    call(pool)
    waiting(pool, 1)
    (busy,) = [sandbox for sandbox in host.made if sandbox.name in recipes.made["a"].furnished]
    busy.used_cpu_seconds += 1.5
    monkeypatch.setattr(stock, "LOOK_SECONDS", 0.0)
    pool.poke()
    until(lambda: recipes.made["a"].over[:1] == [busy.name], seconds=SECONDS, what="it is gone, and known to be")
    assert recipes.made["a"].cpu_seconds == 2.0, "what it used, and nobody asked for, is told"


def test_one_that_cannot_be_furnished_is_gone_and_tried_again_later(make: Make, host: FakeSandboxHost, recipes: Recipes) -> None:
    recipes.made["a"] = Own(key="a", fault=SandboxError("the script could not be opened"))
    pool = make()
    with capture_logs():
        call(pool)
        until(lambda: recipes.made["a"].over, seconds=SECONDS, what="it is gone, and known to be")
    recipes.made["a"].fault = None
    waiting(pool, 1)


def test_those_of_others_go_on_while_one_fails(make: Make, recipes: Recipes) -> None:
    recipes.made["bad"] = Own(key="bad", fault=SandboxError("the script could not be opened"))
    pool = make()
    with capture_logs():
        call(pool, key="bad")
        call(pool, key="good")
        waiting(pool, 1)
    assert call(pool, key="good").prepared


def test_they_go_when_nobody_has_called_for_long(make: Make, recipes: Recipes) -> None:
    pool = make(idle_seconds=0.3)
    call(pool)
    until(lambda: recipes.made["a"].furnished, seconds=SECONDS, what="one is prepared")
    until(lambda: recipes.made["a"].over == recipes.made["a"].furnished, seconds=SECONDS, what="all are gone")
    waiting(pool, 0)


def test_what_is_dropped_by_name_goes(make: Make, recipes: Recipes) -> None:
    pool = make()
    call(pool)
    waiting(pool, 1)
    assert pool.names() >= set(recipes.made["a"].furnished)
    pool.drop(set(recipes.made["a"].furnished))
    until(lambda: recipes.made["a"].over, seconds=SECONDS, what="it is gone")
    pool.poke()
    assert len(recipes.made["a"].furnished) == 1, "no other is made in its place"


def test_without_room_none_is_made(make: Make, recipes: Recipes) -> None:
    pool = make(room=0)
    call(pool)
    assert not call(pool).prepared
    assert recipes.made == {}


def test_a_preparation_that_is_closed_over_leaves_nothing(make: Make, recipes: Recipes) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Own):
        def furnish(self, sandbox: Sandbox, stop: StopSignal) -> None:
            begun.set()
            assert go_on.wait(SECONDS)
            super().furnish(sandbox, stop)

    recipes.made["a"] = Slow(key="a")
    pool = make()
    call(pool)
    assert begun.wait(SECONDS)
    closing = threading.Thread(target=pool.close)
    closing.start()
    go_on.set()
    closing.join(SECONDS)
    until(lambda: recipes.made["a"].over == recipes.made["a"].furnished != [], seconds=SECONDS, what="it is gone, and known to be")


class Slow(Own):
    """Is being furnished until it is let go on, or stopped."""

    def __init__(self, key: str, **more: object) -> None:
        super().__init__(key=key, **more)  # type: ignore[arg-type]
        self.begun, self.go_on = threading.Event(), threading.Event()

    def furnish(self, sandbox: Sandbox, stop: StopSignal) -> None:
        super().furnish(sandbox, stop)
        self.begun.set()
        stop.on_set(self.go_on.set)
        assert self.go_on.wait(SECONDS)
        if stop.reason is not None:
            raise SandboxError("stopped")


def test_what_is_being_furnished_is_dropped_at_once(make: Make, recipes: Recipes) -> None:
    slow = recipes.made["a"] = Slow("a")
    pool = make()
    call(pool)
    assert slow.begun.wait(SECONDS)
    with capture_logs():
        pool.drop(set(slow.furnished))
        until(lambda: slow.over == slow.furnished, seconds=SECONDS, what="it is gone, and known to be")
    pool.poke()
    assert len(slow.furnished) == 1, "no other is made in its place"


def test_what_is_being_furnished_takes_its_place_and_holds_up_no_others(make: Make, recipes: Recipes) -> None:
    slow = [recipes.made.setdefault(key, Slow(key, owner=key)) for key in ("a", "b")]
    pool = make(room=2, cpus=2, at_least=1)
    for each in slow:
        call(pool, key=each.key)
    for each in slow:
        assert isinstance(each, Slow)
        assert each.begun.wait(SECONDS)
    until(lambda: pool.counts()[Lane.JOBS] == 1, seconds=SECONDS, what="one for any job is made meanwhile")
    call(pool, key="c")
    pool.poke()
    assert recipes.made["c"].furnished == [], "there is no room beside the two"
    for each in slow:
        assert isinstance(each, Slow)
        each.go_on.set()


def test_none_is_made_where_the_disk_has_no_room_for_what_it_may_write(make: Make, recipes: Recipes) -> None:
    one = Limits().reserved_bytes
    pool = make(disk_bytes=2 * one - 1)
    call(pool, key="a")
    waiting(pool, 1)
    assert pool.reserved_bytes() == one
    call(pool, key="b")
    pool.poke()
    assert recipes.made["b"].furnished == []


def test_one_that_ends_soon_lets_its_shelf_rest(make: Make, host: FakeSandboxHost, recipes: Recipes) -> None:
    pool = make()
    call(pool)
    waiting(pool, 1)
    (first,) = [sandbox for sandbox in host.made if sandbox.name in recipes.made["a"].furnished]
    first.end()
    until(lambda: recipes.made["a"].over == [first.name], seconds=SECONDS, what="it is gone")
    pool.poke()
    assert recipes.made["a"].furnished == [first.name], "another would not last longer"
    waiting(pool, 1)


def test_where_the_waiting_one_is_no_good_the_call_does_not_wait_for_the_next(
    make: Make, host: FakeSandboxHost, recipes: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make()
    call(pool)
    waiting(pool, 1)
    monkeypatch.setattr(FakeSandbox, "fit", lambda self, limits: {}["altered"])
    with capture_logs():
        assert call(pool) == Offer(None, "no warm sandbox was ready")


def test_with_other_limits_its_shelf_begins_anew(make: Make, recipes: Recipes) -> None:
    pool = make()
    call(pool)
    waiting(pool, 1)
    old = recipes.made["a"]
    recipes.made["a"] = Own(key="a", limits=Limits(memory_bytes=1 * GIB))
    assert not call(pool, limits=Limits(memory_bytes=1 * GIB)).prepared
    until(lambda: old.over == old.furnished, seconds=SECONDS, what="what was made for the others is gone")
    waiting(pool, 1)
    assert call(pool, limits=Limits(memory_bytes=1 * GIB)).prepared


def test_what_was_begun_for_other_limits_is_thrown_away_when_it_is_ready(make: Make, recipes: Recipes) -> None:
    class Deaf(Own):
        """Is furnished all the same, however often it is told to stop."""

        def furnish(self, sandbox: Sandbox, stop: StopSignal) -> None:
            begun.set()
            assert go_on.wait(SECONDS)
            super().furnish(sandbox, stop)

    begun, go_on = threading.Event(), threading.Event()
    pool = make()
    old = recipes.made["a"] = Deaf(key="a")
    call(pool)
    assert begun.wait(SECONDS)
    recipes.made["a"] = Own(key="a", limits=Limits(memory_bytes=1 * GIB))
    call(pool, limits=Limits(memory_bytes=1 * GIB))
    go_on.set()
    until(lambda: len(old.furnished) == 1 and old.over == old.furnished, seconds=SECONDS, what="it is gone")
    waiting(pool, 1)
    assert pool.reserved_bytes() == Limits().reserved_bytes


def test_they_give_way_at_once_and_come_back_when_they_are_asked_for(make: Make, recipes: Recipes) -> None:
    pool = make()
    for key in ("a", "b"):
        call(pool, key=key)
    waiting(pool, 2)
    pool.make_room()
    assert (pool.reserved_bytes(), pool.prepared()) == (0, 0)
    assert all(each.over == each.furnished for each in recipes.made.values())
    pool.poke()
    call(pool, key="a")
    waiting(pool, 1)


def test_a_call_that_is_over_soon_has_the_processors_for_itself(make: Make, recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_pool, "PATIENCE_SECONDS", 3600.0)
    pool = make(room=1)
    call(pool)
    waiting(pool, 1)
    with pool.running():
        assert call(pool).prepared
        pool.poke()
        assert (pool.prepared(), pool.reserved_bytes()) == (0, 0), "none is made beside it"
    waiting(pool, 1)
    monkeypatch.setattr(warm_pool, "PATIENCE_SECONDS", 0.05)
    with pool.running():
        assert call(pool).prepared
        waiting(pool, 1)


def test_what_cannot_be_removed_is_told_at_the_end(host: FakeSandboxHost, recipes: Recipes, tmp_path: Path) -> None:
    pool = WarmPool(
        {Lane.JOBS: Recipe(limits=Limits(), at_least=0, at_most=0)}, host=host, home=tmp_path, worker=WORKER, cpus=4,
        idle_seconds=60.0, may_fill=lambda: True, recipe_of=recipes.of, room=2,
    )  # fmt: skip
    pool.start()
    call(pool)
    waiting(pool, 1)
    host.faults["destroy"] = SandboxError("the engine is away")
    with capture_logs():
        assert pool.close() is False
    assert pool.names() == set(recipes.made["a"].furnished)
    host.made[-1].scratch.erase()


def shelf(*asked_at: float, at_most: int = 4, owner: str = "ten_1", there: int = 0) -> Shelf:
    made = Shelf(Own(key="any", at_most=at_most, owner=owner), preparing=there)
    made.asked_at.extend(asked_at)
    return made


def test_the_room_is_shared_among_those_that_were_asked_for_last() -> None:
    old, new, newest = shelf(1.0, 2.0, 3.0), shelf(4.0), shelf(5.0, 6.0, 7.0)
    everybody = [old, new, newest]
    assert shares(everybody, 0) == {old: 0, new: 0, newest: 0}
    assert shares(everybody, 2) == {old: 0, new: 1, newest: 1}
    assert shares(everybody, 4) == {old: 1, new: 1, newest: 2}
    assert shares(everybody, 99) == {old: 3, new: 1, newest: 3}
    assert shares([], 3) == {}


def test_what_is_there_is_not_thrown_away_for_who_asks_next() -> None:
    """Three that are called in turn, and room for two: two of them find theirs each time."""
    first, second, third = shelf(1.0, there=1), shelf(2.0, there=1), shelf(3.0)
    assert shares([first, second, third], 2) == {first: 1, second: 1, third: 0}


def test_no_owner_has_a_second_before_each_has_one() -> None:
    mine, also_mine, theirs = shelf(1.0, there=1), shelf(3.0, there=1), shelf(2.0, owner="ten_2")
    assert shares([mine, also_mine, theirs], 2) == {mine: 0, also_mine: 1, theirs: 1}
