"""Lost tickets, the worker's row, and what was forgotten on disk or in the store."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import structlog.testing

from fumehood.errors import SandboxError, StoreUnavailable
from fumehood.job import Job, Kind, Lane, State
from fumehood.limits import MIB, Limits
from fumehood.outcome import Reason
from fumehood.testing import dataset, erasure, outcome
from tests.services import until
from tests.unit.stores import version_of
from tests.unit.workbench import Bench
from worker.housekeeping import STALLED_SECONDS, Housekeeping
from worker.rounds import Chore, Rounds
from worker.sandbox import StopSignal
from worker.slots import Slots

REAP_SECONDS = 3.0


@dataclass
class House:
    bench: Bench

    def __post_init__(self) -> None:
        self.carried: list[Job] = []
        self.stalled: list[str] = []
        self.may_end = threading.Event()
        self.may_end.set()
        self.now = time.time()
        self.free_bytes = 10**12
        deps = self.bench.deps
        self.slots = Slots(
            {Lane.JOBS: 2, Lane.ERRANDS: 1},
            claim=lambda lane, budget: deps.store.claim(worker=deps.worker, lane=lane, disk_budget_bytes=budget),
            carry=self.carry,
            free_bytes=lambda: self.free_bytes,
            floor_bytes=1,
            monotonic=self.bench.clock,
        )
        self.slots.trust()
        self.keeping = Housekeeping(
            replace(deps, now=lambda: self.now, doubt=self.slots.doubt),
            self.slots,
            self.bench.queue.depth,
            interval_seconds=REAP_SECONDS,
            errand_wait_seconds=30.0,
            facts=lambda: {"host": "here", "image": "sha256:1"},
            stalled=lambda: self.stalled.append("stalled"),
        )

    def carry(self, job: Job, stop: StopSignal) -> None:
        self.carried.append(job)
        assert self.may_end.wait(10)

    def age(self, job: Job, *, seconds: float) -> None:
        """Make the directory of a job's blobs as old as `seconds`."""
        directory = self.bench.home / "blobs" / job.tenant / "jobs" / job.id
        os.utime(directory, (self.now - seconds, self.now - seconds))


@pytest.fixture
def house(bench: Bench) -> House:
    return House(bench)


# the image ----------------------------------------------------------------------------------------------------------------


def test_what_is_in_the_image_is_told_once_it_can_be_looked_at(house: House) -> None:
    deps, host = house.bench.deps, house.bench.host
    house.slots.doubt("not looked yet")
    house.keeping.keep_image()
    assert deps.store.images() == []
    house.slots.trust()
    host.faults["describe_image"] = SandboxError("the engine did not answer")
    with pytest.raises(SandboxError):
        house.keeping.keep_image()
    del host.faults["describe_image"]
    house.keeping.keep_image()
    assert [(image.digest, image.packages) for image in deps.store.images()] == [(host.image, {"pandas": "3.1.1"})]
    house.keeping.keep_image()
    assert host.visits.count("describe_image") == 2


# tickets ------------------------------------------------------------------------------------------------------------------


def test_lost_tickets_are_sent_again_as_many_as_there_are_slots(house: House) -> None:
    for _ in range(5):
        house.bench.submit()
    house.bench.submit(kind=Kind.DESCRIBE)
    house.keeping.send_missing_tickets()
    assert house.bench.queue.depth(Lane.JOBS) == 2
    assert house.bench.queue.depth(Lane.ERRANDS) == 1


def test_tickets_that_wait_already_are_not_doubled(house: House) -> None:
    for _ in range(5):
        house.bench.submit()
    for _ in range(4):
        house.keeping.send_missing_tickets()
    assert house.bench.queue.depth(Lane.JOBS) == 2


def test_no_ticket_is_missed_just_after_a_claim(house: House) -> None:
    house.bench.submit()
    house.slots.ticket(Lane.JOBS)
    house.bench.submit()
    house.keeping.send_missing_tickets()
    assert house.bench.queue.depth(Lane.JOBS) == 0
    house.bench.clock.seconds += 2 * REAP_SECONDS
    house.keeping.send_missing_tickets()
    assert house.bench.queue.depth(Lane.JOBS) == 1


def test_a_worker_that_is_not_ready_asks_for_no_tickets(house: House) -> None:
    house.bench.submit()
    house.slots.doubt("the engine is away")
    house.keeping.send_missing_tickets()
    assert house.bench.queue.depth(Lane.JOBS) == 0


def test_where_redis_takes_no_tickets_the_worker_claims_by_itself(house: House) -> None:
    """As many at once as there are slots, and no more; the rounds go on meanwhile."""
    jobs = [house.bench.submit() for _ in range(3)]
    house.bench.queue.away = True
    house.may_end.clear()
    house.keeping.send_missing_tickets()
    until(lambda: len(house.carried) == 2, seconds=10, what="two jobs run")
    for _ in range(3):
        house.bench.clock.seconds += 2 * REAP_SECONDS
        house.keeping.send_missing_tickets()
    assert [thread.name for thread in threading.enumerate()].count("jobs without ticket") == 2
    assert len(house.carried) == 2
    house.may_end.set()
    assert house.slots.wait_idle(10)
    assert {job.id for job in house.carried} == {job.id for job in jobs}


def test_a_redis_that_answers_but_is_full_stops_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.bench.submit()
    monkeypatch.setattr(house.bench.queue, "send_ticket", lambda lane: False)
    house.keeping.send_missing_tickets()
    until(lambda: len(house.carried) == 1, seconds=10, what="the job runs")
    assert house.slots.wait_idle(10)


def test_a_worker_that_leaves_claims_nothing_without_tickets_either(house: House) -> None:
    house.bench.submit()
    house.bench.queue.away = True
    house.slots.drain()
    house.keeping.send_missing_tickets()
    house.slots.ticket_aside(Lane.JOBS)
    until(lambda: "jobs without ticket" not in [thread.name for thread in threading.enumerate()], seconds=10, what="the thread ends")
    assert house.carried == []


def test_tickets_that_nobody_takes_are_told_after_a_while(house: House) -> None:
    house.bench.submit()
    for _ in range(int(STALLED_SECONDS / REAP_SECONDS)):
        house.keeping.send_missing_tickets()
        house.bench.clock.seconds += REAP_SECONDS
    assert house.stalled == []
    house.bench.clock.seconds += REAP_SECONDS
    house.keeping.send_missing_tickets()
    assert house.stalled == ["stalled"]


def test_tickets_that_are_taken_are_no_stall(house: House) -> None:
    """A job may wait for disk while its tickets come and go."""
    house.bench.submit()
    for _ in range(100):
        house.keeping.send_missing_tickets()
        assert house.bench.queue.take_ticket(Lane.JOBS)
        house.bench.clock.seconds += REAP_SECONDS
    assert house.stalled == []


# the worker's row ---------------------------------------------------------------------------------------------------------


def test_the_row_says_who_is_there_and_why_it_takes_nothing(house: House) -> None:
    house.keeping.beat()
    (row,) = house.bench.store.workers(seen_within_seconds=60)
    assert (row["ready"], row["reason"], row["image"], row["jobs_slots"], row["errands_slots"]) == (True, None, "sha256:1", 2, 1)
    house.bench.deps.telemetry.leftover("scratch")
    house.free_bytes = 0
    house.keeping.beat()
    (row,) = house.bench.store.workers(seen_within_seconds=60)
    assert row["ready"] is False
    assert "disk is nearly full" in row["reason"]
    (reading,) = house.bench.store.read_workers(seen_within_seconds=60)
    assert reading.tally == house.bench.deps.telemetry.tally.document()
    assert [["scratch"], 1.0] in reading.tally["fumehood_leftovers_total"]


def test_a_lane_whose_next_job_never_fits_the_disk_is_told_once_and_goes_on_when_it_fits(house: House) -> None:
    job = house.bench.submit()
    reserved = job.limits.reserved_bytes
    house.free_bytes = reserved
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            house.slots.ticket(Lane.JOBS)
            house.keeping.beat()
    (row,) = house.bench.store.workers(seen_within_seconds=60)
    assert row["ready"] is False
    assert row["reason"] == f"the next job needs {reserved:,} bytes of disk, {reserved - 1:,} are free beyond the floor"
    assert [event["event"] for event in logged if event["log_level"] == "warning"] == ["a lane stands still"]
    assert house.carried == []
    house.bench.submit(kind=Kind.DESCRIBE, limits=Limits(disk_bytes=MIB, output_bytes=MIB))
    house.slots.ticket(Lane.ERRANDS)
    assert len(house.carried) == 1  # the other lane does not stand still
    house.bench.store.give_back(house.carried[0], erasure(house.carried[0]), outcome(Reason.LOST))
    house.free_bytes = reserved + 1
    house.bench.clock.seconds += 2 * REAP_SECONDS
    house.keeping.send_missing_tickets()
    assert house.bench.queue.depth(Lane.JOBS) == 1
    house.slots.ticket(Lane.JOBS)
    assert [each.id for each in house.carried[1:]] == [job.id]
    house.keeping.beat()
    (row,) = house.bench.store.workers(seen_within_seconds=60)
    assert (row["ready"], row["reason"]) == (True, None)


def test_the_engine_is_looked_at_only_while_it_is_doubted(house: House) -> None:
    house.keeping.check_engine()
    assert house.bench.host.visits == []
    house.slots.doubt("the last attempt failed")
    house.bench.host.faults["check"] = SandboxError("the engine has no image with the id sha256:1")
    house.keeping.check_engine()
    assert "no image" in (house.slots.not_ready() or "")
    house.bench.host.faults.clear()
    house.keeping.check_engine()
    assert house.slots.not_ready() is None


def test_workers_that_were_not_seen_for_an_hour_are_forgotten(house: House) -> None:
    house.bench.store.worker_beat("wrk_old", {})
    house.now += 3000
    house.keeping.forget_workers()
    assert len(house.bench.store.workers(seen_within_seconds=1e9)) == 1
    house.now += 1000
    house.keeping.forget_workers()
    assert house.bench.store.workers(seen_within_seconds=1e9) == []


# what was forgotten -------------------------------------------------------------------------------------------------------


def test_blobs_of_a_job_that_is_gone_are_removed_once_they_are_old(house: House) -> None:
    gone, young, kept = (house.bench.submit() for _ in range(3))
    for job in (gone, young):
        house.bench.store.request_cancel(job.tenant, job.id)
        house.bench.store.delete_job(job.tenant, job.id)
    house.age(gone, seconds=4000)
    house.age(kept, seconds=4000)
    house.keeping.sweep_blobs()
    left = {path.name for path in (house.bench.home / "blobs" / house.bench.tenant / "jobs").iterdir()}
    assert left == {young.id, kept.id}


def test_blobs_of_a_dataset_without_a_row_are_removed_once_they_are_old(house: House) -> None:
    """The API died between keeping them and writing the row, or between removing the row and them."""
    bench = house.bench
    kept, gone, young = (dataset(tenant=bench.tenant) for _ in range(3))
    bench.store.add_dataset(kept)
    for each in (kept, gone, young):
        bench.put(each.blob, b"a\n1\n")
    for each in (kept, gone):
        directory = bench.home / "blobs" / bench.tenant / "datasets" / each.id
        os.utime(directory, (house.now - 4000, house.now - 4000))
    house.keeping.sweep_blobs()
    left = {path.name for path in (bench.home / "blobs" / bench.tenant / "datasets").iterdir()}
    assert left == {kept.id, young.id}


def test_blobs_of_a_version_stay_as_long_as_it_does(house: House) -> None:
    """Deleted with its script, whose blobs nobody came to."""
    bench = house.bench
    kept, gone = bench.store.publish(*version_of(tenant=bench.tenant))[0], bench.store.publish(*version_of("old", tenant=bench.tenant))[0]
    for each in (kept, gone):
        bench.put(f"{each.blob_prefix}/script.py", b"x")
        os.utime(bench.home / "blobs" / bench.tenant / "scripts" / each.id, (house.now - 4000, house.now - 4000))
    bench.store.request_cancel(bench.tenant, gone.job)
    bench.store.delete_script(bench.tenant, "old")
    house.keeping.sweep_blobs()
    left = {path.name for path in (bench.home / "blobs" / bench.tenant / "scripts").iterdir()}
    assert left == {kept.id}


def test_what_an_api_left_half_done_is_settled_by_its_row(house: House) -> None:
    bench = house.bench
    job, kept = bench.submit(), dataset(tenant=bench.tenant)
    bench.store.add_dataset(kept)
    version = bench.store.publish(*version_of(tenant=bench.tenant))[0]
    gone = [f"{room}_gone" for room in ("jobs", "datasets", "batches", "scripts")]
    prefixes = [job.blob_prefix, f"datasets/{kept.id}", version.blob_prefix, *(f"{name.removesuffix('_gone')}/{name}" for name in gone)]
    for prefix in prefixes:
        bench.put(f"{prefix}/unfinished", b"x")
        with contextlib.suppress(StoreUnavailable), bench.deps.blobs.unsettled(bench.tenant, prefix):
            raise StoreUnavailable("nobody knows whether the row is there")
    house.keeping.settle_blobs()
    left = {path.name for path in (bench.home / "blobs" / bench.tenant).glob("*/*")}
    assert left == {job.id, kept.id, version.id}
    assert [["blobs"], 4.0] in bench.deps.telemetry.tally.document()["fumehood_leftovers_total"]


def test_the_sweep_of_blobs_is_bounded_and_goes_on_where_it_stopped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.housekeeping.BLOBS_PER_ROUND", 2)
    jobs = [house.bench.submit() for _ in range(5)]
    for job in jobs:
        house.bench.store.request_cancel(job.tenant, job.id)
        house.bench.store.delete_job(job.tenant, job.id)
        house.age(job, seconds=4000)
    directory = house.bench.home / "blobs" / house.bench.tenant / "jobs"
    left = []
    for _ in range(3):
        house.keeping.sweep_blobs()
        left.append(len(list(directory.iterdir())))
    assert left == [3, 1, 0]


def test_errands_that_nobody_waits_for_are_cancelled_and_later_forgotten(house: House) -> None:
    errand, script = house.bench.submit(kind=Kind.DESCRIBE), house.bench.submit()
    house.now += 45
    house.keeping.sweep_errands()
    assert house.bench.row(errand).state is State.QUEUED
    house.now += 45
    house.keeping.sweep_errands()
    assert house.bench.row(errand).state is State.CANCELLED
    house.now += 500
    house.keeping.sweep_errands()
    assert house.bench.row(errand).state is State.CANCELLED
    house.bench.events.publish(errand.id, "log", {"text": "nobody's"})
    house.now += 200
    house.keeping.sweep_errands()
    assert house.bench.told(errand) == []
    assert [job.id for job in house.bench.store.errands()] == []
    assert not (house.bench.home / "blobs" / errand.tenant / "jobs" / errand.id).exists()
    assert house.bench.row(script).state is State.QUEUED


def test_unfinished_uploads_of_dead_processes_are_removed(house: House) -> None:
    incoming = house.bench.blobs.incoming()
    (house.bench.home / "incoming" / "left").write_bytes(b"half")
    house.keeping.sweep_uploads()
    assert [path.name for path in (house.bench.home / "incoming").iterdir()] == [incoming.path.name]
    incoming.close()


# rounds -------------------------------------------------------------------------------------------------------------------


def fails(calls: list[str]) -> Callable[[], None]:
    def do() -> None:
        calls.append("fails")
        raise SandboxError("the container engine could not list the sandboxes")

    return do


def test_a_chore_that_fails_does_not_stop_the_others_and_is_logged_once(bench: Bench) -> None:
    calls: list[str] = []
    chores = [Chore("first", fails(calls)), Chore("second", lambda: calls.append("second"))]
    rounds = Rounds(chores, interval_seconds=1, pulse=lambda: calls.append("pulse"), monotonic=bench.clock)
    with structlog.testing.capture_logs() as logged:
        rounds.once()
        rounds.once()
    assert [event["event"] for event in logged] == ["chore failed"]
    assert calls == ["fails", "pulse", "second", "pulse"] * 2


def test_a_chore_is_done_no_more_often_than_it_should(bench: Bench) -> None:
    calls: list[str] = []
    rounds = Rounds(
        [Chore("rare", lambda: calls.append("rare"), every_seconds=60)], interval_seconds=1, pulse=lambda: None, monotonic=bench.clock
    )
    for _ in range(13):
        rounds.once()
        bench.clock.seconds += 10
    assert len(calls) == 3


def test_rounds_go_on_in_a_thread_until_they_are_stopped() -> None:
    done = threading.Semaphore(0)
    rounds = Rounds([Chore("count", done.release)], interval_seconds=0.001, pulse=lambda: None)
    rounds.start()
    for _ in range(3):
        assert done.acquire(timeout=10)
    assert rounds.stop(10)
    assert not rounds.alive
