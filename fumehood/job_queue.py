"""JobQueue: Celery settings, each with its reason, and tickets. A message is a ticket: «there is work»; it names no job."""

from __future__ import annotations

import json
import uuid
from typing import Any

import redis
import structlog
from celery import Celery

from fumehood.job import Lane
from fumehood.redis_link import RedisLink, redis_address_with_password
from fumehood.settings import Settings

log = structlog.get_logger()

TASK_NAME = "fumehood.ticket"

TICKETS_MAX = 1000
"""A queue that holds so many tickets needs no more: each of them makes a worker claim until nothing is left."""

_NUMBER = "00000000-0000-0000-0000-000000000000"


def queue_name(lane: Lane) -> str:
    return f"fumehood.{lane}"


# Every setting that differs from Celery's default, or on whose default we rely.
CELERY: dict[str, Any] = {
    # Only JSON comes in and goes out: a pickle would be code of whoever can write to Redis.
    "task_serializer": "json",
    "accept_content": ["json"],
    "event_serializer": "json",
    "result_accept_content": ["json"],
    # The row is the truth; a result would be a second one, in a store that may be wiped.
    "result_backend": None,
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    # Acknowledged when received: the claim is the gate and the reconciler sends lost tickets again, so that there is
    # nothing for Celery to redeliver, and no visibility timeout that a long job could outlast.
    "task_acks_late": False,
    "worker_disable_prefetch": True,  # a slot takes a ticket when it is free, not before
    "worker_prefetch_multiplier": 1,
    # Celery's own limits do not work with threads, and would end a task in the middle of a transaction.
    "task_time_limit": None,
    "task_soft_time_limit": None,
    # A job must not die because Redis blinked.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Redis may start after us and may go away for long.
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_connection_timeout": 2.0,
    "broker_transport_options": {
        "socket_connect_timeout": 2.0,
        "socket_timeout": 5.0,  # above the second that a worker's blocking read lasts; a dead peer is noticed
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": False,
        "client_name": "fumehood",
        "priority_steps": [0],  # one list a lane
    },
    # Two lanes and no other queue: a misspelt name is an error and not a queue that nobody reads.
    "task_queues": {
        queue_name(lane): {"exchange": queue_name(lane), "exchange_type": "direct", "routing_key": queue_name(lane), "durable": True}
        for lane in Lane
    },
    "task_default_queue": queue_name(Lane.JOBS),
    "task_create_missing_queues": False,
    # Nothing listens to remote control or events: cancel is a column of the row, and state is the row.
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    # Our own structured log stays in charge.
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "enable_utc": True,
}


def celery_app(settings: Settings) -> Celery:
    """The application that writes tickets, and that the worker hangs its task on. Connects to nothing yet."""
    app = Celery("fumehood", broker=redis_address_with_password(settings), set_as_current=False)
    app.conf.update(CELERY)
    return app


class JobQueue:
    """`CeleryQueue(settings)` and, in fumehood.testing, an in-memory one."""

    def send_ticket(self, lane: Lane) -> bool:
        """Never raises and never waits longer than a second or two: a lost ticket is sent again by the reconciler.
        False where Redis did not take it."""
        raise NotImplementedError

    def depth(self, lane: Lane) -> int | None:
        """Tickets waiting; None where Redis does not answer."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open; a later call opens it again."""


class CeleryQueue(JobQueue):
    """Celery writes a ticket of each lane, once; what is sent are copies, each with a number of its own. That is one round trip;
    Celery's own sending takes three, and four times the work."""

    def __init__(self, settings: Settings) -> None:
        self._link = RedisLink(settings)
        with celery_app(settings) as app, app.connection_for_write("memory://") as nowhere:
            self._blanks = {lane: _written(app, nowhere, lane) for lane in Lane}

    def send_ticket(self, lane: Lane) -> bool:
        name, message = queue_name(lane), self._blanks[lane].replace(_NUMBER, str(uuid.uuid4()))

        def send(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.lpush(name, message)
            pipeline.ltrim(name, 0, TICKETS_MAX - 1)  # tickets are alike: it does not matter which of them go
            return pipeline.execute()

        return self._link.call(send) is not None

    def depth(self, lane: Lane) -> int | None:
        return self._link.call(lambda client: int(client.llen(queue_name(lane))))

    def close(self) -> None:
        self._link.close()


def _written(app: Celery, nowhere: Any, lane: Lane) -> str:
    """A ticket as Celery and kombu lay it into Redis. Every number in it is the blank's."""
    app.send_task(TASK_NAME, task_id=_NUMBER, queue=queue_name(lane), ignore_result=True, connection=nowhere)
    message = nowhere.default_channel._get(queue_name(lane))
    message["properties"]["delivery_tag"] = _NUMBER
    return json.dumps(message)
