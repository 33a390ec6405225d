"""The checker finds what it is for: each promise broken once, in a real database, and once in a real worker."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fumehood.job import Job, Lane
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.testing import erasure, job, outcome
from tests.faults.history import Happened, Told, read, violations, watch

ID = erasure().container_id or ""


class Diary:
    """A database whose moves are watched, the engine's events, and what callers were told; all of it in order so far."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.database = home / "fumehood.db"
        self.store = JobStore(f"sqlite:///{self.database}")
        self.store.migrate()
        watch(self.database)
        self.happened: list[Happened] = []
        self.told: list[Told] = []

    def submit(self) -> Job:
        return self.store.submit(job(attempts_max=3)).job

    def claim(self, sandbox: str, *, starts: bool = True) -> Job:
        claimed = self.store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=2**60, sandbox=sandbox, scratch=sandbox)
        assert claimed is not None
        if starts:
            self.engine("start", sandbox)
        return claimed

    def engine(self, what: str, sandbox: str) -> None:
        """Now, by the clock of the database."""
        with closing(sqlite3.connect(self.database)) as connection:
            ((now,),) = connection.execute("SELECT (julianday('now') - 2440587.5) * 86400.0")
        self.happened.append(Happened(now, sandbox, what, ID))

    def finish(self, claimed: Job, sandbox: str, **receipt: Any) -> None:
        self.engine("destroy", sandbox)
        self.store.finish(claimed, outcome(), erasure(claimed, **({"container": sandbox} | receipt)))
        self.told.append(told(claimed.id))

    def hand_back(self, claimed: Job, sandbox: str) -> None:
        self.engine("destroy", sandbox)
        self.store.give_back(claimed, erasure(claimed, container=sandbox), outcome(Reason.LOST))

    def write(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(statement, values)

    def violations(self) -> list[str]:
        return violations(read(self.database), self.happened, self.told)


def told(job_id: str, **record: str) -> Told:
    return Told(job=job_id, expected=frozenset({"ok"}), records=({"state": "succeeded", "reason": "ok"} | record,) * 2)


@pytest.fixture
def diary(home: Path) -> Iterator[Diary]:
    diary = Diary(home)
    yield diary
    diary.store.close()


@pytest.fixture
def ended(diary: Diary) -> Job:
    """A job that needed two attempts, beside one that needed one; nothing is wrong with either."""
    diary.submit()
    diary.finish(diary.claim("s0"), "s0")
    diary.submit()
    diary.hand_back(diary.claim("s1"), "s1")
    claimed = diary.claim("s2")
    diary.store.renew(claimed)
    diary.finish(claimed, "s2")
    assert diary.violations() == []
    return claimed


def test_a_cancelled_job_that_never_ran_is_in_order(diary: Diary) -> None:
    cancelled = diary.submit()
    diary.store.request_cancel(cancelled.tenant, cancelled.id)
    diary.told.append(replace(told(cancelled.id, state="cancelled", reason="cancelled"), expected=frozenset({"cancelled"})))
    assert diary.violations() == []


def test_a_container_that_the_engine_makes_late_and_nobody_starts_is_in_order(diary: Diary) -> None:
    diary.submit()
    late = diary.claim("s1", starts=False)
    diary.store.give_back(late, erasure(late, container=None, container_id=None, began_at=None), outcome(Reason.SANDBOX_ERROR))
    _wait_a_tick(diary)
    diary.engine("destroy", "s1")
    diary.finish(diary.claim("s2"), "s2")
    assert diary.violations() == []


PLANTED: dict[str, tuple[Callable[[Diary, Job], object], str]] = {
    "ended twice": (
        lambda diary, job: diary.write("UPDATE jobs SET state = 'failed' WHERE id = ?", job.id),
        "was succeeded with fence 3, then written again as failed",
    ),
    "overwritten after its end": (
        lambda diary, job: diary.write('UPDATE jobs SET outcome = \'{"reason": "ok", "outputs": {}}\' WHERE id = ?', job.id),
        "was succeeded with fence 3, then written again as succeeded",
    ),
    "run again after its end": (
        lambda diary, job: diary.write("UPDATE jobs SET state = 'queued', fence = 4 WHERE id = ?", job.id),
        "then written again as queued",
    ),
    "lost": (lambda diary, job: diary.told.append(told(diary.submit().id)), "never ended: it is queued"),
    "acknowledged and not stored": (lambda diary, job: diary.told.append(told("job_nowhere")), "was acknowledged and never stored"),
    "made twice": (lambda diary, job: diary.submit(), "is in the store, but nobody was told of it"),
    "two ends told": (
        lambda diary, job: diary.told.append(replace(diary.told.pop(), records=({"state": "failed"}, {"state": "succeeded"}))),
        "was told of more than one end",
    ),
    "another end told": (
        lambda diary, job: diary.told.append(told(diary.told.pop().job, state="failed", reason="lost")),
        "its caller was told failed, the row says succeeded",
    ),
    "no end told": (lambda diary, job: diary.told.append(replace(diary.told.pop(), records=())), "its caller never saw it end"),
    "the wrong reason": (
        lambda diary, job: diary.told.append(replace(diary.told.pop(), expected=frozenset({"timed_out"}))),
        "ended as ok; expected timed_out",
    ),
    "the wrong result": (lambda diary, job: diary.told.append(replace(diary.told.pop(), wrong="its result is another's")), "is another's"),
    "its container runs on": (lambda diary, job: diary.engine("destroy", "s2"), "its container s2 was removed"),
    "its container starts late": (lambda diary, job: diary.engine("start", "s2"), "its container s2 was started"),
    "a container runs twice": (lambda diary, job: diary.engine("start", "s0"), "s0: was started 2 times"),
    "an earlier attempt runs on beside the next": (lambda diary, job: diary.engine("destroy", "s1"), "its container s1 was removed"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_wrong_is_found(name: str, diary: Diary, ended: Job) -> None:
    plant, sentence = PLANTED[name]
    diary.engine("die", "s0")  # harmless
    _wait_a_tick(diary)
    plant(diary, ended)
    assert any(sentence in each for each in diary.violations()), diary.violations()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("state = 'queued'", "went from running (attempt 1, fence 1) to queued (attempt 1, fence 1)"),
        ("state = 'queued', fence = 2, attempt = 2", "to queued (attempt 2, fence 2)"),
        ("fence = 9", "changed its attempt or fence without a move, while running"),
        ("state = 'succeeded', outcome = '{\"reason\": \"ok\"}'", "ended without a receipt"),
        ("state = 'failed', fence = 2, outcome = '{\"reason\": \"lost\"}', erasure = '{}'", "to failed (attempt 1, fence 2)"),
    ],
)
def test_a_move_that_is_none_is_found(values: str, sentence: str, diary: Diary) -> None:
    diary.submit()
    claimed = diary.claim("s1")
    diary.told.append(told(claimed.id))
    diary.write(f"UPDATE jobs SET {values} WHERE id = ?", claimed.id)
    assert any(sentence in each for each in diary.violations()), diary.violations()


def test_a_claim_that_raises_no_fence_is_found(diary: Diary) -> None:
    waiting = diary.submit()
    diary.told.append(told(waiting.id))
    diary.write("UPDATE jobs SET state = 'running', attempt = 1 WHERE id = ?", waiting.id)
    assert any("to running (attempt 1, fence 0)" in each for each in diary.violations())


@pytest.mark.parametrize(
    "receipt",
    [{"container": "s2"}, {"container_id": "ab" * 32}, {"container": None, "container_id": None, "began_at": None}],
    ids=["another's", "another's id", "none"],
)
def test_a_receipt_that_names_not_the_container_that_was_started_is_found(receipt: dict[str, Any], diary: Diary) -> None:
    diary.submit()
    diary.finish(diary.claim("s1"), "s1", **receipt)
    assert any(f"the engine started s1 {ID}" in each for each in diary.violations()), diary.violations()


def test_a_receipt_of_an_earlier_attempt_is_found(diary: Diary) -> None:
    diary.submit()
    claimed = diary.claim("s1")
    document = json.dumps({"container": "s1", "container_id": ID, "fence": 0})
    diary.write("UPDATE jobs SET state = 'succeeded', outcome = '{\"reason\": \"ok\"}', erasure = ? WHERE id = ?", document, claimed.id)
    diary.told.append(told(claimed.id))
    assert any("ended with a receipt of fence 0" in each for each in diary.violations()), diary.violations()


def test_a_sandbox_that_two_jobs_used_is_found(diary: Diary) -> None:
    for _ in range(2):
        diary.submit()
        claimed = diary.claim("s1")
        diary.finish(claimed, "s1")
    assert any("s1: was used for" in each for each in diary.violations())


def _wait_a_tick(diary: Diary) -> None:
    """Until the database's clock, which counts milliseconds, is past what it wrote."""
    last = read(diary.database)[-1].at
    while True:
        diary.engine("look", "nobody")
        if diary.happened.pop().at > last + 0.01:
            return
