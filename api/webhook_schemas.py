"""Schemas of webhooks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fumehood.delivery import DeliveryState, Trouble

CALLBACK = (
    "Address of http or https that is told of the end by a signed POST (Standard Webhooks); of the internet, unless the operator lists it."
)
_ID, _JOB = "msg_00000000000000000000000000000000", "job_00000000000000000000000000000000"


class WebhookSecret(BaseModel):
    """What your messages are signed with: HMAC-SHA256, as the Standard Webhooks convention says."""

    secret: str = Field(description="`whsec_` and 32 random bytes in base64. Whoever has it can write messages that look like ours.")
    created_at: str
    former: int = Field(description="How many earlier ones messages are signed with as well.")
    former_until: str | None = Field(description="Until when that is so.")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                    "created_at": "2025-01-02T00:00:00.000Z",
                    "former": 1,
                    "former_until": "2025-01-03T00:00:00.000Z",
                }
            ]
        }
    )


class TryRecord(BaseModel):
    """One time that a message was sent, or was to be."""

    at: str
    status: int | None = Field(description="Of the receiver's answer; null where there was none.")
    trouble: Trouble | None = Field(None, description="Why it came to nothing; null where it came.")
    milliseconds: float


class DeliverySummary(BaseModel):
    """What a list shows of a message."""

    id: str = Field(description="The same however often it is sent; the receiver finds it as `webhook-id`.")
    event: str = Field(description="`job.succeeded`, `job.failed`, `job.cancelled` or `batch.finished`.")
    about: str = Field(description="Id of the job or batch.")
    url: str
    state: DeliveryState = Field(
        description="`held` until its batch has ended, `pending` until its time comes, `sending`; `delivered` or `failed` at the end."
    )
    attempt: int = Field(description="How often it was sent since it was last told to be.")
    created_at: str
    next_at: str | None = Field(None, description="When it is sent next, while it is pending.")
    ended_at: str | None
    last: TryRecord | None = Field(description="What came of the last time.")
    links: dict[str, str]


class DeliveryPage(BaseModel):
    items: list[DeliverySummary]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class DeliveryRecord(DeliverySummary):
    tries: list[TryRecord] = Field(description="The last 20, oldest first.")
    payload: dict[str, Any] | None = Field(description="What is sent; null while it is held.")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "event": "job.succeeded",
                    "about": _JOB,
                    "url": "https://example.com/hook",
                    "state": "delivered",
                    "attempt": 1,
                    "created_at": "2025-01-01T00:00:00.000Z",
                    "next_at": None,
                    "ended_at": "2025-01-01T00:00:01.000Z",
                    "last": {"at": "2025-01-01T00:00:01.000Z", "status": 204, "trouble": None, "milliseconds": 80.5},
                    "tries": [{"at": "2025-01-01T00:00:01.000Z", "status": 204, "trouble": None, "milliseconds": 80.5}],
                    "payload": {"type": "job.succeeded", "timestamp": "2025-01-01T00:00:00.000Z", "data": {"id": _JOB}},
                    "links": {"self": f"/v1/webhooks/deliveries/{_ID}", "about": f"/v1/jobs/{_JOB}"},
                }
            ]
        }
    )
