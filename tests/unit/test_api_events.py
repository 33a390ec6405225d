"""/v1/events and /v1/batches/{id}/events, with a worker that makes results up, on a Redis in memory and on a real one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
import redis as redis_client
from starlette.types import Message, Receive, Scope, Send

from api.batch_events import PAUSE_SECONDS
from api.tenant_events import tenant_events
from fumehood.events import Notice, RedisEvents
from fumehood.notices import JOB
from fumehood.outcome import Reason
from fumehood.settings import Settings
from fumehood.testing import RedisServer, erasure, outcome
from tests.unit.front_desk import DISCONNECT, Counter, Made, Stand, body, slug
from tests.unit.test_api_batches import batch, chunk_ran

NOW = {"seconds": 0}


@dataclass(frozen=True)
class Told:
    id: str | None
    kind: str
    data: dict[str, Any]


@pytest.fixture(params=["memory", "redis"])
def stand(request: pytest.FixtureRequest, open_stand: Callable[..., Stand]) -> Iterator[Stand]:
    """Both messengers, one suite."""
    stand = open_stand()
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        make: Callable[..., Settings] = request.getfixturevalue("settings")
        events = RedisEvents(make(redis_url=server.url, redis_password=server.password))
        object.__setattr__(stand.desk, "events", events)
        yield stand
        events.close()
    else:
        yield stand


@pytest.fixture
def us(stand: Stand) -> Counter:
    return stand.us


def read(text: str) -> list[Told]:
    told = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            told.append(Told(fields.get("id"), fields["event"], json.loads(fields["data"])))
    numbers = [tuple(map(int, one.id.split("-"))) for one in told if one.id is not None]
    assert numbers == sorted(numbers), "ids rise"
    return told


def events(us: Counter, path: str = "/v1/events", after: str | None = None, **query: Any) -> list[Told]:
    answer = us.get(path, params={**NOW, **query}, headers={} if after is None else {"Last-Event-ID": after})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream"), answer.text
    return read(answer.text)


def of_batch(us: Counter, record: dict[str, Any], after: str | None = None, **query: Any) -> list[Told]:
    return events(us, f"/v1/batches/{record['id']}/events", after, **query)


def last_id(told: list[Told]) -> str:
    return next(one.id for one in reversed(told) if one.id is not None)


def short(told: list[Told]) -> list[tuple[str, Any]]:
    return [(one.kind, one.data.get("state") or one.data.get("reason") or one.data.get("number")) for one in told]


def wipe(stand: Stand, redis: RedisServer | None) -> None:
    if isinstance(stand.desk.events, RedisEvents):
        assert redis is not None
        with redis_client.Redis.from_url(redis.url, password=redis.password) as client:
            client.flushall()
    else:
        stand.events._streams.clear()


# a tenant's ------------------------------------------------------------------------------------------------------------------


def test_a_tenant_is_told_every_state_of_its_jobs_and_nobody_elses(stand: Stand, us: Counter) -> None:
    begun = events(us)
    assert [(one.kind, one.data) for one in begun] == [("now", {"queued": 0, "running": 0})]
    stand.other.job()
    job = us.job()
    stand.worker.work()
    told = events(us, after=begun[0].id)
    assert [(one.kind, one.data["id"], one.data["state"], one.data["reason"], one.data["attempt"]) for one in told] == [
        ("job", job, "queued", None, 0),
        ("job", job, "running", None, 1),
        ("job", job, "succeeded", "ok", 1),
    ]
    assert events(us, after=last_id(told)) == []


def test_events_come_as_they_happen(stand: Stand, us: Counter) -> None:
    begun = last_id(events(us))
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(events, us, after=begun, seconds=1.5)
        job = us.job()
        stand.worker.work()
        told = following.result(20)
    assert [(one.kind, one.data["id"]) for one in told] == [("job", job)] * 3


def test_a_job_that_is_cancelled_while_it_waits_is_told(stand: Stand, us: Counter) -> None:
    begun = last_id(events(us))
    us.post(f"/v1/jobs/{us.job()}/cancel")
    assert short(events(us, after=begun)) == [("job", "queued"), ("job", "cancelled")]


def test_errands_are_not_told(stand: Stand, us: Counter) -> None:
    begun = last_id(events(us))
    us.dataset()
    assert events(us, after=begun) == []


def test_a_batch_is_told_when_it_is_there_and_when_it_has_ended(stand: Stand, us: Counter) -> None:
    begun = last_id(events(us))
    record = batch(stand, 2)
    stand.worker.work()
    told = events(us, after=begun)
    assert [one.kind for one in told] == ["job"] * 4 + ["batch"]
    assert {one.data["batch"] for one in told[:4]} == {record["id"]}
    assert told[-1].data["counts"] == {"queued": 0, "running": 0, "succeeded": 2, "failed": 0, "cancelled": 0}
    assert told[-1].data["finished_at"] is not None
    assert [one.id for one in told[:4]] == [None] * 4, "who goes on behind a job must not miss its batch"
    assert events(us, after=told[-1].id) == []


def test_a_chunk_is_told_as_its_batch(stand: Stand, us: Counter) -> None:
    record = batch(stand, 2, isolation="batch")
    begun = last_id(events(us))
    chunk_ran(stand, [Reason.OK, Reason.SCRIPT_ERROR])
    told = events(us, after=begun)
    assert [(one.kind, one.data["id"]) for one in told] == [("batch", record["id"])]
    assert told[0].data["counts"]["failed"] == 1


@pytest.mark.parametrize("after", ["nonsense", "1-1", "9" * 30, "99999999999999-0", "0"])
def test_an_id_that_is_not_there_is_a_gap_and_then_the_truth(stand: Stand, us: Counter, after: str) -> None:
    us.job()
    told = events(us, after=after)
    assert [(one.kind, one.data) for one in told] == [("gap", {"reason": "lost"}), ("now", {"queued": 1, "running": 0})]


def test_a_wiped_stream_is_a_gap_for_who_comes_back_and_for_who_is_there(stand: Stand, us: Counter, redis: RedisServer) -> None:
    begun = last_id(events(us))
    us.job()
    wipe(stand, redis)
    assert short(events(us, after=begun)) == [("gap", "lost"), ("now", None)]

    async def follow() -> list[Told]:
        told = []
        async with aclosing(tenant_events(stand.desk, tenant_of(stand), None, 30)) as pieces:
            async for piece in pieces:
                told += read(piece.decode())
                if len(told) == 1:
                    await asyncio.to_thread(wipe, stand, redis)
                    await asyncio.to_thread(stand.desk.events.notify, [Notice(tenant_of(stand), JOB, {"id": "job_1", "state": "queued"})])
                if len(told) == 3:
                    break
        return told

    assert short(stand.served.run(follow())) == [("now", None), ("gap", "lost"), ("now", None)]


def tenant_of(stand: Stand) -> str:
    tenant = stand.store.tenant_of_key(stand.key)
    assert tenant is not None
    return tenant.id


def test_another_tenants_id_is_no_place_to_go_on(stand: Stand, us: Counter) -> None:
    us.job()
    theirs = last_id(events(stand.other))
    told = events(us, after=theirs)
    assert [one.kind for one in told] == ["gap", "now"]


# a batch's -------------------------------------------------------------------------------------------------------------------


def test_every_item_is_told_then_how_far_it_is_and_in_the_end_the_end(stand: Stand, us: Counter) -> None:
    record = batch(stand, 3)
    claimed = stand.worker.claim()
    assert claimed is not None
    stand.worker.finish(claimed, Made(Reason.SCRIPT_ERROR, "no"))
    told = of_batch(us, record)
    assert [one.kind for one in told] == ["item", "progress"]
    ended = {"number": 0, "name": "", "state": "failed", "reason": "script_error", "job": claimed.id, "retries": 0}
    assert told[0].data == ended
    assert told[1].data == {"counts": {"queued": 2, "running": 0, "succeeded": 0, "failed": 1, "cancelled": 0}}
    stand.worker.work()
    told = of_batch(us, record)
    assert [one.kind for one in told] == ["item"] * 3 + ["end"]
    assert [one.data["number"] for one in told[:3]] == [0, 1, 2]
    assert told[3].data["counts"]["succeeded"] == 2


def test_items_come_as_they_end_and_progress_a_few_times_a_second(stand: Stand, us: Counter) -> None:
    record = batch(stand, 30)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(of_batch, us, record, seconds=30)
        stand.worker.work()
        told = following.result(40)
    assert sorted(one.data["number"] for one in told if one.kind == "item") == list(range(30)), "each once, and all of them"
    assert told[-1].kind == "end"
    most = len(PAUSE_SECONDS) + (time.monotonic() - began) / PAUSE_SECONDS[-1]
    assert sum(one.kind == "progress" for one in told) <= most


def test_who_goes_on_behind_progress_is_told_what_has_ended_since(stand: Stand, us: Counter) -> None:
    record = batch(stand, 4)
    stand.worker.finish(_claim(stand))
    first = of_batch(us, record)
    stand.worker.finish(_claim(stand))
    again = of_batch(us, record, after=last_id(first))
    assert [(one.kind, one.data.get("number")) for one in again] == [("item", 1), ("progress", None)]
    stand.worker.work()
    told = of_batch(us, record, after=last_id(again))
    assert told[-1].kind == "end"
    assert {2, 3} <= {one.data.get("number") for one in told}


def test_items_of_a_chunk_are_told_by_their_own_ends(stand: Stand, us: Counter) -> None:
    record = batch(stand, 3, isolation="batch")
    begun = of_batch(us, record)
    chunk_ran(stand, [Reason.OK, Reason.SCRIPT_ERROR, Reason.OK])
    told = of_batch(us, record, after=last_id(begun))
    assert [(one.data["number"], one.data["state"], one.data["reason"], one.data["job"]) for one in told[:-1]] == [
        (0, "succeeded", "ok", None),
        (1, "failed", "script_error", None),
        (2, "succeeded", "ok", None),
    ]
    assert told[-1].kind == "end"


def test_a_cancelled_batch_tells_each_of_its_items_and_ends(stand: Stand, us: Counter) -> None:
    record = batch(stand, 3)
    stand.worker.finish(_claim(stand))
    running = _claim(stand)
    begun = of_batch(us, record)
    us.post(f"/v1/batches/{record['id']}/cancel")
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(of_batch, us, record, after=last_id(begun), seconds=30)
        stand.worker.finish(running, Made(Reason.CANCELLED, "Cancelled."))
        told = following.result(40)
    assert {one.data["number"]: one.data["state"] for one in told if one.kind == "item"}.items() >= {(1, "cancelled"), (2, "cancelled")}
    assert told[-1].data["counts"] == {"queued": 0, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 2}


def test_a_wiped_stream_of_a_batch_is_a_gap_and_nothing_is_left_out(stand: Stand, us: Counter, redis: RedisServer) -> None:
    record = batch(stand, 2)
    begun = last_id(of_batch(us, record))
    stand.worker.finish(_claim(stand))
    wipe(stand, redis)
    assert short(of_batch(us, record, after=begun)) == [("gap", "lost"), ("item", "succeeded"), ("progress", None)]


@pytest.fixture
def deaf(open_stand: Callable[..., Stand]) -> Stand:
    """Its Redis is away from the beginning."""
    stand = open_stand()
    stand.events.away = True
    return stand


def test_without_redis_the_rows_are_told(deaf: Stand) -> None:
    record = batch(deaf, 2)
    deaf.us.job()
    assert [(one.kind, one.id) for one in events(deaf.us)] == [("now", None)]
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(of_batch, deaf.us, record, seconds=30)
        deaf.worker.work()
        told = following.result(40)
    assert sorted(one.data["number"] for one in told if one.kind == "item") == [0, 1]
    assert (told[-1].kind, told[-1].id) == ("end", None)


def test_a_redis_that_was_away_is_a_gap_also_when_it_is_back(deaf: Stand) -> None:
    async def follow() -> list[Told]:
        told = []
        async with aclosing(tenant_events(deaf.desk, tenant_of(deaf), "5-0", 30)) as pieces:
            async for piece in pieces:
                told += read(piece.decode())
                if len(told) == 2:
                    deaf.events.away = False
                if len(told) == 4:
                    break
        return told

    told = deaf.served.run(follow())
    assert short(told) == [("gap", "away"), ("now", None)] * 2
    assert [one.id for one in told] == [None, None, None, "1-0"]


def test_an_end_that_nobody_announced_is_told_all_the_same(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are read at the end of every wait."""
    monkeypatch.setattr("api.follower.KEEP_ALIVE_SECONDS", 0.2)
    record = batch(stand, 1)
    begun = last_id(of_batch(stand.us, record))
    claimed = _claim(stand)
    for after in (None, begun):
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(of_batch, stand.us, record, after=after, seconds=30)
            if not stand.store.get_job(claimed.tenant, claimed.id).state.final:
                stand.store.finish(claimed, outcome(), erasure(claimed))
            told = following.result(40)
        assert [one.kind for one in told if one.kind != "progress"] == ["item", "end"]


def test_a_silent_stream_is_kept_alive(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("follower", "batch_events", "tenant_events"):
        monkeypatch.setattr(f"api.{module}.KEEP_ALIVE_SECONDS", 0.2)
    record = batch(stand, 1)
    for path in ("/v1/events", f"/v1/batches/{record['id']}/events"):
        assert us.get(path, params={"seconds": 3}).text.count(": keep-alive\n\n") >= 2


def test_who_hangs_up_leaves_no_bell(stand: Stand) -> None:
    record = batch(stand, 1)
    for path in ("/v1/events", f"/v1/batches/{record['id']}/events"):
        sent = stand.exchange("GET", path, [*body(), DISCONNECT])
        assert sent[0]["status"] == 200
    told = stand.desk.events
    assert not (any(ear.bells for ear in told._ears.values()) if isinstance(told, RedisEvents) else stand.events.followed)


def test_a_reader_that_takes_nothing_is_dropped(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    record = batch(stand, 1)
    served = stand.app

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        async def stuck(message: Message) -> None:
            await send(message)
            if b"event:" in message.get("body", b""):
                await asyncio.Event().wait()

        await served(scope, receive, stuck)

    monkeypatch.setattr(stand, "app", deaf)
    monkeypatch.setattr("api.content.SEND_SECONDS", 0.2)
    for path in ("/v1/events", f"/v1/batches/{record['id']}/events"):
        sent = stand.exchange("GET", path, body())
        assert sent[-1]["more_body"], "an answer that was cut off looks complete"
        assert sum(b"event:" in message.get("body", b"") for message in sent) == 1


def test_a_batch_that_is_forgotten_ends_its_events(stand: Stand, us: Counter) -> None:
    record = batch(stand, 1)
    stand.worker.work()
    us.delete(f"/v1/batches/{record['id']}")
    assert slug(us.get(f"/v1/batches/{record['id']}/events")) == "not-found"


def test_another_tenants_batch_is_not_there(stand: Stand) -> None:
    record = batch(stand, 1)
    for answer in (
        stand.other.get(f"/v1/batches/{record['id']}/events"),
        stand.other.get(f"/v1/batches/bat_{0:032x}/events"),
        stand.other.get("/v1/batches/x/events"),
    ):
        assert (answer.status_code, slug(answer)) == (404, "not-found")
        assert answer.json()["detail"] == "there is no batch with this id"


def test_nobody_has_events_without_a_key_or_in_another_form(stand: Stand, us: Counter) -> None:
    record = batch(stand, 1)
    for path in ("/v1/events", f"/v1/batches/{record['id']}/events"):
        assert stand.served.request("GET", path).status_code == 401
        assert us.get(path, headers={"Accept": "application/json"}).status_code == 406
        assert us.get(path, params={"seconds": 1e9}).status_code == 422
        assert us.head(path).status_code == 200


def _claim(stand: Stand) -> Any:
    claimed = stand.worker.claim()
    assert claimed is not None
    return claimed
