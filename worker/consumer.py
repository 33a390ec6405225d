"""The consumer: Celery's worker, in a thread of its own, with nothing to do but hand tickets to the slots.

`WorkController` is Celery's worker without its program around it, so no signal handlers, no banner and no logging of its own:
this process's main thread keeps the signals and says when to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.app import trace
from celery.worker import WorkController, state
from kombu.transport import redis, virtual

from fumehood.job import Lane
from fumehood.job_queue import TASK_NAME, queue_name
from fumehood.log import said

log = structlog.get_logger(__name__)


class TicketChannel(redis.Channel):
    """What is taken off the list is taken. kombu's Redis channel also keeps a copy of every message until it is acknowledged, which is
    two round trips for each; a ticket that is lost is sent again by the reconciler, so nobody would ever read them."""

    QoS = virtual.QoS  # type: ignore[assignment]  # kombu says: its own class, and means one like it


class TicketTransport(redis.Transport):
    Channel = TicketChannel


class Consumer:
    """`threads` should be one more than there are slots: a ticket that finds all slots busy must not wait behind them."""

    def __init__(self, app: Celery, on_ticket: Callable[[Lane], object], *, threads: int, name: str) -> None:
        self._app = app
        self._threads = threads
        self._name = name
        app.conf.broker_transport = TicketTransport
        lanes = {queue_name(lane): lane for lane in Lane}

        @app.task(name=TASK_NAME, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
        def ticket(task: Any, *_: Any, **__: Any) -> None:
            """Which lane there is work in is said by the queue that the message came through; the message itself says nothing."""
            lane = lanes.get((task.request.delivery_info or {}).get("routing_key", ""))
            if lane is not None:
                on_ticket(lane)

        self._thread = threading.Thread(target=self._consume, name="consumer", daemon=True)

    def start(self) -> None:
        state.should_stop = None
        self._thread.start()

    def stop(self) -> None:
        """Take no more tickets, within a second or so; tickets that are being worked on go on."""
        state.should_stop = 0

    def join(self, timeout_seconds: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _consume(self) -> None:
        try:
            # The pool's threads begin without a current application; this makes it ours.
            trace.setup_worker_optimizations(self._app, self._name)
            WorkController(
                app=self._app,
                hostname=self._name,
                pool="threads",
                concurrency=self._threads,
                queues=[queue_name(lane) for lane in Lane],
                # Workers meet in the store, not over Redis.
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
            ).start()
        except BaseException as error:  # The main thread sees that the consumer ended, and ends the process.
            log.error("consumer failed", error=said(error), exc_info=error)
