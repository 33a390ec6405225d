"""Tickets: the in-memory queue and the one over a real Redis behave the same; and nothing that Redis does is felt for long."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import redis as redis_client

from fumehood.job import Lane
from fumehood.job_queue import CELERY, TASK_NAME, TICKETS_MAX, CeleryQueue, JobQueue, celery_app, queue_name
from fumehood.settings import Settings
from fumehood.testing import MemoryQueue, RedisServer, free_port, redis_server

SOON_SECONDS = 2.5


def client_of(server: RedisServer) -> redis_client.Redis:
    return redis_client.Redis.from_url(server.url, password=server.password)


@pytest.fixture
def celery_queue(redis: RedisServer, settings: Callable[..., Settings]) -> Iterator[CeleryQueue]:
    with client_of(redis) as client:
        client.delete(*map(queue_name, Lane))
    queue = CeleryQueue(settings(redis_url=redis.url, redis_password=redis.password))
    yield queue
    queue.close()


@pytest.fixture(params=["memory", "celery"])
def queue(request: pytest.FixtureRequest) -> JobQueue:
    return MemoryQueue() if request.param == "memory" else request.getfixturevalue("celery_queue")


def test_a_ticket_waits_in_its_lane(queue: JobQueue) -> None:
    assert [queue.depth(lane) for lane in Lane] == [0, 0]
    assert queue.send_ticket(Lane.JOBS)
    assert queue.send_ticket(Lane.JOBS)
    assert queue.send_ticket(Lane.ERRANDS)
    assert (queue.depth(Lane.JOBS), queue.depth(Lane.ERRANDS)) == (2, 1)


def test_a_full_queue_needs_no_more_tickets(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("job_queue", "memory"):
        monkeypatch.setattr(f"fumehood.{module}.TICKETS_MAX", 3)
    assert TICKETS_MAX > 3
    assert all(queue.send_ticket(Lane.JOBS) for _ in range(5))
    assert queue.depth(Lane.JOBS) == 3


def test_a_ticket_names_no_job(celery_queue: CeleryQueue, redis: RedisServer) -> None:
    celery_queue.send_ticket(Lane.JOBS)
    with client_of(redis) as client:
        message = json.loads(client.lindex(queue_name(Lane.JOBS), 0))
    assert message["content-type"] == "application/json"
    headers = message["headers"]
    assert (headers["task"], headers["argsrepr"], headers["kwargsrepr"], headers["eta"], headers["ignore_result"]) == (
        TASK_NAME,
        "()",
        "{}",
        None,
        True,
    )


def test_a_ticket_is_what_celery_itself_sends(celery_queue: CeleryQueue, redis: RedisServer, settings: Callable[..., Settings]) -> None:
    assert all(celery_queue.send_ticket(Lane.JOBS) for _ in range(2))
    with celery_app(settings(redis_url=redis.url, redis_password=redis.password)) as app:
        app.send_task(TASK_NAME, queue=queue_name(Lane.JOBS), ignore_result=True)
    with client_of(redis) as client:
        ours, again, theirs = (json.loads(client.rpop(queue_name(Lane.JOBS))) for _ in range(3))
    assert ours["headers"].pop("id") != again["headers"]["id"]
    assert ours["properties"].pop("delivery_tag") != again["properties"]["delivery_tag"]
    # Each sender has its own of these.
    for part, names in (("headers", ("id", "root_id", "origin")), ("properties", ("correlation_id", "reply_to", "delivery_tag"))):
        for message in (ours, theirs):
            for name in names:
                message[part].pop(name, None)
    assert ours == theirs


def test_a_wiped_redis_takes_tickets_again(celery_queue: CeleryQueue, redis: RedisServer) -> None:
    celery_queue.send_ticket(Lane.JOBS)
    with client_of(redis) as client:
        client.flushall()
    assert celery_queue.send_ticket(Lane.JOBS)
    assert celery_queue.depth(Lane.JOBS) == 1


@pytest.mark.parametrize("absence", [signal.SIGKILL, signal.SIGSTOP])
def test_an_absent_redis_is_not_felt_for_long(settings: Callable[..., Settings], absence: signal.Signals) -> None:
    with redis_server() as server:
        queue = CeleryQueue(settings(redis_url=server.url, redis_password=server.password))
        assert queue.send_ticket(Lane.JOBS)
        server.process.send_signal(absence)
        began = time.monotonic()
        assert not queue.send_ticket(Lane.JOBS)
        assert time.monotonic() - began < SOON_SECONDS
        began = time.monotonic()
        assert not queue.send_ticket(Lane.JOBS)  # it rests
        assert queue.depth(Lane.JOBS) is None
        assert time.monotonic() - began < 0.2
        queue.close()


def test_a_redis_that_came_back_takes_tickets(settings: Callable[..., Settings]) -> None:
    port = free_port()
    now = [0.0]
    queue = CeleryQueue(settings(redis_url=f"redis://127.0.0.1:{port}/0", redis_password="one"))
    queue._link._monotonic = lambda: now[0]
    for _ in range(2):
        assert not queue.send_ticket(Lane.JOBS)
        now[0] += 10
        with redis_server(port=port, password="one"):
            assert queue.send_ticket(Lane.JOBS)
    queue.close()


def test_an_absent_memory_queue_says_so() -> None:
    queue = MemoryQueue()
    queue.away = True
    assert (queue.send_ticket(Lane.JOBS), queue.depth(Lane.JOBS)) == (False, None)


def test_a_ticket_is_taken_once() -> None:
    queue = MemoryQueue()
    queue.send_ticket(Lane.JOBS)
    assert [queue.take_ticket(Lane.JOBS) for _ in range(2)] == [True, False]


def test_the_application_has_our_settings_and_hides_its_password(settings: Callable[..., Settings]) -> None:
    app = celery_app(settings(redis_url="redis://cache:6379/0", redis_password="hunter/2"))
    for name, value in CELERY.items():
        assert app.conf[name] == value, name
    assert app.connection_for_write().as_uri() == "redis://:**@cache:6379/0"
    assert set(app.amqp.queues) == {queue_name(lane) for lane in Lane}
    with pytest.raises(KeyError):
        app.amqp.queues["misspelt"]
    app.close()
