"""Notices: who hears what of a job's new state."""

from __future__ import annotations

import pytest

from fumehood import notices
from fumehood.events import NOTICE_BYTES, Notice, as_notice
from fumehood.job import Kind, State, new_id
from fumehood.outcome import Reason
from fumehood.testing import MemoryEvents, job, outcome
from worker.deps import announce

BATCH = "bat_00000000000000000000000000000000"


def test_a_tenant_hears_of_its_job_in_every_state() -> None:
    for state, reason in ((State.QUEUED, None), (State.RUNNING, None), (State.FAILED, Reason.OUT_OF_MEMORY)):
        of = job(state=state, attempt=2, outcome=outcome(reason) if reason else None)
        said = {"id": of.id, "state": state.value, "reason": reason.value if reason else None, "attempt": 2}
        assert notices.of_job(of) == [Notice("ten_test", "job", said)]


def test_a_batch_hears_which_of_its_jobs_ended_and_is_only_woken_by_the_rest() -> None:
    ended = job(batch=BATCH, item=7, state=State.SUCCEEDED, outcome=outcome())
    batch, tenant = notices.of_job(ended)
    assert batch == Notice(BATCH, "items", {"job": ended.id})
    assert tenant.data is not None
    assert (tenant.data["batch"], tenant.data["item"]) == (BATCH, 7)
    assert notices.of_job(job(batch=BATCH, item=7, state=State.RUNNING))[0] == Notice(BATCH, "state")


def test_nobody_hears_the_name_of_a_chunk() -> None:
    running = job(batch=BATCH, kind=Kind.CHUNK, state=State.RUNNING)
    assert notices.of_job(running) == [Notice(BATCH, "state"), Notice("ten_test", "batch", {"id": BATCH})]


@pytest.mark.parametrize("kind", [kind for kind in Kind if not kind.runs_scripts])
def test_nobody_hears_of_errands(kind: Kind) -> None:
    assert notices.of_job(job(kind=kind, state=State.SUCCEEDED, outcome=outcome())) == []


def test_no_notice_of_ours_is_too_long() -> None:
    for reason in Reason:
        of = job(tenant=new_id("ten"), batch=BATCH, item=9_999, attempt=99, state=State.CANCELLED, outcome=outcome(reason))
        for notice in notices.of_job(of):
            assert len(as_notice(notice) or "") < NOTICE_BYTES / 2


def test_a_worker_tells_the_job_its_batch_and_its_tenant() -> None:
    events = MemoryEvents()
    ended = job(batch=BATCH, item=0, state=State.SUCCEEDED, outcome=outcome())
    announce(events, ended)
    assert [event.kind for event in events.published(ended.id)] == ["state", "end"]
    assert [event.kind for event in events.published(BATCH)] == ["items"]
    assert [event.kind for event in events.published("ten_test")] == ["job"]
