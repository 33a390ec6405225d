"""The store under every order of its verbs that Hypothesis thinks of; and the machine of rules itself, which finds planted bugs.

`FUMEHOOD_TEST_EXAMPLES` says how many lives are tried; where it is set they are other ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import delete, update

from fumehood.errors import Conflict, LeaseLost
from fumehood.job import Job, State
from fumehood.job_store import Idempotency, JobStore, Lease, Submitted
from fumehood.outcome import Erasure, Outcome
from fumehood.rows import erasure_to_row
from fumehood.schema import IDEMPOTENCY, JOB_LABELS, JOB_NEEDS, JOBS, SHARES
from fumehood.testing import erasure, outcome
from tests.unit.store_life import Life
from tests.unit.stores import Clock, counted

MORE = os.environ.get("FUMEHOOD_TEST_EXAMPLES")
LIVES = hypothesis_settings(
    max_examples=int(MORE or 40),
    stateful_step_count=40,
    derandomize=MORE is None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# What is found need not be made short, but it must be found.
FIRST_FOUND = hypothesis_settings(
    LIVES, max_examples=600, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False
)


@pytest.mark.timeout(1200)  # where something is found, Hypothesis takes its time to make it short
def test_whatever_happens_each_job_ends_once_and_leaves_nothing(store: JobStore, clock: Clock) -> None:
    run_state_machine_as_test(lambda: Life(store, clock), settings=LIVES)


# planted bugs ------------------------------------------------------------------------------------------------------------
class Buggy(JobStore):
    def write(self, job_id: str, **values: Any) -> None:
        with self._database.writing() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**values))

    def now(self, job: Job) -> Job:
        """Whatever the fence: as if nobody compared it."""
        try:
            return replace(job, fence=self.get_job(job.tenant, job.id).fence)
        except Exception:
            return job


class FinishComparesNoFence(Buggy):
    def finish(self, job: Job, outcome: Outcome, erasure: Erasure) -> Job:
        now = self.now(job)
        return super().finish(now, outcome, replace(erasure, fence=now.fence))


class GiveBackComparesNoFence(Buggy):
    def give_back(self, job: Job, erasure: Erasure, *rest: Any, **options: Any) -> Job:
        now = self.now(job)
        return super().give_back(now, replace(erasure, fence=now.fence), *rest, **options)


class RenewComparesNoFence(Buggy):
    def renew(self, job: Job) -> Lease:
        return super().renew(self.now(job))


class GiveBackComparesNoBeat(Buggy):
    def give_back(self, job: Job, *rest: Any, beat: int | None = None, **options: Any) -> Job:
        return super().give_back(job, *rest, **options)


class NamingRaisesNoBeat(Buggy):
    """As the store once was: this machine found it."""

    def name_sandbox(self, job: Job, **names: str) -> Job:
        named = super().name_sandbox(job, **names)
        self.write(job.id, beat=named.beat - 1)
        return named


class ClaimRaisesNoFence(Buggy):
    def claim(self, **options: Any) -> Job | None:
        claimed = super().claim(**options)
        if claimed is None:
            return None
        self.write(claimed.id, fence=claimed.fence - 1)
        return replace(claimed, fence=claimed.fence - 1)


def recount(store: JobStore) -> None:
    """So that the bug is found that was meant."""
    with store._database.writing() as connection:
        for (tenant, lane), (queued, running) in counted(store).items():
            own = (SHARES.c.tenant == tenant, SHARES.c.lane == lane)
            connection.execute(update(SHARES).where(*own).values(queued=queued, running=running))


class AWithdrawnJobIsStillCounted(Buggy):
    def request_cancel(self, tenant: str, job_id: str) -> Job:
        ended = super().request_cancel(tenant, job_id)
        if ended.attempt == 0 and ended.state is State.CANCELLED:
            with self._database.writing() as connection:
                connection.execute(update(SHARES).where(SHARES.c.tenant == tenant).values(queued=SHARES.c.queued + 1))
        return ended


class ClaimTakesWhatIsRunning(Buggy):
    def claim(self, **options: Any) -> Job | None:
        claimed = super().claim(**options)
        for running in self.running() if claimed is None else ():
            self.write(running.id, state=State.QUEUED)
            recount(self)
            return super().claim(**options)
        return claimed


class AttemptsHaveNoEnd(Buggy):
    def give_back(self, job: Job, *rest: Any, **options: Any) -> Job:
        after = super().give_back(job, *rest, **options)
        if after.state is State.FAILED:
            self.write(job.id, state=State.QUEUED, fence=after.fence + 1, outcome=None, finished_at=None)
            recount(self)
        return after


class GiveBackForgetsTheCancel(Buggy):
    def give_back(self, job: Job, *rest: Any, **options: Any) -> Job:
        asked = self.get_job(job.tenant, job.id).cancel_requested
        self.write(job.id, cancel_requested=False)
        try:
            return super().give_back(job, *rest, **options)
        finally:
            self.write(job.id, cancel_requested=asked)


class WhatHasEndedCanBeCancelled(Buggy):
    def request_cancel(self, tenant: str, job_id: str) -> Job:
        try:
            return super().request_cancel(tenant, job_id)
        except Conflict:
            self.write(job_id, state=State.CANCELLED)
            raise


class CancelDoesNotWait(Buggy):
    def request_cancel(self, tenant: str, job_id: str) -> Job:
        marked = super().request_cancel(tenant, job_id)
        if marked.state is State.RUNNING:
            return super().finish(marked, outcome(), erasure(marked))
        return marked


class SubmitForgetsTheKey(Buggy):
    def submit(self, job: Job, *, idempotency: Idempotency | None = None) -> Submitted:
        return super().submit(job)


class SubmitForgetsTheJob(Buggy):
    def submit(self, job: Job, *, idempotency: Idempotency | None = None) -> Submitted:
        submitted = super().submit(job, idempotency=idempotency)
        if idempotency is not None:
            with self._database.writing() as connection:
                for table, column in ((JOB_LABELS, JOB_LABELS.c.job_seq), (JOB_NEEDS, JOB_NEEDS.c.job_id)):
                    connection.execute(delete(table).where(column.is_not(None)))
                connection.execute(delete(JOBS).where(JOBS.c.id == job.id))
        return submitted


class TheKeyOutlivesItsJob(Buggy):
    def delete_job(self, tenant: str, job_id: str) -> Job:
        with self._database.reading() as connection:
            keys = [row._asdict() for row in connection.execute(IDEMPOTENCY.select().where(IDEMPOTENCY.c.job_id == job_id))]
        deleted = super().delete_job(tenant, job_id)
        with self._database.writing() as connection:
            for key in keys:
                connection.execute(IDEMPOTENCY.insert().values(**key))
        return deleted


class FinishLosesTheReceipt(Buggy):
    def finish(self, job: Job, outcome: Outcome, erasure: Erasure) -> Job:
        ended = super().finish(job, outcome, erasure)
        self.write(job.id, erasure=erasure_to_row(replace(erasure, files=77)))
        return ended


class ARefusedRenewalLeavesATrace(Buggy):
    def renew(self, job: Job) -> Lease:
        try:
            return super().renew(job)
        except LeaseLost:
            self.write(job.id, beat=77)
            raise


FOUND: dict[type[JobStore], str] = {
    FinishComparesNoFence: "a stale finish of job_[0-9]+ was taken",
    GiveBackComparesNoFence: "a stale give_back of job_[0-9]+ was taken",
    RenewComparesNoFence: "a stale renew of job_[0-9]+ was taken",
    GiveBackComparesNoBeat: "a stale give_back of job_[0-9]+ was taken",
    NamingRaisesNoBeat: "of attempts that are over exist",
    ClaimRaisesNoFence: "has fence 0 after 0, queued → running",
    AWithdrawnJobIsStillCounted: "the shares count",
    ClaimTakesWhatIsRunning: "was claimed by two",
    AttemptsHaveNoEnd: "was started [0-9]+ times; at most",
    GiveBackForgetsTheCancel: "was cancelled, and runs again",
    WhatHasEndedCanBeCancelled: "then written again",
    CancelDoesNotWait: "of attempts that are over exist|ended with the receipt",
    SubmitForgetsTheKey: "replayed is False, the key stands for",
    SubmitForgetsTheJob: "was acknowledged and is not there",
    TheKeyOutlivesItsJob: "was refused, and stands for no other request|replayed is True|everything was deleted, and left",
    FinishLosesTheReceipt: "ended with the receipt",
    ARefusedRenewalLeavesATrace: "a renew that was refused changed something",
}


@pytest.fixture
def buggy(home: Path, clock: Clock, request: pytest.FixtureRequest) -> Iterator[JobStore]:
    store: JobStore = request.param(f"sqlite:///{home}/fumehood.db", clock=clock)
    store.migrate()
    yield store
    store.close()


@pytest.mark.parametrize("buggy", FOUND, indirect=True, ids=lambda kind: kind.__name__)
def test_a_planted_bug_is_found(buggy: JobStore, clock: Clock) -> None:
    with pytest.raises(AssertionError, match=FOUND[type(buggy)]):
        run_state_machine_as_test(lambda: Life(buggy, clock), settings=FIRST_FOUND)
