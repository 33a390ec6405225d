"""Receipts of real workers over a real engine: they name what the engine had, and the key that signs them shows nowhere."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path

from fumehood.job import Job, State
from tests.journey.workshop import RUNS_FOR_LONG, Workshop, docker

TAKES_A_WHILE = RUNS_FOR_LONG.replace("sleep(50)", "sleep(3)").replace("def azureml_main", "import pandas as pd\n\ndef azureml_main")
ENDS = TAKES_A_WHILE + "    return pd.DataFrame({'n': [1]}),\n"
# The engine's clock is ours; it says when it had made the container, we when we asked for it.
SECONDS_APART = 5.0


def seen_by_the_engine(job: Job) -> tuple[str, float]:
    """Id and beginning of a job's container, while it runs."""
    container_id, created = docker("inspect", "--format", "{{.Id}} {{.Created}}", str(job.sandbox))
    return container_id, datetime.fromisoformat(created).timestamp()


def test_a_receipt_is_signed_and_names_the_container_that_the_engine_had(workshop: Workshop) -> None:
    workshop.start_worker()
    job = workshop.running(workshop.submit(ENDS))
    container_id, began_at = seen_by_the_engine(job)
    after = workshop.ended(job)
    assert after.state is State.SUCCEEDED
    receipt = workshop.check_receipt(after)
    assert (receipt.container, receipt.container_id) == (job.sandbox, container_id)
    assert (receipt.job, receipt.attempt, receipt.fence, receipt.worker) == (job.id, 1, after.fence, job.worker)
    assert receipt.began_at is not None
    assert abs(receipt.began_at - began_at) < SECONDS_APART
    assert receipt.began_at < receipt.erased_at <= (after.finished_at or 0)
    assert receipt.files > 5
    assert docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"id={container_id}") == []


def test_who_takes_over_from_a_killed_worker_signs_for_what_it_removed(workshop: Workshop) -> None:
    first = workshop.start_worker()
    job = workshop.running(workshop.submit(RUNS_FOR_LONG))
    workshop.freeze(first)  # it must not hear of the cancel
    container_id, began_at = seen_by_the_engine(job)
    workshop.store.request_cancel(job.tenant, job.id)
    first.signal(signal.SIGKILL)
    first.ended()
    workshop.start_worker(ready=False)
    after = workshop.ended(job)
    receipt = workshop.check_receipt(after)
    assert (receipt.container, receipt.container_id) == (job.sandbox, container_id)
    assert receipt.began_at is not None
    assert abs(receipt.began_at - began_at) < 0.001  # the engine's own word
    assert receipt.worker not in (None, job.worker)
    assert (receipt.attempt, receipt.fence) == (job.attempt, job.fence) == (after.attempt, after.fence)


def test_a_job_that_is_run_again_ends_with_the_receipt_of_its_last_attempt(workshop: Workshop) -> None:
    first = workshop.start_worker()
    job = workshop.running(workshop.submit(ENDS))
    before, _ = seen_by_the_engine(job)
    first.signal(signal.SIGKILL)
    workshop.start_worker(ready=False)
    after = workshop.ended(job)
    receipt = workshop.check_receipt(after)
    assert (receipt.attempt, receipt.fence) == (2, after.fence)
    assert after.fence > job.fence
    assert receipt.container == after.sandbox != job.sandbox
    assert receipt.container_id != before


def test_a_worker_without_a_key_says_so_and_signs_nothing(workshop: Workshop) -> None:
    del workshop.environment["FUMEHOOD_RECEIPT_KEY_FILE"]
    worker = workshop.start_worker()
    job = workshop.running(workshop.submit(ENDS))
    container_id, _ = seen_by_the_engine(job)
    after = workshop.ended(job)
    assert after.erasure is not None
    assert (after.erasure.container_id, after.erasure.key, after.erasure.signature) == (container_id, None, None)
    assert worker.log().count("receipts are not signed") == 1
    assert workshop.store.receipt_keys() == []


def test_the_private_key_is_in_no_log_no_record_no_argument_and_no_sandbox(workshop: Workshop) -> None:
    worker = workshop.start_worker(log_level="debug")
    job = workshop.running(workshop.submit(ENDS))
    seen = [Path(f"/proc/{worker.process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    seen.append("".join(docker("inspect", str(job.sandbox))).encode())
    workshop.check_receipt(workshop.ended(job))
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.log()
    seen += [path.read_bytes() for path in workshop.home.rglob("*") if path.is_file() and path.name != "receipt_key"]
    seen.append(worker.log().encode())
    for secret in (workshop.receipt_key.encode(), bytes.fromhex(workshop.receipt_key)):
        assert not [content[:80] for content in seen if secret in content]
