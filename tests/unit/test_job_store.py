"""The store's promises to the front desk and to the workshop, over every database."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from fumehood.dataset import Dataset
from fumehood.errors import BadRequest, Conflict, IdempotencyReuse, LeaseLost, NotFound
from fumehood.job import TRANSITIONS, Input, Job, Kind, Lane, State
from fumehood.job_store import Idempotency, JobStore
from fumehood.limits import MIB, Limits
from fumehood.outcome import Erasure, Reason, Usage
from fumehood.quota import Quota
from fumehood.script import Target
from fumehood.testing import dataset, erasure, job, outcome
from tests.unit.stores import TERMS, batch_of, version_of

BUDGET = 2**60
KEY = Idempotency("key-1", "a" * 64)


def submit(store: JobStore, **overrides: Any) -> Job:
    return store.submit(job(**overrides)).job


def claim(store: JobStore, lane: Lane = Lane.JOBS) -> Job:
    claimed = store.claim(worker="worker-1", lane=lane, disk_budget_bytes=BUDGET)
    assert claimed is not None
    return claimed


def give_back(store: JobStore, running: Job, **options: Any) -> Job:
    return store.give_back(running, erasure(running), outcome(Reason.LOST), **options)


def reading(name: str, connected: str) -> dict[str, Input]:
    if connected.startswith("job_"):
        return {name: Input(blob="b", format="arrow", bytes=1, source={"job": connected, "output": "result"})}
    return {name: Input(blob="b", format="arrow", bytes=1, dataset=connected)}


# submit ------------------------------------------------------------------------------------------------------------------
def test_a_job_comes_back_as_it_was_submitted(store: JobStore) -> None:
    asked = job(
        parameters={"threshold": 0.5, "text": "naïve \ud800 \x00", "deep": [{"a": None}]},
        limits=Limits(wall_seconds=7.5, memory_bytes=512 * MIB, disk_bytes=64 * MIB),
        labels={"team": "blue", "stage": "test"},
        created_at=1234.5,
        attempts_max=2,
    )
    assert store.submit(asked).job == replace(asked, queue_position=0)
    assert store.get_job(asked.tenant, asked.id) == replace(asked, queue_position=0)


def test_a_job_without_a_time_gets_the_stores(store: JobStore, clock: Any) -> None:
    assert submit(store).created_at == clock.now


def test_only_a_queued_job_can_be_submitted(store: JobStore) -> None:
    with pytest.raises(ValueError, match="expected a queued one"):
        submit(store, state=State.RUNNING)


def test_the_queue_position_counts_the_tenants_own_jobs_ahead_in_the_same_lane(store: JobStore) -> None:
    first, _, theirs, second = submit(store), submit(store, kind=Kind.DESCRIBE), submit(store, tenant="ten_other"), submit(store)
    assert (first.queue_position, theirs.queue_position, second.queue_position) == (0, 0, 1)
    claim(store)
    assert store.get_job(second.tenant, second.id).queue_position == 0
    assert store.get_job(first.tenant, first.id).queue_position is None


def test_a_place_far_back_is_not_counted_to_the_end(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.job_store.QUEUE_COUNTED", 2)
    assert [submit(store).queue_position for _ in range(4)] == [0, 1, 2, 2]
    assert store.queued(Lane.JOBS) == 4


def test_inputs_that_are_not_there_are_named_and_nothing_is_stored(store: JobStore) -> None:
    asked = job(inputs=reading("dataset1", "ds_gone") | reading("dataset2", "job_gone"))
    with pytest.raises(BadRequest) as caught:
        store.submit(asked, idempotency=KEY)
    assert [error.pointer for error in caught.value.errors] == ["/dataset1", "/dataset2"]
    assert store.list_jobs(asked.tenant) == ([], None)
    assert store.find_idempotent(asked.tenant, KEY) is None  # a refused request does not use its key up


def test_another_tenants_dataset_is_not_there(store: JobStore) -> None:
    theirs, _ = store.add_dataset(dataset(tenant="ten_other"))
    with pytest.raises(BadRequest, match=f"there is no dataset '{theirs.id}'"):
        submit(store, inputs=reading("dataset1", theirs.id))


def test_another_tenants_output_is_not_there(store: JobStore) -> None:
    theirs = submit(store, tenant="ten_other")
    with pytest.raises(BadRequest, match=f"there is no job '{theirs.id}'"):
        submit(store, inputs=reading("dataset1", theirs.id))


# idempotency -------------------------------------------------------------------------------------------------------------
def test_the_same_request_again_gives_the_first_job(store: JobStore) -> None:
    first = store.submit(job(), idempotency=KEY)
    again = store.submit(job(), idempotency=KEY)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.job == first.job == store.find_idempotent(first.job.tenant, KEY)
    assert store.queued(Lane.JOBS) == 1


def test_a_key_stands_for_one_request(store: JobStore) -> None:
    other = Idempotency(KEY.key, "b" * 64)
    tenant = store.submit(job(), idempotency=KEY).job.tenant
    with pytest.raises(IdempotencyReuse):
        store.submit(job(), idempotency=other)
    with pytest.raises(IdempotencyReuse):
        store.find_idempotent(tenant, other)
    assert store.queued(Lane.JOBS) == 1


def test_two_tenants_may_use_the_same_key(store: JobStore) -> None:
    store.submit(job(), idempotency=KEY)
    assert not store.submit(job(tenant="ten_other"), idempotency=Idempotency(KEY.key, "b" * 64)).replayed


def test_a_key_is_forgotten_after_its_hours(store: JobStore, clock: Any) -> None:
    first = store.submit(job(), idempotency=KEY).job
    clock.now += 24 * 3600 - 1
    assert store.submit(job(), idempotency=KEY).replayed
    clock.now += 1
    assert store.find_idempotent(first.tenant, KEY) is None
    assert not store.submit(job(), idempotency=Idempotency(KEY.key, "b" * 64)).replayed


def test_a_key_is_forgotten_however_many_there_are(store: JobStore, clock: Any) -> None:
    for number in range(50):
        store.submit(job(), idempotency=Idempotency(f"older-{number}", "a" * 64))
    clock.now += 1
    store.submit(job(), idempotency=KEY)
    clock.now += 24 * 3600
    assert not store.submit(job(), idempotency=Idempotency(KEY.key, "b" * 64)).replayed


def test_a_key_goes_with_its_job(store: JobStore) -> None:
    made = store.submit(job(), idempotency=KEY).job
    store.request_cancel(made.tenant, made.id)
    store.delete_job(made.tenant, made.id)
    assert store.find_idempotent(made.tenant, KEY) is None
    assert [store.submit(job(), idempotency=KEY).replayed for _ in range(2)] == [False, True]


# pages -------------------------------------------------------------------------------------------------------------------
def pages(page: Callable[[str | None], tuple[list[Any], str | None]]) -> list[list[str]]:
    seen: list[list[str]] = []
    cursor: str | None = None
    while True:
        items, cursor = page(cursor)
        seen.append([item.id for item in items])
        if cursor is None:
            return seen


def test_pages_hold_scripts_newest_first(store: JobStore) -> None:
    ids = [submit(store).id for _ in range(5)]
    submit(store, kind=Kind.CONVERT)
    seen = pages(lambda cursor: store.list_jobs("ten_test", before=cursor, limit=2))
    assert seen == [ids[4:2:-1], ids[2:0:-1], ids[:1]]


def test_a_page_that_is_just_full_has_no_next_one(store: JobStore) -> None:
    ids = [submit(store).id for _ in range(2)]
    assert pages(lambda cursor: store.list_jobs("ten_test", before=cursor, limit=2)) == [ids[::-1]]


def test_pages_of_one_state_and_one_label(store: JobStore) -> None:
    blue = [submit(store, labels={"team": "blue"}).id for _ in range(3)]
    submit(store, labels={"team": "red"})
    assert claim(store).id == blue[0]
    assert pages(lambda cursor: store.list_jobs("ten_test", labels=[("team", "blue")], before=cursor, limit=2)) == [blue[:0:-1], blue[:1]]
    assert [item.id for item in store.list_jobs("ten_test", labels=[("team", "blue")], state="queued")[0]] == blue[:0:-1]
    assert [item.id for item in store.list_jobs("ten_test", state="running")[0]] == blue[:1]
    assert store.list_jobs("ten_test", labels=[("team", "green")]) == ([], None)


def test_pages_of_several_labels_hold_what_has_all_of_them(store: JobStore) -> None:
    both = [store.submit(job(labels={"team": "blue", "run": "1", "other": str(n)})).job.id for n in range(3)]
    store.submit(job(labels={"team": "blue", "run": "2"}))
    store.submit(job(labels={"team": "green", "run": "1"}))
    asked = [("team", "blue"), ("run", "1")]
    assert pages(lambda cursor: store.list_jobs("ten_test", labels=asked, before=cursor, limit=2)) == [both[:0:-1], both[:1]]
    assert [each.id for each in store.list_jobs("ten_test", labels=[*asked, ("other", "1")])[0]] == [both[1]]
    assert store.list_jobs("ten_test", labels=[*asked, ("team", "green")]) == ([], None)


def test_a_page_stays_within_its_bytes(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.pages.PAGE_BYTES", 100_000)
    ids = [submit(store, parameters={"text": "x" * size}).id for size in (1, 200_000, 60_000, 60_000)]
    assert pages(lambda cursor: store.list_jobs("ten_test", before=cursor)) == [[ids[3]], [ids[2]], [ids[1]], [ids[0]]]


@pytest.mark.parametrize("cursor", ["", "%", "bm8", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk", "☃", "MQ===", "M Q"])
def test_a_cursor_that_is_none_is_refused(store: JobStore, cursor: str) -> None:
    for page in (store.list_jobs, store.list_datasets):
        with pytest.raises(BadRequest) as caught:
            page("ten_test", before=cursor)
        assert [error.pointer for error in caught.value.errors] == ["/cursor"]


# claim -------------------------------------------------------------------------------------------------------------------
def test_claims_are_first_come_first_served_in_each_lane(store: JobStore) -> None:
    scripts, errands = [submit(store).id for _ in range(3)], [submit(store, kind=Kind.DESCRIBE).id, submit(store, kind=Kind.CONVERT).id]
    assert [claim(store, Lane.ERRANDS).id for _ in errands] == errands
    assert [claim(store).id for _ in scripts] == scripts
    assert all(store.claim(worker="worker-1", lane=lane, disk_budget_bytes=BUDGET) is None for lane in Lane)


def test_a_claim_names_its_worker_and_raises_attempt_and_fence(store: JobStore, clock: Any) -> None:
    submit(store)
    claimed = claim(store)
    assert (claimed.state, claimed.worker, claimed.attempt, claimed.fence, claimed.beat) == (State.RUNNING, "worker-1", 1, 1, 0)
    assert claimed.started_at == clock.now
    assert store.running() == [claimed] == [store.get_job(claimed.tenant, claimed.id)]
    assert store.queued(Lane.JOBS) == 0


def test_a_large_job_at_the_front_is_waited_for(store: JobStore) -> None:
    large = submit(store)
    submit(store, limits=Limits(output_bytes=1 * MIB, disk_bytes=1 * MIB))
    reserved = large.limits.reserved_bytes
    assert store.claim(worker="worker-1", lane=Lane.JOBS, disk_budget_bytes=reserved - 1) is None
    claimed = store.claim(worker="worker-1", lane=Lane.JOBS, disk_budget_bytes=reserved)
    assert claimed is not None
    assert claimed.id == large.id


def test_running_jobs_reserve_their_disk_whichever_worker_runs_them(store: JobStore) -> None:
    reserved = submit(store).limits.reserved_bytes
    errand = submit(store, kind=Kind.DESCRIBE).reserved_bytes
    submit(store)
    both = reserved + errand
    running = store.claim(worker="worker-1", lane=Lane.JOBS, disk_budget_bytes=reserved)
    assert running is not None
    assert store.claim(worker="worker-2", lane=Lane.ERRANDS, disk_budget_bytes=both - 1) is None
    assert store.claim(worker="worker-2", lane=Lane.ERRANDS, disk_budget_bytes=both) is not None
    assert store.claim(worker="worker-2", lane=Lane.JOBS, disk_budget_bytes=both + reserved - 1) is None
    store.finish(running, outcome(), erasure(running))
    assert store.claim(worker="worker-2", lane=Lane.JOBS, disk_budget_bytes=both) is not None


def test_a_job_that_waits_for_disk_although_nothing_runs_is_told(store: JobStore) -> None:
    assert store.too_large_for_disk(Lane.JOBS, disk_budget_bytes=-1) is None
    errand = submit(store, kind=Kind.DESCRIBE)
    reserved = submit(store).limits.reserved_bytes
    assert store.too_large_for_disk(Lane.JOBS, disk_budget_bytes=reserved) is None
    assert store.too_large_for_disk(Lane.JOBS, disk_budget_bytes=reserved - 1) == reserved
    running = claim(store, Lane.ERRANDS)
    assert running.id == errand.id
    assert store.too_large_for_disk(Lane.JOBS, disk_budget_bytes=reserved - 1) is None
    store.finish(running, outcome(), erasure(running))
    assert store.too_large_for_disk(Lane.JOBS, disk_budget_bytes=reserved - 1) == reserved


# the lease ---------------------------------------------------------------------------------------------------------------
def test_a_renewal_raises_the_beat_and_tells_of_a_cancel(store: JobStore) -> None:
    submit(store)
    running = claim(store)
    assert not store.renew(running).cancel_requested
    store.request_cancel(running.tenant, running.id)
    assert store.renew(running).cancel_requested
    assert store.get_job(running.tenant, running.id).beat == 2


def test_the_sandbox_is_named_before_it_is_made(store: JobStore) -> None:
    submit(store)
    named = store.name_sandbox(claim(store), sandbox="fumehood-1", scratch="abc")
    assert (named.sandbox, named.scratch) == ("fumehood-1", "abc")
    assert store.running() == [named]


def test_a_claim_may_name_the_sandbox_that_is_ready_and_the_next_one_names_none(store: JobStore) -> None:
    submit(store)
    claimed = store.claim(worker="worker-1", lane=Lane.JOBS, disk_budget_bytes=BUDGET, sandbox="fumehood-1", scratch="abc")
    assert claimed is not None
    assert (claimed.sandbox, claimed.scratch) == ("fumehood-1", "abc")
    assert store.running() == [claimed]
    give_back(store, claimed)
    again = claim(store)
    assert (again.sandbox, again.scratch) == (None, None)


STALE_MOVES: dict[str, Callable[[JobStore, Job], object]] = {
    "renew": lambda store, stale: store.renew(stale),
    "name_sandbox": lambda store, stale: store.name_sandbox(stale, sandbox="x", scratch="y"),
    "finish": lambda store, stale: store.finish(stale, outcome(), erasure(stale)),
    "give_back": lambda store, stale: give_back(store, stale),
}


@pytest.mark.parametrize("verb", STALE_MOVES)
@pytest.mark.parametrize("meanwhile", ["queued", "claimed again", "final", "deleted"])
def test_a_stale_attempt_changes_nothing(store: JobStore, verb: str, meanwhile: str) -> None:
    submit(store)
    stale = claim(store)
    give_back(store, stale)
    if meanwhile != "queued":
        current = claim(store)
        assert current.fence > stale.fence
        if meanwhile != "claimed again":
            store.finish(current, outcome(), erasure(current))
        if meanwhile == "deleted":
            store.delete_job(stale.tenant, stale.id)
    before = store.list_jobs(stale.tenant)
    with pytest.raises(LeaseLost):
        STALE_MOVES[verb](store, stale)
    assert store.list_jobs(stale.tenant) == before


# finish ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reason", Reason)
def test_the_reason_decides_the_final_state(store: JobStore, clock: Any, reason: Reason) -> None:
    submit(store)
    ended = outcome(
        reason,
        message="m",
        error={"type": "ValueError", "line": 7},
        usage=Usage(wall_seconds=1.5, cpu_seconds=0.5, memory_peak_bytes=1, bytes_in=2, bytes_out=3),
        report={"result": {"rows": 8, "columns": []}},
        milliseconds={"stage": 1.25, "run.import": 480.0},
        image="sha256:" + "0" * 64,
    )
    running = claim(store)
    receipt = erasure(running, container=None, container_id=None, began_at=None)
    final = store.finish(running, ended, receipt)
    expected = {Reason.OK: State.SUCCEEDED, Reason.CANCELLED: State.CANCELLED}.get(reason, State.FAILED)
    assert (final.state, final.outcome, final.erasure, final.finished_at) == (expected, ended, receipt, clock.now)
    assert store.get_job(final.tenant, final.id) == final
    assert store.running() == []


def test_an_outcome_that_is_there_stands_against_a_cancel(store: JobStore) -> None:
    submit(store)
    running = claim(store)
    store.request_cancel(running.tenant, running.id)
    assert store.finish(running, outcome(), erasure(running)).state is State.SUCCEEDED


# give back ---------------------------------------------------------------------------------------------------------------
def test_a_job_that_is_given_back_is_first_in_the_queue_again(store: JobStore) -> None:
    first, second = submit(store), submit(store)
    running = store.name_sandbox(claim(store), sandbox="s", scratch="d")
    back = give_back(store, running)
    assert (back.state, back.attempt, back.fence) == (State.QUEUED, 1, 2)
    assert (back.worker, back.sandbox, back.scratch, back.started_at, back.outcome, back.finished_at) == (None,) * 6
    assert store.get_job(second.tenant, second.id).queue_position == 1
    again = claim(store)
    assert (again.id, again.attempt, again.fence, again.erasure) == (first.id, 2, 3, None)


def test_the_last_attempt_is_not_given_back(store: JobStore) -> None:
    submit(store, attempts_max=2)
    assert give_back(store, claim(store)).state is State.QUEUED
    last = claim(store)
    final = give_back(store, last)
    assert (final.state, final.outcome, final.erasure) == (State.FAILED, outcome(Reason.LOST), erasure(last))
    assert final.output_blob("log") == last.output_blob("log")  # the outcome's blobs are still found


def test_an_attempt_that_does_not_count_can_be_repeated_for_ever(store: JobStore) -> None:
    submit(store, attempts_max=1)
    for fence in (1, 3, 5, 7):
        running = claim(store)
        assert (running.attempt, running.fence) == (1, fence)
        assert give_back(store, running, count_attempt=False).attempt == 0


@pytest.mark.parametrize("options", [{}, {"count_attempt": False}])
def test_a_cancelled_job_is_never_queued_again(store: JobStore, options: dict[str, Any]) -> None:
    submit(store)
    running = claim(store)
    store.request_cancel(running.tenant, running.id)
    final = give_back(store, running, **options)
    assert final.state is State.CANCELLED
    assert final.outcome is not None
    assert final.outcome.reason is Reason.CANCELLED
    assert final.erasure == erasure(running)


def test_a_beat_that_rose_meanwhile_keeps_the_lease(store: JobStore) -> None:
    submit(store)
    running = claim(store)
    store.renew(running)
    with pytest.raises(LeaseLost, match="beat is 1, expected 0"):
        give_back(store, running, beat=0)
    assert store.get_job(running.tenant, running.id).state is State.RUNNING
    assert give_back(store, running, beat=1).state is State.QUEUED


def test_a_sandbox_that_was_named_meanwhile_keeps_the_lease(store: JobStore) -> None:
    """A reaper that saw the row without it has looked for nothing: what it hands back, it would not have erased."""
    submit(store)
    seen = claim(store)
    store.name_sandbox(seen, sandbox="fumehood-1", scratch="abc")
    with pytest.raises(LeaseLost, match="was renewed meanwhile"):
        give_back(store, seen, beat=seen.beat)


def test_a_success_is_not_given_back(store: JobStore) -> None:
    submit(store)
    with pytest.raises(ValueError, match="finished, not given back"):
        store.give_back(it := claim(store), erasure(it), outcome(Reason.OK))


# cancel and delete -------------------------------------------------------------------------------------------------------
def test_a_queued_job_ends_at_once_when_it_is_cancelled(store: JobStore, clock: Any) -> None:
    asked = submit(store)
    final = store.request_cancel(asked.tenant, asked.id)
    assert (final.state, final.cancel_requested, final.finished_at) == (State.CANCELLED, True, clock.now)
    assert final.outcome is not None
    assert final.outcome.reason is Reason.CANCELLED
    assert final.erasure is not None
    assert final.erasure == Erasure(
        job=asked.id,
        attempt=0,
        fence=0,
        worker=None,
        container=None,
        container_id=None,
        began_at=None,
        files=0,
        bytes=0,
        erased_at=clock.now,
    )
    assert store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET) is None


def test_a_job_that_ran_before_it_was_cancelled_keeps_the_receipt_of_that_attempt(store: JobStore) -> None:
    asked = submit(store)
    running = claim(store)
    give_back(store, running)
    assert store.request_cancel(asked.tenant, asked.id).erasure == erasure(running)


@pytest.mark.parametrize("wrong", [{"job": "job_other"}, {"fence": 2}])
def test_the_receipt_of_another_attempt_is_refused(store: JobStore, wrong: dict[str, Any]) -> None:
    submit(store)
    running = claim(store)
    receipt = erasure(running, **wrong)
    with pytest.raises(ValueError, match="the receipt is of"):
        store.finish(running, outcome(), receipt)
    with pytest.raises(ValueError, match="the receipt is of"):
        store.give_back(running, receipt, outcome(Reason.LOST))
    assert store.get_job(running.tenant, running.id).state is State.RUNNING


def test_a_running_job_is_marked_and_may_be_marked_twice(store: JobStore) -> None:
    asked = submit(store)
    claim(store)
    for _ in range(2):
        marked = store.request_cancel(asked.tenant, asked.id)
        assert (marked.state, marked.cancel_requested) == (State.RUNNING, True)


def test_only_a_final_job_can_be_deleted(store: JobStore) -> None:
    asked = submit(store, labels={"a": "b"})
    with pytest.raises(Conflict, match="is queued"):
        store.delete_job(asked.tenant, asked.id)
    running = claim(store)
    with pytest.raises(Conflict, match="is running"):
        store.delete_job(asked.tenant, asked.id)
    final = store.finish(running, outcome(), erasure(running))
    assert store.delete_job(asked.tenant, asked.id) == final
    with pytest.raises(NotFound):
        store.get_job(asked.tenant, asked.id)
    assert store.list_jobs(asked.tenant, labels=[("a", "b")]) == ([], None)


@pytest.mark.parametrize("need", ["dataset", "job"])
def test_what_a_job_needs_can_be_deleted_only_after_its_end(store: JobStore, need: str) -> None:
    delete: Callable[[str, str], Job | Dataset]
    if need == "dataset":
        needed, delete = store.add_dataset(dataset())[0].id, store.delete_dataset
    else:
        needed, delete = submit(store).id, store.delete_job
        store.finish(it := claim(store), outcome(), erasure(it))
    reader = submit(store, inputs=reading("dataset2", needed))
    with pytest.raises(Conflict, match=needed):
        delete("ten_test", needed)
    running = claim(store)
    with pytest.raises(Conflict, match=needed):
        delete("ten_test", needed)
    assert give_back(store, running).state is State.QUEUED
    with pytest.raises(Conflict, match=needed):
        delete("ten_test", needed)
    store.finish(it := claim(store), outcome(), erasure(it))
    assert delete("ten_test", needed).id == needed
    assert store.get_job("ten_test", reader.id).inputs["dataset2"].format == "arrow"  # the record keeps what it was told


# the state machine -------------------------------------------------------------------------------------------------------
REACH: dict[State, Callable[[JobStore], Job]] = {
    State.QUEUED: submit,
    State.RUNNING: lambda store: (submit(store), claim(store))[1],
    State.SUCCEEDED: lambda store: store.finish(it := REACH[State.RUNNING](store), outcome(), erasure(it)),
    State.FAILED: lambda store: store.finish(it := REACH[State.RUNNING](store), outcome(Reason.SCRIPT_ERROR), erasure(it)),
    State.CANCELLED: lambda store: store.finish(it := REACH[State.RUNNING](store), outcome(Reason.CANCELLED), erasure(it)),
}
MOVES: dict[tuple[State, State], Callable[[JobStore, Job], object]] = {
    (State.QUEUED, State.RUNNING): lambda store, _: claim(store),
    (State.QUEUED, State.CANCELLED): lambda store, each: store.request_cancel(each.tenant, each.id),
    (State.RUNNING, State.QUEUED): give_back,
    (State.RUNNING, State.SUCCEEDED): lambda store, each: store.finish(each, outcome(), erasure(each)),
    (State.RUNNING, State.FAILED): lambda store, each: store.finish(each, outcome(Reason.OUT_OF_MEMORY), erasure(each)),
    (State.RUNNING, State.CANCELLED): lambda store, each: store.finish(each, outcome(Reason.CANCELLED), erasure(each)),
}
NO_VERB_YET = {(State.QUEUED, State.FAILED)}  # a job that waits too long would expire


def test_every_transition_is_somebodys_verb() -> None:
    assert set(MOVES) | NO_VERB_YET == {(old, new) for old, successors in TRANSITIONS.items() for new in successors}


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_the_verbs_walk_the_state_machine(store: JobStore, old: State, new: State) -> None:
    each = REACH[old](store)
    assert each.state is old
    MOVES[old, new](store, each)
    assert store.get_job(each.tenant, each.id).state is new


@pytest.mark.parametrize("final", [state for state in State if state.final])
def test_a_final_job_never_moves_again(store: JobStore, final: State) -> None:
    each = REACH[final](store)
    with pytest.raises(Conflict):
        store.request_cancel(each.tenant, each.id)
    for move in STALE_MOVES.values():
        with pytest.raises(LeaseLost):
            move(store, each)
    assert store.claim(worker="w", lane=Lane.JOBS, disk_budget_bytes=BUDGET) is None
    assert store.get_job(each.tenant, each.id) == each


# tenants -----------------------------------------------------------------------------------------------------------------
# For whatever tenant the operator names.
OPERATORS = {"count_erased", "end_erasure", "end_jobs_of", "erase_rows_of", "list_audit", "some_streams_of", "tenant_receipt"}


def test_no_verb_shows_another_tenants_things(store: JobStore) -> None:
    theirs = store.submit(job(labels={"a": "b"}), idempotency=KEY).job
    owned, _ = store.add_dataset(dataset())
    batch, _ = store.submit_batch(*batch_of(2))
    told = store.submit(job(callback_url="https://example.com/")).job
    store.request_cancel(told.tenant, told.id)
    secret = store.webhook_secrets(told.tenant).newest
    gone, _ = store.add_dataset(dataset(kept_seconds=-1.0))
    assert store.expire_dataset(gone.tenant, gone.id)
    version, check = version_of("score", tenant=theirs.tenant)
    store.publish(version, check, key="key-2", request_sha256=KEY.request_sha256)
    asked: dict[str, Callable[[], object]] = {
        "get_job": lambda: store.get_job("ten_b", theirs.id),
        "request_cancel": lambda: store.request_cancel("ten_b", theirs.id),
        "delete_job": lambda: store.delete_job("ten_b", theirs.id),
        "get_dataset": lambda: store.get_dataset("ten_b", owned.id),
        "delete_dataset": lambda: store.delete_dataset("ten_b", owned.id),
        "list_jobs": lambda: store.list_jobs("ten_b", labels=[("a", "b")]),
        "list_datasets": lambda: store.list_datasets("ten_b"),
        "find_idempotent": lambda: store.find_idempotent("ten_b", KEY),
        "find_dataset": lambda: store.find_dataset("ten_b", sha256=owned.sha256, format=owned.format),
        "get_batch": lambda: store.get_batch("ten_b", batch.id),
        "list_batches": lambda: store.list_batches("ten_b"),
        "list_items": lambda: store.list_items("ten_b", batch.id),
        "get_item": lambda: store.get_item("ten_b", batch.id, 0),
        "unfinished_job": lambda: store.unfinished_job("ten_b", batch.id),
        "cancel_batch": lambda: store.cancel_batch("ten_b", batch.id),
        "delete_batch": lambda: store.delete_batch("ten_b", batch.id),
        "list_deliveries": lambda: store.list_deliveries("ten_b", about=told.id),
        "get_delivery": lambda: store.get_delivery("ten_b", store.list_deliveries(told.tenant)[0][0].id),
        "replay_delivery": lambda: store.replay_delivery("ten_b", store.list_deliveries(told.tenant)[0][0].id),
        "webhook_secrets": lambda: {secret} & set(store.webhook_secrets("ten_b").all) or None,
        "rotate_webhook_secret": lambda: {secret} & set(store.rotate_webhook_secret("ten_b").all) or None,
        "find_idempotent_batch": lambda: store.find_idempotent_batch("ten_b", KEY.key, KEY.request_sha256),
        "item_ends": lambda: store.item_ends("ten_b", batch.id),
        "find_cached": lambda: store.find_cached("ten_b", "c" * 64, image="sha256:1"),
        "count_live": lambda: sum(store.count_live("ten_b", at_most=10).values()) or None,
        "usage": lambda: store.usage("ten_b", first=date(2023, 11, 14), last=date(2023, 11, 15)),
        "use_dataset": lambda: store.use_dataset("ten_b", owned.id, kept_seconds=1),
        "pin_dataset": lambda: store.pin_dataset("ten_b", owned.id, pinned=True),
        "expired_at": lambda: store.expired_at("ten_b", gone.id),
        "begin_expiry": lambda: store.begin_expiry("ten_b"),
        "begin_batch_expiry": lambda: store.begin_batch_expiry("ten_b"),
        "use_of": lambda: store.use_of("ten_b").stored_bytes or None,
        "check_room": lambda: store.check_room("ten_b", Quota(stored_bytes=1), bytes=1),
        "retry_items": lambda: store.retry_items("ten_b", batch.id, TERMS),
        "keep_joined": lambda: store.keep_joined("ten_b", batch, size_bytes=1),
        "tables_of_items": lambda: store.tables_of_items("ten_b", batch.id),
        "shrink_batch": lambda: store.shrink_batch("ten_b", batch.id),
        "due_datasets": lambda: store.due_datasets("ten_b"),
        "expire_dataset": lambda: store.expire_dataset("ten_b", owned.id),
        "find_idempotent_version": lambda: store.find_idempotent_version("ten_b", "key-2", KEY.request_sha256),
        "get_script": lambda: store.get_script("ten_b", "score"),
        "list_scripts": lambda: store.list_scripts("ten_b"),
        "delete_script": lambda: store.delete_script("ten_b", "score"),
        "get_version": lambda: store.get_version("ten_b", "score", 1),
        "get_version_by_id": lambda: store.get_version_by_id("ten_b", version.id),
        "list_versions": lambda: store.list_versions("ten_b", "score"),
        "delete_version": lambda: store.delete_version("ten_b", "score", 1),
        "version_for": lambda: store.version_for("ten_b", "score", number=1),
        "get_alias": lambda: store.get_alias("ten_b", "score", "latest"),
        "list_aliases": lambda: store.list_aliases("ten_b", "score"),
        "set_alias": lambda: store.set_alias("ten_b", "score", "prod", (Target(1),)),
        "roll_back": lambda: store.roll_back("ten_b", "score", "prod"),
        "delete_alias": lambda: store.delete_alias("ten_b", "score", "prod"),
        "keep_prepared": lambda: store.keep_prepared(tenant="ten_b", version=version.id, worker="wrk_a", sandbox="one"),
    }
    verbs = {name for name, verb in inspect.getmembers(JobStore, inspect.isfunction) if "tenant" in inspect.signature(verb).parameters}
    assert {name for name in verbs if not name.startswith("_")} - OPERATORS == set(asked)
    for ask in asked.values():
        with contextlib.suppress(NotFound):
            assert ask() in (None, ([], None), [], False)
    assert store.get_job(theirs.tenant, theirs.id) == theirs
    assert store.get_dataset(owned.tenant, owned.id) == owned
    assert store.get_batch(batch.tenant, batch.id) == batch
    assert store.get_version(version.tenant, "score", 1).id == version.id


# errands -----------------------------------------------------------------------------------------------------------------
def test_errands_are_listed_for_the_reaper_and_for_nobody_else(store: JobStore) -> None:
    script, errand = submit(store), submit(store, kind=Kind.DESCRIBE)
    assert [each.id for each in store.errands()] == [errand.id]
    assert [each.id for each in store.list_jobs("ten_test")[0]] == [script.id]
    assert store.get_job("ten_test", errand.id).kind is Kind.DESCRIBE
