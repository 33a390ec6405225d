"""Admission: tickets, slots, the disk budget, doubts, and leaving."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import pytest
import structlog.testing

from fumehood.job import Job, Lane
from fumehood.limits import MIB, Limits
from fumehood.testing import job
from tests.services import until
from tests.unit.workbench import Clock, in_thread
from worker.sandbox import Stop, StopSignal
from worker.slots import Slots

SMALL = Limits(disk_bytes=1 * MIB, output_bytes=1 * MIB)  # reserves 5 MiB
WAIT_SECONDS = 10.0


class Queue:
    """Jobs that wait, jobs that are carried until they are let go, and jobs that were carried."""

    def __init__(self, *, count: int = 0, sizes: dict[Lane, int] | None = None, free_bytes: int = 100 * MIB, floor_bytes: int = 0) -> None:
        self.waiting = deque(job(limits=SMALL) for _ in range(count))
        self.carried: list[str] = []
        self.budgets: list[int] = []
        self.stops: list[StopSignal] = []
        self.changed = threading.Condition()
        self.holding = False
        self.before_none: Callable[[], None] = lambda: None
        self.free_bytes = free_bytes
        self.clock = Clock()
        self.slots = Slots(
            sizes or {Lane.JOBS: 2, Lane.ERRANDS: 1},
            claim=self.claim,
            carry=self.carry,
            free_bytes=lambda: self.free_bytes,
            floor_bytes=floor_bytes,
            monotonic=self.clock,
        )
        self.slots.trust()

    def claim(self, lane: Lane, disk_budget_bytes: int) -> Job | None:
        with self.changed:
            self.budgets.append(disk_budget_bytes)
            if self.waiting and self.waiting[0].reserved_bytes <= disk_budget_bytes:
                return self.waiting.popleft()
        self.before_none()
        return None

    def carry(self, claimed: Job, stop: StopSignal) -> None:
        with self.changed:
            self.carried.append(claimed.id)
            self.stops.append(stop)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: not self.holding or stop.reason is not None, WAIT_SECONDS)

    def wait_for_carried(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.carried) >= count, WAIT_SECONDS)

    def let_go(self) -> None:
        with self.changed:
            self.holding = False
            self.changed.notify_all()


def test_one_ticket_brings_a_slot_through_all_that_waits() -> None:
    queue = Queue(count=5)
    assert queue.slots.ticket(Lane.JOBS)
    assert len(queue.carried) == 5
    assert queue.slots.free(Lane.JOBS) == 2


def test_a_ticket_without_work_is_dropped() -> None:
    queue = Queue()
    assert queue.slots.ticket(Lane.JOBS)
    assert queue.carried == []
    assert queue.slots.free(Lane.JOBS) == 2


def test_no_more_jobs_run_than_there_are_slots_and_no_ticket_waits() -> None:
    queue = Queue(count=3)
    queue.holding = True
    threads = [in_thread(lambda: queue.slots.ticket(Lane.JOBS)) for _ in range(2)]
    queue.wait_for_carried(2)
    assert queue.slots.ticket(Lane.JOBS)  # returns at once although both slots are busy
    assert len(queue.carried) == 2
    queue.let_go()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert len(queue.carried) == 3


def test_a_ticket_that_comes_between_the_last_look_and_the_letting_go_is_not_lost() -> None:
    """The slot has just been told that there is nothing; then a job and its ticket come; the slot must look once more."""
    queue = Queue(sizes={Lane.JOBS: 1})

    def submit_in_the_gap() -> None:
        queue.before_none = lambda: None
        queue.waiting.append(job(limits=SMALL))
        assert queue.slots.ticket(Lane.JOBS)

    queue.before_none = submit_in_the_gap
    queue.slots.ticket(Lane.JOBS)
    assert len(queue.carried) == 1


def test_lanes_have_slots_of_their_own() -> None:
    queue = Queue(count=2, sizes={Lane.JOBS: 1, Lane.ERRANDS: 1})
    queue.holding = True
    thread = in_thread(lambda: queue.slots.ticket(Lane.JOBS))
    queue.wait_for_carried(1)
    errand = in_thread(lambda: queue.slots.ticket(Lane.ERRANDS))
    queue.wait_for_carried(2)
    assert (queue.slots.free(Lane.JOBS), queue.slots.free(Lane.ERRANDS)) == (0, 0)
    queue.let_go()
    thread.join(WAIT_SECONDS)
    errand.join(WAIT_SECONDS)


def test_the_floor_is_no_part_of_the_disk_budget() -> None:
    queue = Queue(free_bytes=100 * MIB, floor_bytes=20 * MIB)
    queue.slots.ticket(Lane.JOBS)
    assert queue.budgets == [80 * MIB]


@pytest.mark.parametrize("free_bytes", [0, 20 * MIB])
def test_below_the_floor_nothing_is_claimed_and_the_reason_is_said(free_bytes: int) -> None:
    queue = Queue(count=1, free_bytes=free_bytes, floor_bytes=20 * MIB)
    queue.slots.ticket(Lane.JOBS)
    assert queue.budgets == []
    assert "disk is nearly full" in (queue.slots.not_ready() or "")
    queue.free_bytes = 100 * MIB
    assert queue.slots.not_ready() is None
    queue.slots.ticket(Lane.JOBS)
    assert len(queue.carried) == 1


def test_a_doubt_stops_the_claims_until_it_is_cleared() -> None:
    queue = Queue(count=2)
    queue.slots.doubt("the engine is away")
    queue.slots.ticket(Lane.JOBS)
    assert queue.carried == []
    assert queue.slots.not_ready() == "the engine is away"
    queue.slots.trust()
    queue.slots.ticket(Lane.JOBS)
    assert len(queue.carried) == 2


def test_a_new_worker_claims_nothing_before_its_engine_was_checked() -> None:
    slots = Slots({Lane.JOBS: 1}, claim=lambda *_: pytest.fail("claimed"), carry=lambda *_: None, free_bytes=lambda: 1, floor_bytes=0)
    assert slots.ticket(Lane.JOBS)
    assert slots.not_ready() == "not checked yet"


def test_a_claim_that_fails_frees_its_slot() -> None:
    queue = Queue(count=1)

    def store_is_away(*_: object) -> Job:
        raise RuntimeError("the database does not answer")

    queue.slots._claim = store_is_away
    assert queue.slots.ticket(Lane.JOBS)
    assert queue.slots.free(Lane.JOBS) == 2


def test_a_bug_in_the_journey_frees_its_slot() -> None:
    queue = Queue(count=1)

    def is_wrong(*_: object) -> None:
        raise RuntimeError("a bug")

    queue.slots._carry = is_wrong
    with pytest.raises(RuntimeError, match="a bug"):
        queue.slots.ticket(Lane.JOBS)
    assert queue.slots.free(Lane.JOBS) == 2
    assert queue.slots.running() == []


def test_a_bug_in_the_journey_is_logged_where_nobody_waits_for_it() -> None:
    queue = Queue(count=1)

    def is_wrong(*_: object) -> None:
        raise RuntimeError("a bug")

    queue.slots._carry = is_wrong
    with structlog.testing.capture_logs() as logged:
        queue.slots.ticket_aside(Lane.JOBS)
        until(lambda: [event["event"] for event in logged] == ["ready", "slot failed"], seconds=WAIT_SECONDS, what="the failure is logged")
    assert queue.slots.free(Lane.JOBS) == 2


def test_a_worker_that_leaves_claims_nothing_more_and_says_so() -> None:
    queue = Queue(count=3, sizes={Lane.JOBS: 1})
    queue.holding = True
    thread = in_thread(lambda: queue.slots.ticket(Lane.JOBS))
    queue.wait_for_carried(1)
    queue.slots.drain()
    assert not queue.slots.ticket(Lane.JOBS)
    assert not queue.slots.wait_idle(0)
    queue.let_go()
    assert queue.slots.wait_idle(WAIT_SECONDS)
    thread.join(WAIT_SECONDS)
    assert len(queue.carried) == 1


def test_stopping_reaches_what_runs_and_what_is_just_being_claimed() -> None:
    queue = Queue(count=2, sizes={Lane.JOBS: 2})
    queue.holding = True
    first = in_thread(lambda: queue.slots.ticket(Lane.JOBS))
    queue.wait_for_carried(1)
    queue.slots.stop_all(Stop.SHUTDOWN)
    queue.slots.ticket(Lane.JOBS)  # was under way when everything was told to stop
    first.join(WAIT_SECONDS)
    assert [stop.reason for stop in queue.stops] == [Stop.SHUTDOWN, Stop.SHUTDOWN]


def test_how_long_a_lane_claimed_nothing_is_known() -> None:
    queue = Queue(count=1)
    assert queue.slots.idle_seconds(Lane.JOBS) == float("inf")
    queue.slots.ticket(Lane.JOBS)
    queue.clock.seconds += 7
    assert queue.slots.idle_seconds(Lane.JOBS) == 7
