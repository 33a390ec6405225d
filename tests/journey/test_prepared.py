"""What a worker promises of sandboxes that wait with a script open: while they serve, while they are not wanted, and when it dies."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from fumehood.job import Job, Kind, new_id
from fumehood.outcome import Reason
from fumehood.script import Version, VersionState, check_of
from tests.journey.workshop import LIMITS, Workshop
from tests.services import until

SECONDS = 60.0
COUNTS = """
import pandas as pd

calls = []

def init():
    print("init")
    return calls

def azureml_main(frame, context):
    context.append(1)
    return frame.assign(calls=len(calls))
"""


def published(workshop: Workshop, script: str = COUNTS) -> Version:
    """A version that is ready."""
    version_id = new_id("ver")
    given = workshop.put(f"scripts/{version_id}/script.py", script.encode(), "python")
    sample = workshop.put(f"scripts/{version_id}/sample", b"a\n1\n", "csv")
    files = {port: replace(file, version=version_id) for port, file in (("script", given), ("dataset1", sample))}
    version = Version(id=version_id, tenant=workshop.tenant, script="score", inputs=files, limits=LIMITS)
    made, _ = workshop.store.publish(version, check_of(version, new_id("job"), attempts_max=2, retention=None))
    workshop.queue.send_ticket(Kind.CHECK.lane)
    workshop.ended(workshop.store.get_job(workshop.tenant, made.job))
    made = workshop.store.get_version(workshop.tenant, "score", made.number)
    assert made.state is VersionState.READY, made.message
    return made


def called(workshop: Workshop, version: Version) -> Job:
    job_id = new_id("job")
    table = workshop.put(f"jobs/{job_id}/dataset1", b"a\n1\n2\n", "csv")
    inputs = version.called | {"dataset1": table}
    job = Job(id=job_id, tenant=workshop.tenant, kind=Kind.SCORE, inputs=inputs, limits=version.limits)
    submitted = workshop.store.submit(job).job
    workshop.queue.send_ticket(submitted.kind.lane)
    ended = workshop.ended(submitted)
    assert ended.outcome is not None
    assert ended.outcome.reason is Reason.OK, ended.outcome
    return ended


def start_of(job: Job) -> str | None:
    return job.outcome.start if job.outcome else None


def in_a_prepared_one(workshop: Workshop, version: Version) -> Job | None:
    job = called(workshop, version)
    return job if start_of(job) == "prepared" else None


def prepared(workshop: Workshop, count: int) -> list[str]:
    """Names of the containers that wait with the script open, once a worker says that they are so many."""

    def ready() -> bool:
        return [row["prepared"] for row in workshop.store.workers(seen_within_seconds=10.0) if "prepared" in row] == [count]

    until(ready, seconds=SECONDS, what=f"{count} wait prepared")
    return [path.parent.parent.name for path in workshop.home.glob("scratch/*/in/prepare.json")]


def test_each_call_gets_one_of_its_own_that_is_gone_after_it(workshop: Workshop) -> None:
    worker = workshop.start_worker(warm_min=0, warm_max=0, prepared_max=1)
    version = published(workshop)
    assert start_of(called(workshop, version)) == "cold"
    seen = set()
    for _ in range(3):
        job = until(lambda: in_a_prepared_one(workshop, version), seconds=SECONDS, what="a call finds its script open")
        assert workshop.output(job, "log") == b"init\n"
        assert workshop.left_of(job) == []
        workshop.check_receipt(job)
        assert job.erasure is not None
        assert job.erasure.container == job.sandbox
        seen.add(job.sandbox)
    assert len(seen) == 3
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.log()
    assert workshop.leftovers() == []
    assert workshop.store.prepared_with([version.id]) == 0


def test_a_version_that_is_deleted_takes_its_sandboxes_along(workshop: Workshop) -> None:
    workshop.start_worker(warm_min=0, warm_max=0, prepared_max=1)
    version = published(workshop)
    called(workshop, version)
    (waiting,) = prepared(workshop, 1)
    workshop.store.delete_script(workshop.tenant, "score")
    until(lambda: workshop.store.prepared_with([version.id]) == 0, seconds=SECONDS, what="nothing waits with it")
    assert f"fumehood-{waiting}" not in workshop.containers()
    assert not (workshop.home / "scratch" / waiting).exists()
    until(lambda: workshop.containers() == [], seconds=SECONDS, what="no other is made in its place")


def test_those_of_a_killed_worker_end_and_the_next_one_takes_them_away_with_their_rows(workshop: Workshop) -> None:
    first = workshop.start_worker(warm_min=0, warm_max=0, prepared_max=1)
    version = published(workshop)
    called(workshop, version)
    (waiting,) = prepared(workshop, 1)
    first.signal(signal.SIGKILL)
    first.ended()
    until(lambda: workshop.containers(only_running=True) == [], seconds=SECONDS, what="they end with their worker")
    assert workshop.store.prepared_with([version.id]) == 1, "as long as its files are there, somebody says so"
    workshop.start_worker(warm_min=0, warm_max=0)
    until(lambda: workshop.store.prepared_with([version.id]) == 0, seconds=SECONDS, what="the row is gone")
    assert waiting not in [path.name for path in workshop.scratch()]
    assert f"fumehood-{waiting}" not in workshop.containers()


ENDS_ITSELF = """
import os

def init():
    if not os.path.exists("/in/request.json"):
        os._exit(1)

def azureml_main(frame, context):
    return frame
"""
WORKS_ON = """
import threading

def turn():
    while True:
        pass

def init():
    threading.Thread(target=turn, daemon=True).start()

def azureml_main(frame, context):
    return frame
"""


@pytest.mark.parametrize("script", [ENDS_ITSELF, WORKS_ON], ids=["ends itself before its call", "works while nobody calls"])
def test_one_that_is_no_good_ahead_of_its_call_is_called_all_the_same(workshop: Workshop, script: str) -> None:
    worker = workshop.start_worker(warm_min=0, warm_max=0, prepared_max=1)
    version = published(workshop, script)
    called(workshop, version)
    until(lambda: workshop.store.prepared_with([version.id]) == 1, seconds=SECONDS, what="one was begun")
    until(lambda: workshop.store.prepared_with([version.id]) == 0, seconds=SECONDS, what="and thrown away")
    assert called(workshop, version).outcome is not None
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.log()
    assert workshop.leftovers() == []
