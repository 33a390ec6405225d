"""Many at once: threads of one process, and processes on one database."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from fumehood.database import Database
from fumehood.errors import BadRequest, Conflict, IdempotencyReuse, LeaseLost, NotFound
from fumehood.job import Input, Lane
from fumehood.job_store import Idempotency, JobStore
from fumehood.testing import dataset, erasure, job, outcome

WAIT_SECONDS = 120
ROOT = Path(__file__).resolve().parents[2]


def _claim_all(store: JobStore) -> list[str]:
    claimed = []
    while (each := store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=2**60)) is not None:
        store.renew(each)
        claimed.append(store.finish(each, outcome(), erasure(each)).id)
    return claimed


def _all(futures: list[Future[list[str]]]) -> list[str]:
    return [each for future in futures for each in future.result(WAIT_SECONDS)]


def test_eight_threads_claim_every_job_once(store: JobStore) -> None:
    submitted = [store.submit(job()).job.id for _ in range(200)]
    with ThreadPoolExecutor(8) as threads:
        claimed = _all([threads.submit(_claim_all, store) for _ in range(8)])
    assert sorted(claimed) == sorted(submitted)
    assert (store.running(), store.queued(Lane.JOBS)) == ([], 0)


def test_of_equal_requests_at_once_one_makes_the_job(store: JobStore) -> None:
    together = Barrier(8)

    def ask(number: int) -> tuple[str, bool]:
        together.wait(WAIT_SECONDS)
        submitted = store.submit(job(), idempotency=Idempotency("key", "a" * 64))
        return submitted.job.id, submitted.replayed

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8), timeout=WAIT_SECONDS))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sorted(replayed for _, replayed in answers) == [False] + [True] * 7
    assert store.queued(Lane.JOBS) == 1


def test_of_different_requests_with_one_key_at_once_one_is_taken(store: JobStore) -> None:
    together = Barrier(4)

    def ask(number: int) -> str:
        together.wait(WAIT_SECONDS)
        try:
            return store.submit(job(), idempotency=Idempotency("key", str(number) * 64)).job.id
        except IdempotencyReuse:
            return "refused"

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4), timeout=WAIT_SECONDS))
    assert answers.count("refused") == 3


def test_claims_at_once_never_take_more_disk_than_there_is(store: JobStore) -> None:
    together = Barrier(8)
    reserved = {store.submit(job()).job.reserved_bytes for _ in range(24)}.pop()

    def claim(_: int) -> int:
        together.wait(WAIT_SECONDS)
        return int(store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=3 * reserved) is not None)

    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            assert sum(threads.map(claim, range(8), timeout=WAIT_SECONDS)) == 3
            for running in store.running():
                store.finish(running, outcome(), erasure(running))


def test_everything_at_once_waits_its_turn_and_nobody_for_ever(store_url: str) -> None:
    """Two calls that hold what the other one wants would end in an error of the database, not in an answer."""
    store = JobStore(store_url, idempotency_hours=0)  # every key is old at once, and up for removal by all of them
    store.migrate()
    kept = [store.add_dataset(dataset())[0].id for _ in range(3)]
    together = Barrier(8)

    def work(number: int) -> int:
        chance, answers = random.Random(number), 0
        together.wait(WAIT_SECONDS)
        for _ in range(60):
            jobs = store.list_jobs("ten_test", limit=5)[0]
            source = {"dataset1": Input(blob="b", format="arrow", bytes=1, dataset=chance.choice(kept))}
            if jobs:
                source["dataset2"] = Input(blob="b", format="arrow", bytes=1, source={"job": jobs[-1].id, "output": "result"})
            with contextlib.suppress(Conflict, NotFound, BadRequest, IdempotencyReuse, LeaseLost):
                match chance.randrange(6):
                    case 0 | 1:
                        store.submit(job(inputs=source), idempotency=Idempotency(f"key-{chance.randrange(5)}", "a" * 64))
                    case 2:
                        store.request_cancel("ten_test", chance.choice(jobs).id if jobs else "none")
                    case 3:
                        store.delete_job("ten_test", chance.choice(jobs).id if jobs else "none")
                    case 4:
                        store.delete_dataset("ten_test", kept[0])
                    case 5:
                        claimed = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=2**60)
                        if claimed is not None:
                            store.finish(claimed, outcome(), erasure(claimed))
            answers += 1
        return answers

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8), timeout=WAIT_SECONDS)) == [60] * 8
    store.close()


# Another process: it migrates (at the same time as its sibling), then submits and claims in turns.
PROCESS = """
import json, sys
from fumehood.job import Lane
from fumehood.job_store import JobStore
from fumehood.testing import dataset, erasure, job, outcome

store = JobStore(sys.argv[1])
store.migrate()
submitted, claimed = [], []
for _ in range(int(sys.argv[2])):
    submitted.append(store.submit(job()).job.id)
    each = store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=2**60)
    if each is not None:
        claimed.append(store.finish(each, outcome(), erasure(each)).id)
json.dump([submitted, claimed], sys.stdout)
"""


def test_two_processes_share_one_database(store_url: str) -> None:
    command = [sys.executable, "-c", PROCESS, store_url, "300"]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        results = [json.loads(process.communicate(timeout=WAIT_SECONDS)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait(WAIT_SECONDS)
    submitted = [each for result in results for each in result[0]]
    claimed = [each for result in results for each in result[1]]
    assert len(submitted) == 600
    assert sorted(claimed) == sorted(submitted)


def test_the_file_may_be_made_by_many_at_once(home: Path) -> None:
    together = Barrier(8)

    def make(_: int) -> None:
        together.wait(WAIT_SECONDS)
        Database(f"sqlite:///{home}/fumehood.db").prepare()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(make, range(8), timeout=WAIT_SECONDS))
