"""Events: the in-memory streams and the ones in a real Redis behave the same."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis as redis_client

from fumehood.bells import CHANNEL, Bell
from fumehood.events import (
    EVENT_BYTES,
    KEPT_AFTER_END_SECONDS,
    KEPT_SECONDS,
    MARK,
    NOTICE_BYTES,
    NOTICES,
    NOTICES_KEPT_SECONDS,
    PAGE_EVENTS,
    STREAM_BYTES,
    Event,
    Events,
    Notice,
    Page,
    RedisEvents,
)
from fumehood.job import new_id
from fumehood.settings import Settings
from fumehood.testing import MemoryEvents, RedisServer, free_port, redis_server

WAIT_SECONDS = 30.0


@pytest.fixture
def redis_events(redis: RedisServer, settings: Callable[..., Settings]) -> Iterator[RedisEvents]:
    events = RedisEvents(settings(redis_url=redis.url, redis_password=redis.password))
    yield events
    events.close()


@pytest.fixture(params=["memory", "redis"])
def events(request: pytest.FixtureRequest) -> Events:
    return MemoryEvents() if request.param == "memory" else request.getfixturevalue("redis_events")


@pytest.fixture
def job_id() -> str:
    return new_id("job")


def followed(events: Events, job_id: str, *, after: str = "0", timeout_seconds: float = WAIT_SECONDS) -> list[Event]:
    async def follow() -> list[Event]:
        return [event async for event in events.follow(job_id, after=after, timeout_seconds=timeout_seconds)]

    return asyncio.run(follow())


def short(events: list[Event]) -> list[tuple[str, Any]]:
    return [(event.kind, event.data) for event in events]


def test_events_come_in_order_up_to_the_end(events: Events, job_id: str) -> None:
    published: list[tuple[str, dict[str, Any]]] = [
        ("state", {"state": "running", "reason": None}),
        ("log", {"attempt": 1, "offset": 0, "text": "naïve \ud800 \x00\n"}),
        ("end", {}),
    ]
    for kind, data in [*published, ("state", {"after": "the end"})]:
        events.publish(job_id, kind, data)
    assert short(followed(events, job_id)) == published


def test_a_reader_resumes_after_the_last_event_it_saw(events: Events, job_id: str) -> None:
    for number in range(4):
        events.publish(job_id, "log", {"number": number})
    events.publish(job_id, "end", {})
    seen = followed(events, job_id)
    assert len({event.id for event in seen}) == 5
    assert followed(events, job_id, after=seen[1].id) == seen[2:]


@pytest.mark.parametrize("after", ["", "$", "+", "nonsense", "1-", "-1", "1-2-3", "9" * 30, "0\n"])
def test_an_id_that_is_none_means_the_beginning(events: Events, job_id: str, after: str) -> None:
    events.publish(job_id, "end", {"number": 1})
    assert short(followed(events, job_id, after=after)) == [("end", {"number": 1})]


def test_an_event_comes_while_it_is_waited_for(events: Events, job_id: str) -> None:
    async def follow() -> list[Event]:
        seen: list[Event] = []
        async for event in events.follow(job_id, timeout_seconds=WAIT_SECONDS):
            seen.append(event)
            # The next one is published only when this one has been seen, and from another thread.
            following = ("end", {}) if len(seen) == 3 else ("log", {"number": len(seen)})
            await asyncio.to_thread(events.publish, job_id, *following)
        return seen

    events.publish(job_id, "log", {"number": 0})
    assert short(asyncio.run(follow())) == [("log", {"number": 0}), ("log", {"number": 1}), ("log", {"number": 2}), ("end", {})]


def test_several_readers_see_the_same_and_nobody_elses(events: Events, job_id: str) -> None:
    async def follow() -> list[list[Event]]:
        async def one() -> list[Event]:
            return [event async for event in events.follow(job_id, timeout_seconds=WAIT_SECONDS)]

        readers = [asyncio.create_task(one()) for _ in range(3)]
        await asyncio.to_thread(events.publish, new_id("job"), "end", {"another": "job"})
        await asyncio.to_thread(events.publish, job_id, "end", {})
        return await asyncio.gather(*readers)

    assert [short(seen) for seen in asyncio.run(follow())] == [[("end", {})]] * 3


def test_a_reader_stops_when_its_time_is_over(events: Events, job_id: str) -> None:
    began = time.monotonic()
    assert followed(events, job_id, timeout_seconds=0.2) == []
    assert 0.1 < time.monotonic() - began < WAIT_SECONDS


def test_an_event_that_is_too_long_is_a_gap(events: Events, job_id: str) -> None:
    events.publish(job_id, "log", {"text": "x" * EVENT_BYTES})
    events.publish(job_id, "end", {})
    assert short(followed(events, job_id)) == [("end", {})]


def test_a_stream_is_capped_and_expires(
    redis_events: RedisEvents, redis: RedisServer, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fumehood.events.STREAM_EVENTS", 100)
    for number in range(500):
        redis_events.publish(job_id, "log", {"number": number})
    with redis_client.Redis.from_url(redis.url, password=redis.password) as client:
        (key,) = client.keys(f"*{job_id}*")
        assert 100 <= client.xlen(key) < 300
        assert KEPT_SECONDS - 60 < client.ttl(key) <= KEPT_SECONDS


@pytest.mark.parametrize("text", ["x" * 16_384, "\x07" * 16_384, "line\n"])
def test_a_stream_holds_a_bounded_number_of_bytes_the_newest_ones(
    events: Events, job_id: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_bytes = 256 * 1024
    monkeypatch.setattr("fumehood.events.STREAM_BYTES", stream_bytes)
    count = 2 * stream_bytes // (len(json.dumps(text)) + 64)
    for number in range(count):
        events.publish(job_id, "log", {"number": number, "text": text})
    events.publish(job_id, "end", {})
    kept = followed(events, job_id)[:-1]
    assert 0.6 * stream_bytes < sum(len(json.dumps(event.data)) + 64 for event in kept) <= stream_bytes
    assert [event.data["number"] for event in kept] == list(range(count - len(kept), count))


def test_chatty_jobs_leave_redis_room_for_tickets(redis_events: RedisEvents, redis: RedisServer, job_id: str) -> None:
    with redis_client.Redis.from_url(redis.url, password=redis.password) as client:
        for _ in range(200):
            redis_events.publish(job_id, "log", {"text": "\x07" * 16_384})
        (key,) = client.keys(f"*{job_id}*")
        assert client.memory_usage(key, samples=0) < 1.2 * STREAM_BYTES


def test_a_stream_that_has_ended_is_soon_forgotten(redis_events: RedisEvents, redis: RedisServer, job_id: str) -> None:
    redis_events.publish(job_id, "log", {})
    redis_events.publish(job_id, "end", {})
    with redis_client.Redis.from_url(redis.url, password=redis.password) as client:
        (key,) = client.keys(f"*{job_id}*")
        assert 0 < client.ttl(key) <= KEPT_AFTER_END_SECONDS


def test_a_forgotten_job_leaves_no_stream(events: Events, job_id: str) -> None:
    other = new_id("job")
    for each in (job_id, other):
        events.publish(each, "log", {})
        events.publish(each, "end", {})
    events.forget(job_id)
    events.forget(job_id)
    assert followed(events, job_id, timeout_seconds=0.2) == []
    assert len(followed(events, other)) == 2


def test_forgetting_without_redis_raises_nothing(settings: Callable[..., Settings], job_id: str) -> None:
    with redis_server() as server:
        events = RedisEvents(settings(redis_url=server.url, redis_password=server.password))
    events.forget(job_id)
    events.close()


def test_a_reader_leaves_no_connection(redis_events: RedisEvents, redis: RedisServer, job_id: str) -> None:
    with redis_client.Redis.from_url(redis.url, password=redis.password) as client:
        before = len(client.client_list())
        redis_events.publish(job_id, "log", {})

        async def look_once() -> None:
            stream = redis_events.follow(job_id, timeout_seconds=WAIT_SECONDS)
            async for _ in stream:
                break
            await stream.aclose()

        asyncio.run(look_once())
        deadline = time.monotonic() + WAIT_SECONDS
        while (now := len(client.client_list())) > before + 1 and time.monotonic() < deadline:
            pass
        assert now <= before + 1  # the publisher's own


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_an_absent_redis_is_not_felt_for_long(settings: Callable[..., Settings], job_id: str, number: signal.Signals) -> None:
    with redis_server() as server:
        events = RedisEvents(settings(redis_url=server.url, redis_password=server.password))
        events.publish(job_id, "log", {})
        server.process.send_signal(number)
        began = time.monotonic()
        for _ in range(100):
            events.publish(job_id, "log", {})
        assert time.monotonic() - began < 2.5
        began = time.monotonic()
        assert followed(events, job_id, timeout_seconds=0.5) == []
        assert time.monotonic() - began < 2.5
        events.close()


def test_a_reader_ends_early_when_redis_goes_away(settings: Callable[..., Settings], job_id: str) -> None:
    with redis_server() as server:
        events = RedisEvents(settings(redis_url=server.url, redis_password=server.password))
        events.publish(job_id, "log", {})

        async def follow() -> int:
            seen = 0
            async for _ in events.follow(job_id, timeout_seconds=WAIT_SECONDS):
                seen += 1
                server.process.kill()
            return seen

        began = time.monotonic()
        assert asyncio.run(follow()) == 1
        assert time.monotonic() - began < WAIT_SECONDS / 2
        events.close()


def test_absent_memory_events_end_early(job_id: str) -> None:
    events = MemoryEvents()
    events.away = True
    events.publish(job_id, "end", {})
    assert followed(events, job_id) == []
    assert events.published(job_id) == []


# listening ---------------------------------------------------------------------------------------------------------------


async def heard(events: Events, bell: Bell) -> None:
    """The first connection rings every bell: something may have been said before anybody listened."""
    if isinstance(events, RedisEvents):
        assert await bell.wait(WAIT_SECONDS)


def test_who_listens_is_woken_by_news_of_its_kind_and_of_its_job(events: Events, job_id: str) -> None:
    async def listen() -> list[bool]:
        with events.listen(job_id, kind="end") as bell:
            await heard(events, bell)
            await asyncio.to_thread(events.publish, job_id, "log", {})
            await asyncio.to_thread(events.publish, new_id("job"), "end", {})
            quiet = await bell.wait(0.2)
            waiting = asyncio.create_task(bell.wait(WAIT_SECONDS))
            await asyncio.to_thread(events.publish_all, job_id, [("state", {}), ("end", {})])
            return [quiet, await waiting, await bell.wait(0.0), bell.away]

    assert asyncio.run(listen()) == [False, True, False, False]


def test_news_between_two_waits_are_not_lost(events: Events, job_id: str) -> None:
    async def listen() -> bool:
        with events.listen(job_id) as mine, events.listen(job_id) as other:
            await heard(events, mine)
            await heard(events, other)
            await asyncio.to_thread(events.publish, job_id, "state", {})
            assert await other.wait(WAIT_SECONDS)
            return await mine.wait(0.0)

    assert asyncio.run(listen())


def test_all_who_follow_or_listen_share_what_is_open(redis_events: RedisEvents, redis: RedisServer) -> None:
    async def listen() -> int:
        with ExitStack() as stack, redis_client.Redis.from_url(redis.url, password=redis.password) as client:
            bells = [stack.enter_context(redis_events.listen(new_id("job"))) for _ in range(20)]
            for bell in bells:
                assert await bell.wait(WAIT_SECONDS)
            return int(client.pubsub_numsub(CHANNEL)[0][1])

    assert asyncio.run(listen()) == 1


@pytest.mark.parametrize("sent", range(1, 5))
def test_who_listens_ends_when_it_is_told_to_as_a_sending_ends(
    redis_events: RedisEvents, job_id: str, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, drained = asyncio.StreamWriter.drain, 0

    async def listen() -> int:
        def listening() -> list[asyncio.Task[Any]]:
            return [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "Ear._listen"]  # type: ignore[union-attr]

        async def cancelled(self: asyncio.StreamWriter) -> None:
            nonlocal drained
            drained += 1
            if drained == sent:
                for task in listening():
                    asyncio.get_running_loop().call_soon(task.cancel)
            await drain(self)

        monkeypatch.setattr(asyncio.StreamWriter, "drain", cancelled)
        with redis_events.listen(job_id) as bell:
            await bell.wait(1.0)  # it rings when somebody listens, or when nobody does any more
            (told,) = listening() or [None]
            if told is not None:
                await asyncio.wait([told], timeout=1.0)
            return len(listening())

    assert asyncio.run(listen()) == 0
    assert drained >= sent


def test_a_redis_that_came_back_is_heard_again(settings: Callable[..., Settings], job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.bells.REST_SECONDS", 0.05)
    port = free_port()
    events = RedisEvents(settings(redis_url=f"redis://127.0.0.1:{port}/0", redis_password="one"))

    async def listen() -> None:
        with events.listen(job_id, kind="end") as bell:
            assert await bell.wait(WAIT_SECONDS)  # there is none
            assert bell.away
            for _ in range(2):
                with redis_server(port=port, password="one"):
                    deadline = time.monotonic() + WAIT_SECONDS
                    while bell.away and time.monotonic() < deadline:
                        await bell.wait(1.0)
                    assert not bell.away
                    told = RedisEvents(settings(redis_url=f"redis://127.0.0.1:{port}/0", redis_password="one"))
                    await asyncio.to_thread(told.publish, job_id, "end", {})
                    assert await bell.wait(WAIT_SECONDS)
                    told.close()
                assert await bell.wait(WAIT_SECONDS)  # it went away again
                assert bell.away
        await events.leave()

    asyncio.run(listen())
    events.close()


def test_a_redis_that_says_nothing_any_more_is_noticed(
    settings: Callable[..., Settings], job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fumehood.bells.QUIET_SECONDS", 0.1)
    with redis_server() as server:
        events = RedisEvents(settings(redis_url=server.url, redis_password=server.password))

        async def listen() -> bool:
            with events.listen(job_id) as bell:
                assert await bell.wait(WAIT_SECONDS)
                assert not await bell.wait(1.0)  # several questions, all answered
                server.process.send_signal(signal.SIGSTOP)
                assert await bell.wait(WAIT_SECONDS)
                return bell.away

        assert asyncio.run(listen())
        events.close()


# notices -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def batch_id() -> str:
    return new_id("bat")


def looked(events: Events, stream: str, after: str) -> Page:
    async def look() -> Page | None:
        page = await events.since(stream, after)
        await events.leave()
        return page

    page = asyncio.run(look())
    assert page is not None
    return page


def newest(events: Events, stream: str) -> str:
    async def look() -> str | None:
        found = await events.newest(stream)
        await events.leave()
        return found

    found = asyncio.run(look())
    assert found is not None
    return found


def test_notices_come_behind_the_one_that_was_seen_last(events: Events, batch_id: str, job_id: str) -> None:
    begun = newest(events, batch_id)
    assert newest(events, batch_id) == begun, "a mark is made once"
    events.publish_all(job_id, [("end", {})], [Notice(batch_id, "items", {"job": job_id}), Notice(new_id("ten"), "job", {})])
    events.notify([Notice(batch_id, "cancelled", {})])
    page = looked(events, batch_id, begun)
    assert (short(page.events), page.held, page.more) == ([("items", {"job": job_id}), ("cancelled", {})], True, False)
    assert short(looked(events, batch_id, page.events[0].id).events) == [("cancelled", {})]
    assert looked(events, batch_id, page.events[1].id) == Page([], held=True, more=False)
    assert newest(events, batch_id) == page.events[1].id
    assert short(followed(events, job_id)) == [("end", {})]


@pytest.mark.parametrize("after", ["", "$", "-", "+", "(0-0", "nonsense", "1-", "-1", "0", "1-2-3", "9" * 30, "9" * 19, "0\n"])
def test_an_event_that_is_not_there_is_not_held(events: Events, batch_id: str, after: str) -> None:
    events.notify([Notice(batch_id, "items", {})])
    assert not looked(events, batch_id, after).held


def test_an_event_of_another_stream_is_not_held(events: Events, batch_id: str) -> None:
    other = new_id("bat")
    events.notify([Notice(batch_id, "items", {}), Notice(other, "items", {})])
    events.notify([Notice(batch_id, "items", {})])
    page = looked(events, batch_id, newest(events, batch_id))
    assert page.held
    assert not looked(events, other, newest(events, batch_id)).held


def test_what_a_forgotten_stream_held_is_not_held(events: Events, batch_id: str) -> None:
    begun = newest(events, batch_id)
    events.forget(batch_id)
    assert looked(events, batch_id, begun) == Page([], held=False, more=False)
    events.notify([Notice(batch_id, "items", {})])
    page = looked(events, batch_id, begun)
    assert (short(page.events), page.held) == ([("items", {})], False)


def test_many_notices_come_page_by_page_and_the_oldest_make_room(events: Events, batch_id: str) -> None:
    begun = newest(events, batch_id)
    events.notify([Notice(batch_id, "items", {"number": number}) for number in range(NOTICES // 2)])
    seen, after = [], begun
    while True:
        page = looked(events, batch_id, after)
        assert page.held
        assert len(page.events) <= PAGE_EVENTS
        seen += [event.data["number"] for event in page.events]
        if not page.more:
            break
        after = page.events[-1].id
    assert seen == list(range(NOTICES // 2))
    events.notify([Notice(batch_id, "items", {}) for _ in range(NOTICES + PAGE_EVENTS)])
    assert not looked(events, batch_id, begun).held
    assert looked(events, batch_id, newest(events, batch_id)).held


def test_a_notice_is_short_or_is_none(events: Events, batch_id: str) -> None:
    begun = newest(events, batch_id)
    events.notify([Notice(batch_id, "items", {"text": "x" * NOTICE_BYTES}), Notice(batch_id, "items", {"text": "x"})])
    assert short(looked(events, batch_id, begun).events) == [("items", {"text": "x"})]


def test_a_notice_without_data_rings_and_is_not_kept(events: Events, batch_id: str) -> None:
    async def listen() -> tuple[bool, Page | None]:
        with events.listen(batch_id) as bell:
            await heard(events, bell)
            begun = await events.newest(batch_id)
            assert begun is not None
            await asyncio.to_thread(events.notify, [Notice(batch_id, "state")])
            rung = await bell.wait(WAIT_SECONDS)
            page = await events.since(batch_id, begun)
        await events.leave()
        return rung, page

    assert asyncio.run(listen()) == (True, Page([], held=True, more=False))


def test_one_publishing_rings_for_all_whom_it_is_about(events: Events, job_id: str, batch_id: str) -> None:
    async def listen() -> list[bool]:
        with events.listen(job_id, kind="end") as of_job, events.listen(batch_id) as of_batch, events.listen(new_id("bat")) as of_none:
            for bell in (of_job, of_batch, of_none):
                await heard(events, bell)
            await asyncio.to_thread(events.publish_all, job_id, [("state", {}), ("end", {})], [Notice(batch_id, "items", {})])
            rung = [await of_job.wait(WAIT_SECONDS), await of_batch.wait(WAIT_SECONDS), await of_none.wait(0.1)]
        await events.leave()
        return rung

    assert asyncio.run(listen()) == [True, True, False]


def test_a_stream_of_notices_is_small_and_is_forgotten_where_nobody_reads_it(
    redis_events: RedisEvents, redis: RedisServer, batch_id: str
) -> None:
    with redis_client.Redis.from_url(redis.url, password=redis.password) as client:
        for _ in range(30):
            redis_events.notify([Notice(batch_id, "items", {"text": "x" * (NOTICE_BYTES - 20)})] * 100)
        (key,) = client.keys(f"*{batch_id}*")
        assert client.memory_usage(key, samples=0) < 1.5 * NOTICES * NOTICE_BYTES
        assert NOTICES_KEPT_SECONDS - 60 < client.ttl(key) <= NOTICES_KEPT_SECONDS
        client.expire(key, 10)
        assert looked(redis_events, batch_id, newest(redis_events, batch_id)).held
        assert client.ttl(key) > NOTICES_KEPT_SECONDS - 60, "who reads a stream keeps it"


def test_a_job_its_batch_and_its_tenant_are_told_in_one_round_trip(
    redis_events: RedisEvents, redis: RedisServer, job_id: str, batch_id: str
) -> None:
    """Commands that came in one pipeline are read together."""
    with redis_client.Redis.from_url(redis.url, password=redis.password) as client:
        redis_events.publish(job_id, "log", {})  # it is connected
        before = client.info("stats")
        redis_events.publish_all(job_id, [("state", {}), ("end", {})], [Notice(batch_id, "items", {}), Notice(new_id("ten"), "job", {})])
        after = client.info("stats")
    assert after["total_commands_processed"] - before["total_commands_processed"] == 1 + 2 + 1 + 2 + 2 + 1
    assert after["total_reads_processed"] - before["total_reads_processed"] == 1 + 1


def test_no_redis_is_no_stream(settings: Callable[..., Settings], batch_id: str) -> None:
    with redis_server() as server:
        events = RedisEvents(settings(redis_url=server.url, redis_password=server.password))
        begun = newest(events, batch_id)

    async def look() -> tuple[object, object]:
        found = await events.newest(batch_id), await events.since(batch_id, begun)
        await events.leave()
        return found

    assert asyncio.run(look()) == (None, None)
    events.close()
    memory = MemoryEvents()
    memory.notify([Notice(batch_id, MARK, {})])
    memory.away = True
    assert asyncio.run(memory.newest(batch_id)) is None
    assert asyncio.run(memory.since(batch_id, "1-0")) is None
