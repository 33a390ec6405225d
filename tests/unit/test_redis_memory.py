"""What Redis holds depends on what is going on, never on what was."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis as redis_client

from fumehood.events import KEPT_AFTER_END_SECONDS, KEPT_SECONDS, RedisEvents
from fumehood.job import Lane, new_id
from fumehood.job_queue import CeleryQueue, queue_name
from fumehood.settings import Settings
from fumehood.testing import RedisServer, redis_server

JOBS = 200


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Nobody else's keys."""
    with redis_server() as server:
        yield server


def test_finished_jobs_leave_no_key_that_stays(own_redis: RedisServer, settings: Callable[..., Settings]) -> None:
    ours = settings(redis_url=own_redis.url, redis_password=own_redis.password)
    queue, events = CeleryQueue(ours), RedisEvents(ours)
    with redis_client.Redis.from_url(own_redis.url, password=own_redis.password) as client:
        queue.send_ticket(Lane.JOBS)
        client.delete(queue_name(Lane.JOBS))
        before = set(client.keys())  # what the broker says of its queues
        names = [new_id("job") for _ in range(JOBS)]
        for name in names:
            queue.send_ticket(Lane.JOBS)
            events.publish(name, "state", {"state": "running", "reason": None})
            events.publish(name, "log", {"attempt": 1, "offset": 0, "text": "hello\n"})
        running = set(client.keys()) - before - {queue_name(Lane.JOBS).encode()}
        assert len(running) == JOBS
        assert all(0 < client.ttl(key) <= KEPT_SECONDS for key in running)  # also of a job whose end is never told
        for name in names:
            events.publish(name, "end", {"state": "succeeded", "reason": "ok"})
        client.delete(queue_name(Lane.JOBS))  # the tickets are taken
        left = set(client.keys()) - before
        assert left == running
        assert all(0 < client.ttl(key) <= KEPT_AFTER_END_SECONDS for key in left)
        # Their time is over.
        for key in left:
            client.pexpire(key, 0)
        assert set(client.keys()) == before
    events.close()
    queue.close()


def test_a_ticket_names_no_job_so_that_those_that_nobody_takes_are_a_few_bytes_each(
    own_redis: RedisServer, settings: Callable[..., Settings]
) -> None:
    ours = settings(redis_url=own_redis.url, redis_password=own_redis.password)
    queue = CeleryQueue(ours)
    with redis_client.Redis.from_url(own_redis.url, password=own_redis.password) as client:
        for _ in range(JOBS):
            queue.send_ticket(Lane.JOBS)
        assert all(len(ticket) < 2000 for ticket in client.lrange(queue_name(Lane.JOBS), 0, -1))
        kinds = {client.type(key) for key in client.scan_iter()}
        assert b"stream" not in kinds
    queue.close()
