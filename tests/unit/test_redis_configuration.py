"""The configuration that `make run` gives to Redis: nothing of a tenant on disk, and always room for a ticket."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import redis as redis_client

from fumehood.events import RedisEvents
from fumehood.job import Lane, new_id
from fumehood.job_queue import CeleryQueue
from fumehood.settings import Settings
from fumehood.testing import redis_server

HOME = Path(__file__).parents[2] / "setup" / "home.py"
OURS = ("requirepass", "bind", "port", "dir")


def configuration() -> dict[str, str]:
    """Read, not imported: `setup/` is a program of its own, and no package."""
    for node in ast.parse(HOME.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "REDIS":
            lines = [line for line in ast.literal_eval(node.value).splitlines() if not line.startswith("#")]
            return dict(line.split(" ", 1) for line in lines)
    raise AssertionError(f"{HOME} has no REDIS")


def test_redis_writes_nothing_to_disk() -> None:
    settings = configuration()
    assert (settings["appendonly"], settings["save"]) == ("no", '""')


def test_a_redis_full_of_live_logs_still_takes_tickets(settings: Callable[..., Settings]) -> None:
    lines = {name: value for name, value in configuration().items() if name not in OURS} | {"maxmemory": "8mb"}
    with redis_server(settings="".join(f"{name} {value}\n" for name, value in lines.items())) as server:
        here = settings(redis_url=server.url, redis_password=server.password)
        events, queue = RedisEvents(here), CeleryQueue(here)
        assert queue.send_ticket(Lane.JOBS)
        with redis_client.Redis.from_url(server.url, password=server.password) as client:
            # More than fits, by many jobs that each keep to their own share; then small events into what room is left.
            for text, count in [("x" * 100_000, 10)] * 12 + [("x", 1000)]:
                with client.pipeline(transaction=False) as pipeline:
                    stream = f"fumehood:events:{new_id('job')}"
                    for _ in range(count):
                        pipeline.xadd(stream, {"kind": "log", "data": text})
                        pipeline.expire(stream, 3600)
                    pipeline.execute(raise_on_error=False)
            assert queue.send_ticket(Lane.JOBS)
            assert queue.depth(Lane.JOBS) == 2
            events.publish("job_new", "end", {})
            assert client.exists("fumehood:events:job_new")
        events.close()
        queue.close()
