"""What a worker promises while machines, signals and people interfere."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace

import pytest

from fumehood.job import Lane, State
from fumehood.limits import MIB
from fumehood.outcome import Reason
from fumehood.testing import RedisServer, redis_server
from tests.journey.workshop import LIMITS, RETURNS_A_TABLE, RUNS_FOR_LONG, Workshop
from tests.services import until

NO_IMAGE = "sha256:" + "0" * 64
TAKES_A_WHILE = """
import time
import pandas as pd

def azureml_main():
    print("running", flush=True)
    time.sleep(4)
    return pd.DataFrame({"n": [1]})
"""

PRINTS_AND_RAISES = """
def azureml_main(df):
    print("secret", df)
    raise ValueError("private")
"""


def test_a_script_succeeds_and_its_receipt_names_the_container(workshop: Workshop) -> None:
    workshop.start_worker()
    job = workshop.ended(workshop.submit(RETURNS_A_TABLE, dataset1=b"a,b\n1,2\n"))
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)
    assert job.outcome is not None
    assert job.outcome.reason is Reason.OK
    assert workshop.output(job, "log") == b"hello from the sandbox\n"
    assert workshop.output(job, "result").startswith(b"ARROW1")
    assert job.outcome.usage.bytes_out == len(workshop.output(job, "result")) + len(workshop.output(job, "log"))
    assert job.outcome.image == workshop.settings.image
    assert {"stage", "run", "collect", "publish", "erase", "run.go"} <= set(job.outcome.milliseconds)
    assert job.erasure is not None
    assert job.erasure.container == job.sandbox
    assert job.erasure.files > 5
    assert workshop.left_of(job) == []


def test_a_job_gets_a_sandbox_that_waits_or_one_of_its_own_with_the_reason_in_its_record(workshop: Workshop) -> None:
    worker = workshop.start_worker(limits=json.dumps(LIMITS.as_dict()))
    (ready,) = workshop.waiting(1)
    warm = workshop.ended(workshop.submit(RETURNS_A_TABLE))
    assert warm.outcome is not None
    assert (warm.sandbox, warm.outcome.start, warm.outcome.start_reason) == (ready, "warm", None)
    assert "run.ready" not in warm.outcome.milliseconds
    assert workshop.output(warm, "log") == b"hello from the sandbox\n"
    assert workshop.left_of(warm) == []
    (second,) = workshop.waiting(1)
    assert second != ready
    cold = workshop.ended(workshop.submit(RETURNS_A_TABLE, limits=replace(LIMITS, disk_bytes=8 * MIB)))
    assert cold.outcome is not None
    assert cold.outcome.start == "cold"
    assert cold.outcome.start_reason == "disk_bytes is 8,388,608; warm sandboxes have 16,777,216"
    assert "run.ready" in cold.outcome.milliseconds
    assert workshop.left_of(cold) == []
    assert second in workshop.containers()
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.log()
    assert workshop.leftovers() == []


def test_sandboxes_that_wait_end_with_a_killed_worker_and_the_next_one_removes_them(workshop: Workshop) -> None:
    first = workshop.start_worker(limits=json.dumps(LIMITS.as_dict()), warm_min=2)
    waited = workshop.waiting(2)
    remains = workshop.scratch()
    first.signal(signal.SIGKILL)
    until(lambda: not workshop.containers(only_running=True), seconds=5, what="they stop with their worker")
    workshop.start_worker(warm_min=0)
    assert not set(waited) & set(workshop.containers())
    assert not [directory for directory in remains if directory.exists()]


def test_a_running_job_that_is_cancelled_ends_at_once_and_keeps_its_log(workshop: Workshop) -> None:
    workshop.start_worker()
    job = workshop.running(workshop.submit(RUNS_FOR_LONG))
    workshop.store.request_cancel(job.tenant, job.id)
    after = workshop.ended(job, seconds=5)
    assert after.state is State.CANCELLED
    assert workshop.output(after, "log") == b"running\n"
    assert workshop.left_of(job) == []


def test_after_a_kill_of_the_worker_nothing_runs_and_the_next_worker_finishes_the_job(workshop: Workshop) -> None:
    first = workshop.start_worker()
    job = workshop.running(workshop.submit(TAKES_A_WHILE))
    assert workshop.is_healthy()
    killed_at = time.monotonic()
    first.signal(signal.SIGKILL)
    until(lambda: not workshop.containers(only_running=True), seconds=5, what="the sandbox stops with its worker")
    assert time.monotonic() - killed_at < 2.0  # one second, and one of ours to look
    assert not workshop.is_healthy()
    workshop.start_worker(ready=False)
    started_at = time.monotonic()
    remains = workshop.home / "scratch" / str(job.scratch)
    until(lambda: job.sandbox not in workshop.containers() and not remains.exists(), seconds=10, what="the remains are gone")
    assert time.monotonic() - started_at < 10
    after = workshop.ended(job)
    assert (after.state, after.attempt) == (State.SUCCEEDED, 2)
    assert after.fence > job.fence


def test_a_job_whose_cancel_was_asked_for_ends_as_cancelled_where_its_worker_died(workshop: Workshop) -> None:
    first = workshop.start_worker()
    job = workshop.running(workshop.submit(RUNS_FOR_LONG))
    workshop.freeze(first)  # it must not hear of the cancel
    workshop.store.request_cancel(job.tenant, job.id)
    first.signal(signal.SIGKILL)
    first.ended()
    workshop.start_worker(ready=False)
    after = workshop.ended(job)
    assert (after.state, after.attempt) == (State.CANCELLED, 1)
    assert after.erasure is not None
    assert after.erasure.container == job.sandbox


def test_a_worker_that_is_told_to_stop_hands_back_what_is_not_over_in_time(workshop: Workshop) -> None:
    worker = workshop.start_worker(grace_seconds=1)
    job = workshop.running(workshop.submit(RUNS_FOR_LONG))
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.log()
    after = workshop.row(job)
    assert (after.state, after.attempt) == (State.QUEUED, 0)
    assert after.erasure is not None
    assert after.erasure.container == job.sandbox
    assert workshop.queue.depth(Lane.JOBS) == 1
    assert workshop.leftovers() == []


def test_a_worker_that_is_told_twice_to_stop_waits_no_longer(workshop: Workshop) -> None:
    worker = workshop.start_worker(grace_seconds=600)
    job = workshop.running(workshop.submit(RUNS_FOR_LONG))
    worker.signal(signal.SIGTERM)
    until(lambda: "worker leaves" in worker.log(), seconds=5, what="the worker leaves")
    worker.signal(signal.SIGINT)
    assert worker.ended(seconds=15) == 0, worker.log()
    assert workshop.row(job).state is State.QUEUED
    assert workshop.leftovers() == []


def test_a_worker_that_is_told_to_stop_lets_a_job_end_within_the_grace_time(workshop: Workshop) -> None:
    worker = workshop.start_worker(grace_seconds=30)
    job = workshop.running(workshop.submit(TAKES_A_WHILE))
    worker.signal(signal.SIGTERM)
    until(lambda: "worker leaves" in worker.log(), seconds=5, what="the worker leaves")
    waiting = workshop.submit(RETURNS_A_TABLE)
    assert worker.ended() == 0, worker.log()
    assert workshop.row(job).state is State.SUCCEEDED
    assert workshop.row(waiting).state is State.QUEUED


def test_a_frozen_worker_is_taken_over_and_its_stale_attempt_writes_nothing(workshop: Workshop) -> None:
    frozen = workshop.start_worker()
    job = workshop.running(workshop.submit(TAKES_A_WHILE))
    workshop.freeze(frozen)
    workshop.start_worker()
    after = workshop.ended(job, seconds=60)
    assert (after.state, after.attempt) == (State.SUCCEEDED, 2)
    frozen.signal(signal.SIGCONT)
    until(lambda: '"stale attempt dropped"' in frozen.log(), seconds=20, what="the worker that came back drops its attempt")
    assert workshop.row(job) == after
    assert [path.name for path in (workshop.home / "blobs" / job.tenant / "jobs" / job.id).iterdir() if path.is_dir()] == [str(after.fence)]


def test_a_lost_ticket_is_sent_again(workshop: Workshop) -> None:
    workshop.start_worker()
    job = workshop.submit(RETURNS_A_TABLE, ticket=False)
    assert workshop.ended(job).state is State.SUCCEEDED


def test_a_job_that_came_while_redis_was_away_runs_when_it_is_back(workshop: Workshop, redis: RedisServer) -> None:
    worker = workshop.start_worker()
    redis.process.kill()
    redis.process.wait(10)
    job = workshop.submit(RETURNS_A_TABLE, ticket=False)
    until(lambda: "redis is away" in worker.log(), seconds=20, what="the worker sees that Redis is away")
    with redis_server(port=int(redis.url.rpartition(":")[2].partition("/")[0]), password=redis.password):
        assert workshop.ended(job).state is State.SUCCEEDED
        workshop.stop_all()


def test_two_workers_run_every_job_exactly_once(workshop: Workshop) -> None:
    jobs = [workshop.submit(RETURNS_A_TABLE) for _ in range(20)]
    workshop.start_worker(ready=False)
    workshop.start_worker(ready=False)
    after = [workshop.ended(job, seconds=120) for job in jobs]
    assert {(job.state, job.attempt) for job in after} == {(State.SUCCEEDED, 1)}
    assert len({job.sandbox for job in after}) == 20
    assert len({job.worker for job in after}) == 2
    workshop.stop_all()
    assert sum(worker.log().count('"event": "job finished"') for worker in workshop.workers) == 20


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"image": NO_IMAGE}, "no image with the id"),
        ({"docker_host": "unix:///nowhere/docker.sock"}, "container engine could not"),
        ({"disk_floor_bytes": 2**62}, "disk is nearly full"),
    ],
    ids=["image missing", "engine away", "disk full"],
)
def test_a_worker_that_cannot_run_jobs_says_why_and_leaves_them_queued(
    workshop: Workshop, settings: dict[str, object], reason: str
) -> None:
    job = workshop.submit(RETURNS_A_TABLE)
    worker = workshop.start_worker(ready=False, **settings)
    until(lambda: any(reason in (row["reason"] or "") for row in workshop.store.workers(seen_within_seconds=60)), seconds=60, what=reason)
    until(lambda: workshop.queue.depth(Lane.JOBS) == 0, seconds=20, what="the ticket is taken")
    assert workshop.row(job).state is State.QUEUED
    assert workshop.row(job).attempt == 0
    assert [row["ready"] for row in workshop.store.workers(seen_within_seconds=60)] == [False]
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.log()
    assert workshop.store.workers(seen_within_seconds=3600) == []


def test_nothing_of_a_tenant_is_in_the_log(workshop: Workshop) -> None:
    worker = workshop.start_worker(log_level="debug")
    workshop.ended(workshop.submit(PRINTS_AND_RAISES, dataset1=b"column\nvalue77\n"))
    for word in ("secret", "private", "value77", "azureml_main", str(workshop.home)):
        assert word not in worker.log()
