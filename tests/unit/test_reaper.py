"""What dead workers and expired leases leave behind is erased, and only then handed back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from fumehood.errors import SandboxError, StoreUnavailable
from fumehood.job import Job, Lane, State
from fumehood.outcome import Reason
from fumehood.receipt import document, verify
from tests.unit.workbench import KEY, Bench, fail_first_rmdir
from worker.reaper import Reaper
from worker.registration import Registration
from worker.sandbox import Container
from worker.scratch import Scratch, erase_directory
from worker.testing import succeeds

REAP_SECONDS = 3.0


@dataclass
class Yard:
    """A home with one living worker, whose reaper is under test, and others that may die."""

    bench: Bench
    registration: Registration

    def __post_init__(self) -> None:
        self.reaper = Reaper(self.bench.deps, self.registration, interval_seconds=REAP_SECONDS)
        self.others: list[Registration] = []

    def other(self) -> Registration:
        self.others.append(Registration(self.bench.home))
        return self.others[-1]

    def dies(self, worker: Registration) -> None:
        """As the kernel does it: the lock goes, the file stays."""
        worker._path.rename(kept := worker._path.with_suffix(".kept"))
        worker.leave()
        kept.rename(worker._path)

    def started(self, worker: str, **overrides: object) -> Job:
        """A job that `worker` runs: claimed and named, with a container and a scratch directory."""
        self.bench.submit(**overrides)  # type: ignore[arg-type]
        job = self.bench.store.claim(worker=worker, lane=Lane.JOBS, disk_budget_bytes=2**60)
        assert job is not None
        scratch = Scratch.create(self.bench.home, worker=worker)
        name = self.bench.host.name_of(scratch)
        job = self.bench.store.name_sandbox(job, sandbox=name, scratch=scratch.name)
        self.bench.host.containers[name] = worker
        (scratch.inside / "request.json").write_text("{}")
        scratch._close()
        return job

    def files(self, job: Job) -> int:
        """How many files its attempt has on this machine; some, always."""
        count = sum(path.is_file() for path in (self.bench.home / "scratch" / str(job.scratch)).rglob("*"))
        assert count > 5
        return count

    def published(self, job: Job) -> dict[str, bytes]:
        return self.bench.published(job)


@pytest.fixture
def yard(bench: Bench) -> Iterator[Yard]:
    bench.home.joinpath("workers").mkdir(mode=0o700)
    registration = Registration(bench.home)
    bench.deps = replace(bench.deps, worker=registration.worker)
    yard = Yard(bench, registration)
    yield yard
    for worker in (*yard.others, registration):
        worker.leave()


def rounds(yard: Yard, *, seconds: float, beat: Job | None = None) -> None:
    """Rounds of the reaper over `seconds`; `beat` is renewed meanwhile."""
    for _ in range(int(seconds / REAP_SECONDS)):
        yard.bench.clock.seconds += REAP_SECONDS
        if beat is not None:
            yard.bench.store.renew(beat)
        yard.reaper.take_expired_leases()


# dead workers -------------------------------------------------------------------------------------------------------------


def test_a_dead_workers_job_is_erased_and_handed_back_at_once(yard: Yard) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.dies(other)
    files = yard.files(job)
    yard.reaper.bury_dead_workers()
    row = yard.bench.row(job)
    assert (row.state, row.attempt, row.fence) == (State.QUEUED, 1, 2)
    assert row.erasure is not None
    assert row.erasure.container == job.sandbox
    assert row.erasure.container_id == yard.bench.host.known(str(job.sandbox)).id
    assert row.erasure.files == files
    assert yard.bench.host.containers == {}
    assert yard.bench.scratch() == []
    assert yard.bench.queue.depth(Lane.JOBS) == 1
    assert not other._path.exists()


def test_what_a_sweep_finds_is_counted_and_said_with_job_and_tenant(yard: Yard) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    counted = yard.bench.deps.telemetry.tally.document
    yard.reaper.bury_dead_workers()
    assert counted()["fumehood_leftovers_total"] == [[["container"], 0.0], [["scratch"], 0.0], [["blobs"], 0.0]]
    yard.dies(other)
    with structlog.testing.capture_logs() as logged:
        yard.reaper.bury_dead_workers()
    assert counted()["fumehood_leftovers_total"] == [[["container"], 1.0], [["scratch"], 1.0], [["blobs"], 0.0]]
    assert counted()["fumehood_handed_back_total"] == [[["script", "lost", "service"], 1.0]]
    assert [(event["job"], event["tenant"]) for event in logged if "job" in event] == [(job.id, job.tenant)]


def test_a_living_workers_job_is_left_alone(yard: Yard) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.reaper.bury_dead_workers()
    assert yard.bench.row(job) == job
    assert len(yard.bench.scratch()) == 1
    assert len(yard.bench.host.containers) == 1
    assert other._path.exists()


def test_a_dead_workers_last_attempt_ends_as_lost(yard: Yard) -> None:
    other = yard.other()
    job = yard.started(other.worker, attempts_max=1)
    yard.dies(other)
    yard.reaper.bury_dead_workers()
    row = yard.bench.row(job)
    assert row.state is State.FAILED
    assert row.outcome is not None
    assert row.outcome.reason is Reason.LOST
    assert row.erasure is not None
    assert yard.bench.told(job) == [("state", {"state": "failed", "reason": "lost"}), ("end", {"state": "failed", "reason": "lost"})]


def test_a_dead_workers_job_whose_cancel_was_asked_for_ends_as_cancelled(yard: Yard) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.bench.store.request_cancel(job.tenant, job.id)
    yard.dies(other)
    yard.reaper.bury_dead_workers()
    assert yard.bench.row(job).state is State.CANCELLED


def test_what_a_dead_attempt_published_is_taken_away(yard: Yard) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.bench.put(job.output_blob("result"), b"half")
    yard.dies(other)
    yard.reaper.bury_dead_workers()
    assert yard.published(job) == {}


@pytest.mark.parametrize("call", ["orphans", "remove"])
def test_while_the_engine_is_away_nothing_is_handed_back(yard: Yard, call: str) -> None:
    other = yard.other()
    job = yard.started(other.worker, attempts_max=1)
    yard.dies(other)
    yard.bench.host.faults[call] = SandboxError("the container engine could not list the sandboxes")
    with pytest.raises(SandboxError):
        yard.reaper.bury_dead_workers()
    assert yard.bench.row(job) == job
    assert other._path.exists()
    yard.bench.host.faults.clear()
    yard.reaper.bury_dead_workers()
    assert yard.bench.row(job).state is State.FAILED


def test_one_job_that_cannot_be_handed_back_does_not_hold_up_the_others(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    other = yard.other()
    jobs = [yard.started(other.worker) for _ in range(3)]
    yard.dies(other)
    give_back = yard.bench.store.give_back

    def refuse_the_first(job: Job, *rest: object, **more: object) -> Job:
        if job.id == jobs[0].id:
            raise StoreUnavailable("the database does not answer")
        return give_back(job, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(yard.bench.store, "give_back", refuse_the_first)
    with pytest.raises(StoreUnavailable):
        yard.reaper.bury_dead_workers()
    assert [yard.bench.row(job).state for job in jobs] == [State.RUNNING, State.QUEUED, State.QUEUED]
    monkeypatch.undo()
    yard.reaper.bury_dead_workers()
    assert yard.bench.row(jobs[0]).state is State.QUEUED


def test_two_reapers_bury_a_worker_once(yard: Yard) -> None:
    dead, second = yard.other(), yard.other()
    yard.dies(dead)
    with yard.registration.dead() as mine, second.dead() as theirs:
        assert mine == {dead.worker}
        assert theirs == frozenset()
        assert second.is_live(dead.worker)  # somebody is at it
        assert not yard.registration.is_live(dead.worker)


# orphans ------------------------------------------------------------------------------------------------------------------


def test_containers_and_scratch_of_nobody_are_removed(yard: Yard) -> None:
    yard.bench.host.containers["fumehood-orphan"] = "wrk_unknown"
    Scratch.create(yard.bench.home, worker="wrk_unknown")._close()
    nameless = yard.bench.home / "scratch" / "half"
    nameless.mkdir()
    mine = Scratch.create(yard.bench.home, worker=yard.registration.worker)
    yard.reaper.bury_dead_workers()
    assert yard.bench.host.containers == {}
    assert yard.bench.scratch() == [mine.name]
    mine.erase()


def refuses(call: Callable[..., Any], *refused: object, after: Callable[[], None] = lambda: None) -> Callable[..., Any]:
    """`call`, but for some of its first arguments a failure, after a while."""

    def asked(given: object, *more: object) -> Any:
        if given in refused:
            after()
            raise SandboxError("it would not go")
        return call(given, *more)

    return asked


def test_a_container_that_cannot_be_removed_stops_neither_the_other_orphans_nor_the_other_jobs(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, third = yard.other(), yard.other()
    held, free, elsewhere = yard.started(other.worker), yard.started(other.worker), yard.started(third.worker)
    yard.dies(other)
    yard.dies(third)
    monkeypatch.setattr(yard.bench.host, "remove", refuses(yard.bench.host.remove, held.sandbox))
    with pytest.raises(SandboxError, match="would not go"):
        yard.reaper.bury_dead_workers()
    assert list(yard.bench.host.containers) == [held.sandbox]
    assert yard.bench.scratch() == [held.scratch]  # it may still be written to
    assert [yard.bench.row(job).state for job in (held, free, elsewhere)] == [State.RUNNING, State.QUEUED, State.QUEUED]
    monkeypatch.undo()
    yard.reaper.bury_dead_workers()
    assert yard.bench.row(held).state is State.QUEUED
    assert yard.bench.scratch() == []
    assert not other._path.exists()


def test_containers_that_cannot_be_removed_hold_up_a_round_only_so_long_and_come_last(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, host = yard.bench.clock, yard.bench.host
    stuck = [f"fumehood-stuck-{number}" for number in range(5)]
    host.containers.update(dict.fromkeys([*stuck, "fumehood-last"], "wrk_unknown"))
    seconds = yard.bench.deps.engine_seconds
    monkeypatch.setattr(host, "remove", refuses(host.remove, *stuck, after=lambda: clock.pause(0.6 * seconds)))
    for _ in range(3):
        began = clock.seconds
        with pytest.raises(SandboxError):
            yard.reaper.bury_dead_workers()
        assert clock.seconds - began <= 2 * seconds
    assert list(host.containers) == stuck


def test_a_directory_that_cannot_be_removed_stops_nobody(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    other = yard.other()
    jobs = [yard.started(other.worker) for _ in range(3)]
    yard.dies(other)
    held = yard.bench.home / "scratch" / str(jobs[0].scratch)
    monkeypatch.setattr("worker.reaper.erase_directory", refuses(erase_directory, held))
    with pytest.raises(SandboxError, match="would not go"):
        yard.reaper.bury_dead_workers()
    assert yard.bench.scratch() == [held.name]
    assert [yard.bench.row(job).state for job in jobs] == [State.RUNNING, State.QUEUED, State.QUEUED]


def test_a_directory_of_another_user_is_nobodys_and_stops_nobody(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.dies(other)
    foreign = yard.bench.home / "scratch" / "0-left-by-another-user"
    (foreign / "out").mkdir(parents=True)
    read_text = Path.read_text

    def may_not(path: Path) -> str:
        if path.parent == foreign:
            raise PermissionError(13, "Permission denied")
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", may_not)
    monkeypatch.setattr("worker.reaper.erase_directory", refuses(erase_directory, foreign))
    with pytest.raises(SandboxError, match="would not go"):
        yard.reaper.bury_dead_workers()
    assert yard.bench.row(job).state is State.QUEUED
    assert yard.bench.scratch() == [foreign.name]


# the receipt --------------------------------------------------------------------------------------------------------------


def test_the_receipt_names_no_container_where_there_was_none(yard: Yard) -> None:
    """The worker died between naming it and making it."""
    other = yard.other()
    job = yard.started(other.worker)
    yard.bench.host.forget(str(job.sandbox))
    yard.dies(other)
    yard.reaper.bury_dead_workers()
    receipt = yard.bench.row(job).erasure
    assert receipt is not None
    assert (receipt.container, receipt.container_id, receipt.began_at) == (None, None, None)
    assert receipt.files > 5


def test_the_receipt_counts_what_an_earlier_round_removed(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.dies(other)
    files = yard.files(job)

    def is_away(*_: object, **__: object) -> Job:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(yard.bench.store, "give_back", is_away)
    with pytest.raises(StoreUnavailable):
        yard.reaper.bury_dead_workers()
    assert yard.bench.scratch() == []
    monkeypatch.undo()
    yard.reaper.bury_dead_workers()
    receipt = yard.bench.row(job).erasure
    assert receipt is not None
    assert (receipt.container, receipt.files) == (job.sandbox, files)


def test_the_receipt_counts_what_a_removal_that_failed_half_way_took(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.dies(other)
    files = yard.files(job)
    fail_first_rmdir(monkeypatch)
    with pytest.raises(SandboxError, match="could not be removed"):
        yard.reaper.bury_dead_workers()
    # The sweep failed; that the job was taken back in the same round was the second try.
    receipt = yard.bench.row(job).erasure
    assert receipt is not None
    assert receipt.files == files


def test_the_reaper_signs_as_itself_for_the_attempt_that_it_ends(yard: Yard) -> None:
    job = yard.started(yard.other().worker, attempts_max=1)
    yard.reaper.take_expired_leases()
    rounds(yard, seconds=6)
    row = yard.bench.row(job)
    assert row.state is State.FAILED
    assert row.erasure is not None
    assert row.erasure.worker == yard.registration.worker != job.worker
    assert (row.erasure.job, row.erasure.attempt, row.erasure.fence) == (row.id, row.attempt, row.fence)
    verify(document(row.erasure), [KEY.public])


# leases -------------------------------------------------------------------------------------------------------------------


def test_a_lease_whose_beat_stands_still_is_taken_and_its_container_killed(yard: Yard) -> None:
    job = yard.started(yard.other().worker)
    yard.reaper.take_expired_leases()
    rounds(yard, seconds=3)
    assert yard.bench.row(job) == job
    files = yard.files(job)
    rounds(yard, seconds=3)
    row = yard.bench.row(job)
    assert (row.state, row.fence) == (State.QUEUED, 2)
    assert row.erasure is not None
    assert (row.erasure.container, row.erasure.files) == (job.sandbox, files)
    assert yard.bench.host.containers == {}
    assert yard.bench.scratch() == []


def test_a_lease_that_is_renewed_is_left_alone(yard: Yard) -> None:
    job = yard.started(yard.other().worker)
    yard.reaper.take_expired_leases()
    rounds(yard, seconds=60, beat=job)
    assert yard.bench.row(job).state is State.RUNNING


def test_a_new_attempt_starts_a_new_lease(yard: Yard) -> None:
    worker = yard.other().worker
    job = yard.started(worker)
    yard.reaper.take_expired_leases()
    rounds(yard, seconds=3)
    yard.reaper._take_back(job)
    again = yard.bench.store.claim(worker=worker, lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert again is not None
    rounds(yard, seconds=3)
    assert yard.bench.row(job).state is State.RUNNING


def test_a_beat_in_the_last_moment_saves_the_lease(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    job = yard.started(yard.other().worker)
    yard.reaper.take_expired_leases()
    monkeypatch.setattr(yard.bench.host, "remove", lambda name: yard.bench.store.renew(job) and None)
    rounds(yard, seconds=6)
    assert yard.bench.row(job).state is State.RUNNING


def test_the_scratch_is_gone_before_the_container_is_looked_for(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a worker that wakes up between the two starts one behind our back: test_take_over.py."""
    job = yard.started(yard.other().worker)
    remove, scratch = yard.bench.host.remove, yard.bench.home / "scratch" / str(job.scratch)
    seen = []

    def look(name: str) -> Container | None:
        seen.append(scratch.exists())
        return remove(name)

    assert scratch.exists()
    monkeypatch.setattr(yard.bench.host, "remove", look)
    yard.reaper._take_back(job)
    assert seen == [False]


def test_time_in_which_the_store_could_not_be_read_does_not_count(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it was away nobody could renew; its return must not expire every lease at once."""
    job = yard.started(yard.other().worker)
    yard.reaper.take_expired_leases()

    def is_away() -> list[Job]:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(yard.bench.store, "running", is_away)
    for _ in range(5):
        yard.bench.clock.seconds += REAP_SECONDS
        with pytest.raises(StoreUnavailable):
            yard.reaper.take_expired_leases()
    monkeypatch.undo()
    rounds(yard, seconds=3)
    assert yard.bench.row(job).state is State.RUNNING
    rounds(yard, seconds=6)
    assert yard.bench.row(job).state is State.QUEUED


def test_a_lease_is_not_taken_while_its_container_cannot_be_removed(yard: Yard) -> None:
    job = yard.started(yard.other().worker)
    yard.reaper.take_expired_leases()
    yard.bench.host.faults["remove"] = SandboxError("the container engine could not remove the sandbox")
    with pytest.raises(SandboxError):
        rounds(yard, seconds=6)
    assert yard.bench.row(job) == job


def test_a_lease_of_another_host_is_taken_without_anything_here(yard: Yard) -> None:
    yard.bench.submit()
    job = yard.bench.store.claim(worker="wrk_elsewhere", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert job is not None
    yard.reaper.take_expired_leases()
    rounds(yard, seconds=6)
    assert yard.bench.row(job).state is State.QUEUED


def test_a_job_that_was_taken_back_runs_again_to_its_end(yard: Yard) -> None:
    other = yard.other()
    job = yard.started(other.worker)
    yard.dies(other)
    yard.reaper.bury_dead_workers()
    yard.bench.host.behaviour = succeeds
    again = yard.bench.claim(yard.bench.row(job))
    after = yard.bench.carry(again)
    assert after is not None
    assert (after.state, after.attempt) == (State.SUCCEEDED, 2)
    assert set(yard.published(job)) == {"3/result", "3/log"}


# registration -------------------------------------------------------------------------------------------------------------


def test_a_starting_worker_is_never_seen_dead(home: Path) -> None:
    """Another one buries without pause while workers come and go."""
    home.mkdir()
    digger, stop = Registration(home), threading.Event()
    buried: set[str] = set()

    def dig() -> None:
        while not stop.is_set():
            with digger.dead() as dead:
                buried.update(dead)

    thread = threading.Thread(target=dig)
    thread.start()
    try:
        for _ in range(200):
            worker = Registration(home)
            assert digger.is_live(worker.worker)
            worker.leave()
    finally:
        stop.set()
        thread.join(10)
        digger.leave()
    assert buried == set()
    assert list((home / "workers").iterdir()) == []
