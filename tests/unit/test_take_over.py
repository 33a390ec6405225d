"""Worker and reaper, every interleaving of them: a model of one job, two workers that may freeze anywhere, and a reaper.

The steps are those of `worker.journey` and `worker.reaper`, cut at every call to the store, the engine and the file system; a
worker that is frozen is one whose next step comes late. All states that can be reached are visited (some thousand), and in each
two sentences must hold: what is final stays as it is, and of what is final nothing exists that could run or hold a tenant's bytes.
What the model takes from the world: the engine refuses a container whose mounts have no source, at its creation and at its start
(tests/docker/test_docker_sandbox.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

ATTEMPTS_MAX = 2
WORKERS = (0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    state: str = "queued"
    fence: int = 0
    attempt: int = 0
    named: int | None = None
    """The worker whose sandbox and scratch the row names: each has one of each, named after it and its fence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    step: str = "claim"
    fence: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    row: Row = Row()
    workers: tuple[Worker, ...] = (Worker(), Worker())
    reaper: tuple[str, Row] | None = None
    """Its next step, and the row as it saw it."""
    directories: frozenset[tuple[int, int]] = frozenset()
    """(worker, fence) of attempts that have a directory; what follows likewise."""
    inputs: frozenset[tuple[int, int]] = frozenset()
    made: frozenset[tuple[int, int]] = frozenset()
    running: frozenset[tuple[int, int]] = frozenset()
    ended: tuple[Row, ...] = ()
    """Every final row that was ever written."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How it is built; each field taken the other way is a bug that must be found."""

    finish_checks_fence: bool = True
    erase_before_finish: bool = True
    reaper_erases_scratch_first: bool = True
    reaper_erases: bool = True
    mounts_need_their_source: bool = True
    claim_raises_fence: bool = True
    named_before_laid: bool = True
    steps: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = ("name", "lay") if self.named_before_laid else ("lay", "name")
        end = ("remove", "erase", "finish") if self.erase_before_finish else ("finish", "remove", "erase")
        object.__setattr__(self, "steps", ("claim", "make", *named, "create", "start", "run", *end, "claim"))

    def after(self, step: str) -> str:
        return self.steps[self.steps.index(step) + 1]


def final(row: Row) -> bool:
    return row.state in ("succeeded", "lost")


def end(world: World, row: Row) -> World:
    return replace(world, row=row, ended=(*world.ended, row))


def worker_steps(world: World, number: int, rules: Rules) -> Iterator[World]:
    """What worker `number` may do next: the step, or the same step when it fails and the attempt is tidied up."""
    worker, row = world.workers[number], world.row
    mine = (number, worker.fence)

    def goes_to(step: str, changed: World, **values: int) -> World:
        workers = list(changed.workers)
        workers[number] = replace(worker, step=step, **values)
        return replace(changed, workers=tuple(workers))

    leased = row.state == "running" and row.fence == worker.fence
    following = rules.after(worker.step)
    match worker.step:
        case "claim":
            if row.state == "queued":
                fence = row.fence + 1 if rules.claim_raises_fence else row.fence
                claimed = replace(row, state="running", fence=fence, attempt=row.attempt + 1, named=None)
                yield goes_to(following, replace(world, row=claimed), fence=fence)
        case "name":
            if leased:
                yield goes_to(following, replace(world, row=replace(row, named=number)))
            else:
                yield goes_to("remove", world)
        case "make":
            yield goes_to(following, replace(world, directories=world.directories | {mine}))
        case "lay":
            if mine in world.directories:
                yield goes_to(following, replace(world, inputs=world.inputs | {mine}))
            else:
                yield goes_to("remove", world)
        case "create" | "start" | "run":
            there = mine in world.directories or not rules.mounts_need_their_source
            if worker.step == "create" and there:
                yield goes_to(following, replace(world, made=world.made | {mine}))
            elif worker.step == "start" and there and mine in world.made:
                yield goes_to(following, replace(world, running=world.running | {mine}))
            elif worker.step == "run" and mine in world.running:
                yield goes_to(following, world)
            else:
                yield goes_to("remove", world)
        case "remove":
            yield goes_to(following, replace(world, made=world.made - {mine}, running=world.running - {mine}))
        case "erase":
            yield goes_to(following, replace(world, directories=world.directories - {mine}, inputs=world.inputs - {mine}))
        case "finish":
            if leased or (not rules.finish_checks_fence and row.state != "queued"):
                yield goes_to(following, end(world, replace(row, state="succeeded")))
            else:
                yield goes_to(following, world)


def reaper_steps(world: World, rules: Rules) -> Iterator[World]:
    if world.reaper is None:
        if world.row.state == "running":
            yield replace(world, reaper=("first", world.row))
        return
    step, seen = world.reaper
    theirs = (seen.named, seen.fence)
    without_scratch = {"directories": world.directories - {theirs}, "inputs": world.inputs - {theirs}} if rules.reaper_erases else {}
    without_container = {"made": world.made - {theirs}, "running": world.running - {theirs}} if rules.reaper_erases else {}
    one, other = (without_scratch, without_container) if rules.reaper_erases_scratch_first else (without_container, without_scratch)
    match step:
        case "first":
            yield replace(world, reaper=("second", seen), **one)
        case "second":
            yield replace(world, reaper=("give back", seen), **other)
        case "give back":
            row, done = world.row, replace(world, reaper=None)
            if row.state != "running" or row.fence != seen.fence or row.named != seen.named:
                yield done  # a beat for every call of its worker: the row is not as it was seen
            elif row.attempt >= ATTEMPTS_MAX:
                yield end(done, replace(row, state="lost"))
            else:
                yield replace(done, row=replace(row, state="queued", fence=row.fence + int(rules.claim_raises_fence), named=None))


def explore(rules: Rules, *, holds: Callable[[World], str | None]) -> tuple[int, str | None]:
    """The number of states, and the first sentence that does not hold with the way there."""
    first = World()
    came_from: dict[World, World | None] = {first: None}
    waiting = deque([first])
    while waiting:
        world = waiting.popleft()
        broken = holds(world)
        if broken is not None:
            return len(came_from), f"{broken}\n{_way(world, came_from)}"
        following = [each for number in WORKERS for each in worker_steps(world, number, rules)]
        for each in (*following, *reaper_steps(world, rules)):
            if each not in came_from:
                came_from[each] = world
                waiting.append(each)
    return len(came_from), None


def judge(world: World) -> str | None:
    if len(world.ended) > 1:
        return "it ended twice"
    if not final(world.row):
        return "its end was taken back" if world.ended else None
    if world.running:
        return f"it is final, and {sorted(world.running)} run"
    if world.inputs:
        return f"it is final, and the inputs of {sorted(world.inputs)} are there"
    return None


def _way(world: World, came_from: dict[World, World | None]) -> str:
    way = [world]
    while (before := came_from[way[-1]]) is not None:
        way.append(before)
    return "\n".join(str(each) for each in reversed(way))


def test_what_is_final_stays_and_nothing_of_it_exists() -> None:
    states, broken = explore(Rules(), holds=judge)
    assert broken is None, broken
    assert states > 1_000


def test_every_job_can_end_from_every_state() -> None:
    """Nothing is lost: whatever has happened, there is a way to an end."""
    rules = Rules()
    after: dict[World, list[World]] = {}
    waiting = [World()]
    while waiting:
        world = waiting.pop()
        if world not in after:
            following = [each for number in WORKERS for each in worker_steps(world, number, rules)]
            after[world] = [*following, *reaper_steps(world, rules)]
            waiting += after[world]
    can_end = {world for world in after if final(world.row)}
    while grown := {world for world in after.keys() - can_end if any(each in can_end for each in after[world])}:
        can_end |= grown
    assert can_end == after.keys()


@pytest.mark.parametrize(
    ("bug", "sentence"),
    [
        ({"finish_checks_fence": False}, "it is final, and"),
        ({"erase_before_finish": False}, "it is final, and"),
        ({"reaper_erases": False}, "it is final, and"),
        ({"reaper_erases_scratch_first": False}, "it is final, and"),
        ({"mounts_need_their_source": False}, "run"),
        ({"claim_raises_fence": False}, "it is final, and"),
        ({"named_before_laid": False}, "it is final, and the inputs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_rule_is_needed(bug: dict[str, bool], sentence: str) -> None:
    _, broken = explore(Rules(**bug), holds=judge)
    assert broken is not None
    assert sentence in broken.splitlines()[0]
