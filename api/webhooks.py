"""/v1/webhooks: what messages are signed with, what came of each, and to send one again. They are sent by the courier."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from api.answers import PAGE_DEFAULT, Cursor, Limit, headers, is_id, link_next, missing, problems, require_id
from api.auth import TenantDep, known_parameters
from api.cursors import CursorsDep
from api.desk import DeskDep
from api.webhook_schemas import DeliveryPage, DeliveryRecord, DeliverySummary, TryRecord, WebhookSecret
from fumehood.delivery import Delivery, DeliveryState, Try
from fumehood.errors import BadField, BadRequest, NotFound
from fumehood.text import timestamp
from fumehood.webhook_secrets import Secrets

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[Depends(known_parameters)])

DeliveryId = Annotated[str, Path(description="A message's `id`.", examples=["msg_00000000000000000000000000000000"])]
_PAGE: dict[int | str, dict[str, Any]] = {200: {"description": "A page.", "headers": headers("Link")}}
_PLACES = {"job": "/v1/jobs", "bat": "/v1/batches"}


@router.get("/secret", summary="Show the webhook secret", response_model=WebhookSecret, responses=problems())
async def read_webhook_secret(desk: DeskDep, tenant: TenantDep) -> WebhookSecret:
    """What a receiver checks signatures with. The first one is made when it is asked for, or needed."""
    return _secret(await desk.ask(desk.store.webhook_secrets, tenant.id))


@router.post("/secret/rotate", summary="Change the webhook secret", response_model=WebhookSecret, responses=problems())
async def rotate_webhook_secret(desk: DeskDep, tenant: TenantDep) -> WebhookSecret:
    """A new one. For 24 hours messages bear a signature by each, so that receivers can change at their own time; of more than
    three the oldest stops at once."""
    return _secret(await desk.ask(desk.store.rotate_webhook_secret, tenant.id))


@router.get("/deliveries", summary="List webhook deliveries", response_model=DeliveryPage, responses={**_PAGE, **problems()})
async def list_deliveries(
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    cursors: CursorsDep,
    state: Annotated[DeliveryState | None, Query(description="Only messages in this state.")] = None,
    about: Annotated[str | None, Query(description="Only messages about this job or batch.")] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> DeliveryPage:
    """Newest first. What was sent or given up is kept for some days, or until its job is forgotten."""
    if about is not None and not is_id(about):
        fault = BadField("/query/about", "expected the id of a job or a batch")
        raise BadRequest("a parameter of the request cannot be used", errors=(fault,))
    wanted = state.value if state else None
    before = cursors.open(cursor)
    found, following = await desk.ask(desk.store.list_deliveries, tenant.id, state=wanted, about=about, before=before, limit=limit)
    following = cursors.seal(following)
    link_next(response, "/v1/webhooks/deliveries", following, {"limit": limit, "state": wanted, "about": about})
    return DeliveryPage(items=[DeliverySummary(**_summary(one)) for one in found], next=following)


@router.get("/deliveries/{delivery_id}", summary="A delivery's record", response_model=DeliveryRecord, responses=problems(404))
async def read_delivery(delivery_id: DeliveryId, desk: DeskDep, tenant: TenantDep) -> DeliveryRecord:
    """With what is sent, and what came of each time. Of the receiver's answers only the status is kept."""
    try:
        return _record(await desk.ask(desk.store.get_delivery, tenant.id, require_id(delivery_id, "delivery")))
    except NotFound:
        raise missing("delivery") from None


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Send a message again",
    response_model=DeliveryRecord,
    responses=problems(404, 409),
)
async def replay_delivery(delivery_id: DeliveryId, desk: DeskDep, tenant: TenantDep) -> DeliveryRecord:
    """From the beginning of its schedule, with the same id and body; one that waits for its next time does not wait any longer. Refused
    (409) while it is being sent, and before its batch has ended."""
    try:
        return _record(await desk.ask(desk.store.replay_delivery, tenant.id, require_id(delivery_id, "delivery")))
    except NotFound:
        raise missing("delivery") from None


def _secret(secrets: Secrets) -> WebhookSecret:
    return WebhookSecret(
        secret=secrets.newest,
        created_at=timestamp(secrets.since) or "",
        former=len(secrets.former),
        former_until=timestamp(secrets.former_until),
    )


def _record(delivery: Delivery) -> DeliveryRecord:
    return DeliveryRecord(**_summary(delivery), tries=[_try(one) for one in delivery.tries], payload=delivery.payload)


def _summary(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "event": delivery.event,
        "about": delivery.about,
        "url": delivery.url,
        "state": delivery.state,
        "attempt": delivery.attempt,
        "created_at": timestamp(delivery.created_at) or "",
        "next_at": timestamp(delivery.due_at) if delivery.state is DeliveryState.PENDING else None,
        "ended_at": timestamp(delivery.ended_at),
        "last": _try(delivery.tries[-1]) if delivery.tries else None,
        "links": {
            "self": f"/v1/webhooks/deliveries/{delivery.id}",
            "about": f"{_PLACES[delivery.about.partition('_')[0]]}/{delivery.about}",
        },
    }


def _try(one: Try) -> TryRecord:
    return TryRecord(at=timestamp(one.at) or "", status=one.status, trouble=one.trouble, milliseconds=one.milliseconds)
