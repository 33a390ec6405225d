"""Holding one running job: beats, cancels, and knowing when to let go."""

from __future__ import annotations

import threading

import pytest

from fumehood.errors import LeaseLost, StoreUnavailable
from fumehood.job import Job
from fumehood.job_store import Lease as Renewed
from fumehood.testing import job
from tests.unit.workbench import Clock
from worker.lease import Lease
from worker.sandbox import Stop, StopSignal


class Store:
    """Answers each renewal with the next of `answers`, the last one for ever."""

    def __init__(self, *answers: Renewed | Exception) -> None:
        self.answers = list(answers)
        self.renewed = 0
        self.changed = threading.Condition()

    def renew(self, job: Job) -> Renewed:
        with self.changed:
            self.renewed += 1
            self.changed.notify_all()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


HELD, CANCEL = Renewed(cancel_requested=False), Renewed(cancel_requested=True)
AWAY = StoreUnavailable("the database does not answer")


def lease(store: Store, stop: StopSignal, clock: Clock, *, held_seconds: float = 100.0) -> Lease:
    return Lease(store, job(), stop, beat_seconds=1.0, lease_seconds=10.0, held_seconds=held_seconds, monotonic=clock)


def beats(held: Lease, clock: Clock, *, most: int = 1000) -> int:
    """How many beats are held, a second apart, before the lease lets go."""
    for count in range(most):
        clock.seconds += 1.0
        if not held.beat():
            return count
    return most


def test_a_lease_is_renewed_by_a_thread_until_it_is_left() -> None:
    store = Store(HELD)
    with Lease(store, job(), StopSignal(), beat_seconds=0.001, lease_seconds=10.0, held_seconds=100.0), store.changed:
        assert store.changed.wait_for(lambda: store.renewed >= 3, timeout=10)
    assert "lease" not in " ".join(thread.name for thread in threading.enumerate())


def test_a_cancel_stops_the_sandbox_and_the_lease_is_held_on() -> None:
    """Killing and erasing take a moment, in which nobody else may take the job over."""
    stop, clock = StopSignal(), Clock()
    assert beats(lease(Store(HELD, CANCEL), stop, clock), clock, most=20) == 20
    assert stop.reason is Stop.CANCELLED


def test_a_lost_lease_stops_the_sandbox() -> None:
    stop, clock = StopSignal(), Clock()
    assert beats(lease(Store(HELD, HELD, LeaseLost("taken")), stop, clock), clock) == 2
    assert stop.reason is Stop.LEASE_LOST


@pytest.mark.parametrize("error", [AWAY, RuntimeError("a bug")])
def test_a_store_that_is_silent_for_a_whole_lease_stops_the_sandbox_before_others_may_start_the_job(error: Exception) -> None:
    stop, clock = StopSignal(), Clock()
    silent_beats = beats(lease(Store(error), stop, clock), clock) + 1
    assert stop.reason is Stop.LEASE_LOST
    assert silent_beats < 10


def test_a_store_that_comes_back_in_time_is_forgiven() -> None:
    stop, clock = StopSignal(), Clock()
    answers = ([AWAY] * 7 + [HELD]) * 5 + [LeaseLost("the end of this test")]
    assert beats(lease(Store(*answers), stop, clock), clock) == 40


def test_an_attempt_that_is_stuck_is_not_held_for_ever() -> None:
    store, stop, clock = Store(HELD), StopSignal(), Clock()
    assert beats(lease(store, stop, clock, held_seconds=30.0), clock) == 29
    assert store.renewed == 29
    assert stop.reason is Stop.LEASE_LOST


def test_the_first_reason_to_stop_stays() -> None:
    stop, clock = StopSignal(), Clock()
    beats(lease(Store(CANCEL, LeaseLost("taken")), stop, clock), clock)
    assert stop.reason is Stop.CANCELLED
