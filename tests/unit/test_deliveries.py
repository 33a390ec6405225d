"""Messages to tenants in the store: written with what they tell of, claimed fairly, settled once, sent again."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update

import fumehood.outbox
from fumehood.batch import Isolation
from fumehood.delivery import TRIES_KEPT, Delivery, DeliveryState, Trouble, Try
from fumehood.delivery_store import Share
from fumehood.errors import Conflict, NotFound
from fumehood.job import Job, Lane, State
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.tenant import TenantState
from fumehood.testing import erasure, job, outcome
from fumehood.webhook_schema import DELIVERIES
from fumehood.webhook_secrets import OVERLAP_SECONDS, SECRETS_KEPT
from tests.unit.stores import Clock, batch_of

URL = "https://hooks.example/a"
WIDE = Share(of_tenant=100, of_host=100)
OK = Try(at=1.0, status=200)
BAD = Try(at=1.0, status=500, trouble=Trouble.STATUS)


def claim(store: JobStore, room: int = 100, share: Share = WIDE, *, lease_seconds: float = 60, after: str = "") -> list[Delivery]:
    return store.claim_deliveries(room=room, share=share, lease_seconds=lease_seconds, after=after)


def finished(store: JobStore, made: Job, reason: Reason = Reason.OK) -> Job:
    store.submit(made)
    return finish_next(store, reason)


def finish_next(store: JobStore, reason: Reason = Reason.OK) -> Job:
    claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert claimed is not None
    return store.finish(claimed, outcome(reason), erasure(claimed))


def told(store: JobStore, count: int = 1, *, tenant: str = "ten_test", url: str = URL) -> list[str]:
    """So many messages of a tenant that wait."""
    jobs = [store.submit(job(tenant=tenant, callback_url=url)).job for _ in range(count)]
    for one in jobs:
        store.request_cancel(tenant, one.id)
    return [one.id for one in jobs]


def of(store: JobStore, about: str, tenant: str = "ten_test") -> Delivery:
    (found,), _ = store.list_deliveries(tenant, about=about)
    return found


# the outbox --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "state"), [(Reason.OK, "succeeded"), (Reason.SCRIPT_ERROR, "failed"), (Reason.CANCELLED, "cancelled")])
def test_a_job_that_ends_is_told_of(store: JobStore, reason: Reason, state: str) -> None:
    ended = finished(store, job(callback_url=URL, labels={"team": "blue"}), reason)
    found = of(store, ended.id)
    assert (found.event, found.state, found.url, found.attempt, found.tries) == (f"job.{state}", "pending", URL, 0, ())
    document = json.loads(found.body)
    assert (document["type"], document["timestamp"]) == (f"job.{state}", "2023-11-14T22:13:20.000Z")
    assert document["data"] == {
        "id": ended.id,
        "state": state,
        "reason": reason.value,
        "blame": reason.blame.value,
        "attempt": 1,
        "labels": {"team": "blue"},
        "created_at": "2023-11-14T22:13:20.000Z",
        "started_at": "2023-11-14T22:13:20.000Z",
        "finished_at": "2023-11-14T22:13:20.000Z",
    }


def test_nobody_is_told_who_did_not_ask_and_nothing_before_the_end(store: JobStore) -> None:
    finished(store, job())
    store.submit(job(callback_url=URL))
    claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert claimed is not None
    store.give_back(claimed, erasure(claimed), outcome(Reason.LOST))
    assert store.list_deliveries("ten_test") == ([], None)
    for _ in range(2):  # its last attempts
        again = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
        assert again is not None
        store.give_back(again, erasure(again), outcome(Reason.LOST))
    assert of(store, claimed.id).event == "job.failed"


def test_a_job_that_has_an_earlier_result_is_told_of_at_once(store: JobStore, clock: Clock) -> None:
    made = store.submit_cached(job(callback_url=URL, cache_key="k"), finished(store, job(cache_key="k"))).job
    assert made.state is State.SUCCEEDED
    found = of(store, made.id)
    assert (found.event, found.state, found.created_at) == ("job.succeeded", "pending", clock.now)
    assert found.payload["data"]["created_at"] == "2023-11-14T22:13:20.000Z"  # type: ignore[index]


def test_a_message_is_there_exactly_when_its_job_has_ended(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction: where the message cannot be written, the job has not ended."""
    waiting = store.submit(job(callback_url=URL)).job

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(fumehood.outbox, "payload_of_job", broken)
        with pytest.raises(RuntimeError, match="planted"):
            store.request_cancel("ten_test", waiting.id)
    assert store.get_job("ten_test", waiting.id).state is State.QUEUED
    assert store.list_deliveries("ten_test")[0] == []


def test_who_has_too_many_waiting_finds_the_rest_marked_and_can_have_it_sent(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fumehood.outbox, "QUEUE_MAX", 2)
    fumehood.outbox._count_pending.cache_clear()
    try:
        first, second, third = told(store, 3)
        told(store, 1, tenant="ten_other")
    finally:
        fumehood.outbox._count_pending.cache_clear()
    assert [of(store, one).state for one in (first, second, third)] == ["pending", "pending", "failed"]
    lost = of(store, third)
    assert [one.trouble for one in lost.tries] == [Trouble.QUEUE_FULL]
    assert store.replay_delivery("ten_test", lost.id).state is DeliveryState.PENDING
    assert len(claim(store)) == 4


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_batch_is_told_of_when_its_last_item_has_ended_and_its_items_are_not(store: JobStore, isolation: Isolation) -> None:
    batch, *asked = batch_of(60, isolation, callback_url=URL)
    store.submit_batch(batch, *asked)
    assert of(store, batch.id).state is DeliveryState.HELD
    for _ in range(60 if isolation is Isolation.ITEM else 3):
        assert store.release_batches() == 0
        assert claim(store) == []
        finish_next(store)
    assert store.release_batches() == 1
    assert store.release_batches() == 0
    (sent,) = claim(store)
    document = json.loads(sent.body)
    assert (document["type"], document["data"]["id"], document["data"]["counts"]) == ("batch.finished", batch.id, {"succeeded": 60})
    assert len(store.list_deliveries("ten_test")[0]) == 1


def test_a_batch_that_is_cancelled_is_told_of(store: JobStore) -> None:
    batch, *asked = batch_of(3, callback_url=URL)
    store.submit_batch(batch, *asked)
    store.cancel_batch("ten_test", batch.id)
    assert store.release_batches() == 1
    assert of(store, batch.id).payload["data"]["counts"] == {"cancelled": 3}  # type: ignore[index]


def test_what_is_forgotten_is_not_told_of_any_more(store: JobStore) -> None:
    (one,) = told(store)
    batch, *asked = batch_of(1, callback_url=URL)
    store.submit_batch(batch, *asked)
    store.cancel_batch("ten_test", batch.id)
    (sending,) = claim(store)
    store.delete_job("ten_test", one)
    store.delete_batch("ten_test", batch.id)
    assert store.list_deliveries("ten_test")[0] == []
    assert not store.settle_delivery(sending, OK, again_in_seconds=None)
    assert store.release_batches() == 0


# claim and settle --------------------------------------------------------------------------------------------------------


def test_what_is_due_is_claimed_once_and_ends_when_it_came(store: JobStore, clock: Clock) -> None:
    (about,) = told(store)
    (sending,) = claim(store)
    assert (sending.state, sending.attempt, sending.fence) == ("sending", 1, 1)
    assert claim(store) == []
    clock.now += 5
    assert store.settle_delivery(sending, OK, again_in_seconds=None)
    ended = of(store, about)
    assert (ended.state, ended.ended_at, ended.tries) == ("delivered", clock.now, (OK,))
    clock.now += 10**6
    assert claim(store) == []


def test_what_failed_waits_its_pause_and_is_the_same_message(store: JobStore, clock: Clock) -> None:
    told(store)
    (first,) = claim(store)
    assert store.settle_delivery(first, BAD, again_in_seconds=300)
    clock.now += 299
    assert claim(store) == []
    clock.now += 1
    (second,) = claim(store)
    assert (second.id, second.body, second.attempt, second.fence, second.tries) == (first.id, first.body, 2, 2, (BAD,))
    assert store.settle_delivery(second, BAD, again_in_seconds=None)
    assert of(store, first.about).state is DeliveryState.FAILED


def test_what_a_courier_left_behind_is_taken_up_again_and_its_word_counts_no_more(store: JobStore, clock: Clock) -> None:
    told(store)
    (lost,) = claim(store, lease_seconds=60)
    clock.now += 59
    assert claim(store) == []
    clock.now += 1
    (again,) = claim(store)
    assert (again.id, again.attempt, [one.trouble for one in again.tries]) == (lost.id, 2, [Trouble.INTERRUPTED])
    assert not store.settle_delivery(lost, OK, again_in_seconds=None)
    assert of(store, lost.about).state is DeliveryState.SENDING
    assert store.settle_delivery(again, OK, again_in_seconds=None)
    assert not store.settle_delivery(again, BAD, again_in_seconds=1)


def test_only_so_many_tries_are_kept(store: JobStore, clock: Clock) -> None:
    told(store)
    for number in range(TRIES_KEPT + 2):
        (sending,) = claim(store)
        store.settle_delivery(sending, Try(at=float(number), trouble=Trouble.TIMED_OUT), again_in_seconds=0)
    kept = of(store, sending.about).tries
    assert [one.at for one in kept] == [float(number) for number in range(2, TRIES_KEPT + 2)]


def test_tenants_take_turns_and_none_has_more_than_its_share(store: JobStore, clock: Clock) -> None:
    told(store, 20, tenant="ten_a")
    clock.now += 1
    told(store, 2, tenant="ten_b")
    told(store, 2, tenant="ten_c")
    first = claim(store, 3, Share(of_tenant=4, of_host=100))
    assert [one.tenant for one in first] == ["ten_a", "ten_b", "ten_c"]
    # The next turn begins behind whoever was served last, and a tenant's own come in the order of their time.
    assert [one.tenant for one in claim(store, 2, Share(of_tenant=4, of_host=100), after="ten_b")] == ["ten_c", "ten_a"]
    rest = claim(store, 100, Share(of_tenant=4, of_host=100), after="ten_a")
    assert Counter(one.tenant for one in rest) == {"ten_a": 2, "ten_b": 1}
    assert claim(store, 100, Share(of_tenant=4, of_host=100)) == []
    store.settle_delivery(first[0], OK, again_in_seconds=None)
    assert [one.tenant for one in claim(store, 100, Share(of_tenant=4, of_host=100))] == ["ten_a"]


def test_nothing_is_sent_for_a_tenant_that_is_suspended_until_it_is_resumed(store: JobStore, clock: Clock) -> None:
    lab, other = store.create_tenant("lab").id, store.create_tenant("other").id
    told(store, 2, tenant=lab)
    told(store, 1, tenant=other)
    (under_way,) = claim(store, room=1, after=other if lab > other else "")
    store.change_tenant(under_way.tenant, state=TenantState.SUSPENDED)
    claimed = [one.tenant for one in claim(store)]
    clock.now += 61  # neither what a courier left behind
    assert under_way.tenant not in claimed + [one.tenant for one in claim(store)]
    store.change_tenant(under_way.tenant, state=TenantState.ACTIVE)
    assert under_way.id in [one.id for one in claim(store)]


def test_a_slow_server_holds_up_no_other_of_the_same_tenant(store: JobStore, clock: Clock) -> None:
    told(store, 10, url="https://slow.example/x")
    clock.now += 1
    told(store, 2, url="https://quick.example/")
    taken = claim(store, 100, Share(of_tenant=4, of_host=2))
    assert Counter(one.url for one in taken) == {"https://slow.example/x": 2, "https://quick.example/": 2}


def test_several_couriers_never_claim_the_same(store: JobStore) -> None:
    for tenant in ("ten_a", "ten_b", "ten_c"):
        told(store, 20, tenant=tenant)

    def greedy(_: int) -> list[str]:
        mine: list[str] = []
        while some := claim(store, 3):
            mine += [one.id for one in some]
        return mine

    with ThreadPoolExecutor(4) as threads:
        claimed = [one for some in threads.map(greedy, range(4)) for one in some]
    assert len(claimed) == len(set(claimed)) == 60


def test_looking_for_what_is_due_walks_from_tenant_to_tenant(store: JobStore) -> None:
    """However many messages of one of them wait."""
    told(store, 3, tenant="ten_a")
    told(store, 1, tenant="ten_b")
    with store._database.writing() as connection:
        connection.execute(update(DELIVERIES).where(DELIVERIES.c.tenant == "ten_a").values(due_at=2e9))
    assert [one.tenant for one in claim(store)] == ["ten_b"]
    if store._database.is_sqlite:
        with store._database.reading() as connection:
            from fumehood.delivery_store import _tenants_due

            plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {_tenants_due().text}", {"now": 0}).all()]
        read = [step for step in plan if "deliveries" in step]
        assert len(read) == 3
        assert all(step.startswith("SEARCH deliveries USING COVERING INDEX ix_deliveries_state_tenant_due_at") for step in read), read


# the log -----------------------------------------------------------------------------------------------------------------


def test_the_log_is_a_page_of_ones_own_and_can_be_narrowed(store: JobStore) -> None:
    ids = told(store, 5)
    told(store, 1, tenant="ten_other")
    (sending,) = claim(store, 1, after="ten_other")
    store.settle_delivery(sending, OK, again_in_seconds=None)
    page, cursor = store.list_deliveries("ten_test", limit=3)
    rest, end = store.list_deliveries("ten_test", limit=3, before=cursor)
    assert [one.about for one in page + rest] == ids[::-1]
    assert end is None
    assert [one.id for one in store.list_deliveries("ten_test", state="delivered")[0]] == [sending.id]
    assert store.list_deliveries("ten_test", state="pending", about=sending.about) == ([], None)
    assert store.list_deliveries("ten_other", about=sending.about) == ([], None)
    assert store.get_delivery("ten_test", sending.id).state is DeliveryState.DELIVERED
    for verb in (store.get_delivery, store.replay_delivery):
        with pytest.raises(NotFound):
            verb("ten_other", sending.id)


def test_a_message_can_be_sent_again_from_the_beginning(store: JobStore, clock: Clock) -> None:
    told(store)
    (first,) = claim(store)
    with pytest.raises(Conflict, match="is being sent"):
        store.replay_delivery("ten_test", first.id)
    store.settle_delivery(first, BAD, again_in_seconds=None)
    replayed = store.replay_delivery("ten_test", first.id)
    assert (replayed.state, replayed.attempt, replayed.ended_at, replayed.tries) == ("pending", 0, None, (BAD,))
    (second,) = claim(store)
    assert (second.id, second.body, second.attempt) == (first.id, first.body, 1)
    store.settle_delivery(second, BAD, again_in_seconds=10**6)
    store.replay_delivery("ten_test", first.id)
    assert len(claim(store)) == 1


def test_a_batch_that_runs_cannot_be_told_of_early(store: JobStore) -> None:
    batch, *asked = batch_of(1, callback_url=URL)
    store.submit_batch(batch, *asked)
    with pytest.raises(Conflict, match="waits for the end of its batch"):
        store.replay_delivery("ten_test", of(store, batch.id).id)


def test_old_ones_are_forgotten_in_steps_and_what_waits_is_kept(store: JobStore, clock: Clock) -> None:
    told(store, 3)
    for sending in claim(store, 2):
        store.settle_delivery(sending, OK, again_in_seconds=None)
    clock.now += 100
    assert store.forget_deliveries(older_than_seconds=101) == 0
    assert store.forget_deliveries(older_than_seconds=99) == 2
    assert [one.state for one in store.list_deliveries("ten_test")[0]] == ["pending"]


# secrets -----------------------------------------------------------------------------------------------------------------


def test_a_secret_is_made_when_it_is_asked_for_and_stays(store: JobStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = set(threads.map(lambda _: store.webhook_secrets("ten_test").newest, range(8)))
    assert len(made) == 1
    assert store.webhook_secrets("ten_other").newest not in made


def test_a_changed_secret_is_signed_with_for_a_day(store: JobStore, clock: Clock) -> None:
    old = store.webhook_secrets("ten_test")
    new = store.rotate_webhook_secret("ten_test")
    assert (new.all, new.former_until) == ((new.newest, old.newest), clock.now + OVERLAP_SECONDS)
    clock.now += OVERLAP_SECONDS - 1
    assert store.webhook_secrets("ten_test").all == (new.newest, old.newest)
    clock.now += 1
    assert store.webhook_secrets("ten_test").all == (new.newest,)


def test_who_changes_often_keeps_only_the_last_ones(store: JobStore) -> None:
    made = [store.rotate_webhook_secret("ten_test").newest for _ in range(5)]
    assert store.webhook_secrets("ten_test").all == tuple(made[::-1][:SECRETS_KEPT])
