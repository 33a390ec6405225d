"""Delivery: one message to a tenant's own server, and what came of each time that it was sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fumehood.batch import Batch
from fumehood.job import Job
from fumehood.text import timestamp

QUEUE_MAX = 10_000
"""Messages of a tenant that wait. Who has more gets those that come meanwhile marked as failed, and can have them sent later."""
TRIES_KEPT = 20
BATCH_FINISHED = "batch.finished"


class DeliveryState(StrEnum):
    """
    held        entered with a batch; left when its last item has ended
    pending     waits for its time; entered when a job ends, after a try that failed, and by a replay
    sending     in the hands of a courier, for as long as its lease
    delivered   final: the receiver answered with a 2xx
    failed      final: it never did, answered 410, or there were too many
    """

    HELD = "held"
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Trouble(StrEnum):
    """Why a try came to nothing."""

    STATUS = "status"
    """It answered, and not with a 2xx; redirects are not followed."""
    GONE = "gone"
    """It answered 410: nobody wants this any more."""
    NAME_NOT_FOUND = "name_not_found"
    ADDRESS_REFUSED = "address_refused"
    """The address is no longer one that requests may go to, or its name means such a one."""
    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    BAD_ANSWER = "bad_answer"
    INTERRUPTED = "interrupted"
    """The courier ended; whether the message came, nobody knows."""
    QUEUE_FULL = "queue_full"
    """Too many of the tenant's waited: it was not sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    at: float
    status: int | None = None
    """Of the answer, where there was one."""
    trouble: Trouble | None = None
    milliseconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        trouble = self.trouble.value if self.trouble else None
        return {"at": self.at, "status": self.status, "trouble": trouble, "milliseconds": self.milliseconds}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Try:
        return cls(**(values | {"trouble": Trouble(values["trouble"]) if values["trouble"] else None}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One row, frozen at the moment it was read."""

    id: str
    """The message's, the same however often it is sent."""
    tenant: str
    event: str
    about: str
    """Id of the job or the batch."""
    url: str
    state: DeliveryState
    payload: dict[str, Any] | None
    """None while it is held."""
    attempt: int = 0
    """How often it was sent since it was last told to be."""
    fence: int = 0
    """Rises with every claim and replay; whoever writes with an older one is not heard."""
    due_at: float = 0.0
    """When it is sent next; of one that is being sent, when its courier counts as gone."""
    created_at: float = 0.0
    ended_at: float | None = None
    tries: tuple[Try, ...] = field(default=())
    """The last ones, oldest first."""

    @property
    def body(self) -> bytes:
        """What is sent: the same bytes each time."""
        return json.dumps(self.payload, ensure_ascii=False, separators=(",", ":")).encode()


def payload_of_job(job: Job) -> dict[str, Any]:
    """Facts of the service's own, and the labels: what a script said stands in the record, for those who have a key."""
    reason = job.outcome.reason if job.outcome else None
    data = {
        "id": job.id,
        "state": job.state.value,
        "reason": reason.value if reason else None,
        "blame": reason.blame.value if reason else None,
        "attempt": job.attempt,
        "labels": job.labels,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
    }
    return {"type": f"job.{job.state.value}", "timestamp": timestamp(job.finished_at), "data": data}


def payload_of_batch(batch: Batch) -> dict[str, Any]:
    data = {
        "id": batch.id,
        "items": batch.items,
        "counts": {state.value: count for state, count in batch.counts.items()},
        "cancel_requested": batch.cancel_requested,
        "stopped_by": batch.stopped_by,
        "labels": batch.labels,
        "created_at": timestamp(batch.created_at),
        "finished_at": timestamp(batch.finished_at),
    }
    return {"type": BATCH_FINISHED, "timestamp": timestamp(batch.finished_at), "data": data}
