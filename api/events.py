"""/v1/events and /v1/batches/{id}/events: what happens, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from api.answers import event_stream, headers, problems
from api.auth import TenantDep, known_parameters
from api.batch_events import batch_events
from api.batches import BatchId, find_batch
from api.content import accept_of, choose_media
from api.desk import DeskDep
from api.follower import STREAM_SECONDS_MAX
from api.standing import EVENTS, StandingDep
from api.tenant_events import tenant_events

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[Depends(known_parameters)])

LastEventId = Annotated[str | None, Header(description="Go on behind this event.")]
Seconds = Annotated[
    float, Query(ge=0, le=STREAM_SECONDS_MAX, allow_inf_nan=False, description="The answer ends then; 0 for what there is now.")
]
_BATCH = """\
event: item
data: {"number": 6, "name": "june.csv", "state": "failed", "reason": "script_error", "job": "job_00000000000000000000000000000000", \
"retries": 0}

id: 1735689600000-0
event: progress
data: {"counts": {"queued": 2, "running": 1, "succeeded": 6, "failed": 1, "cancelled": 0}}

id: 1735689601000-0
event: end
data: {"counts": {"queued": 0, "running": 0, "succeeded": 9, "failed": 1, "cancelled": 0}}

"""
_TENANT = """\
id: 1735689600000-0
event: now
data: {"queued": 2, "running": 1}

id: 1735689601000-0
event: job
data: {"id": "job_00000000000000000000000000000000", "state": "succeeded", "reason": "ok", "attempt": 1}

"""


_OF_BATCH = event_stream(
    _BATCH,
    item="an item that has ended; `job` is the job that is this item, null in isolation `batch`",
    progress="how many items are in each state",
    gap="why something may have been missed, `lost` or `away`; it is told again from the rows",
    end="the last counts",
)
_OF_TENANT = event_stream(
    _TENANT,
    now="how many of your jobs wait and run",
    job="a job in another state; of a batch's job also `batch` and `item`",
    batch="how many of its items are in each state, and when it ended",
    gap="why something may have been missed, `lost` or `away`",
)


@router.get(
    "/batches/{batch_id}/events",
    summary="A batch's events",
    response_class=Response,
    responses={200: {"description": "Events, to the batch's end.", "content": _OF_BATCH, "headers": headers("Vary")}, **problems(404, 406)},
)
async def read_batch_events(
    batch_id: BatchId,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    standing: StandingDep,
    seconds: Seconds = STREAM_SECONDS_MAX,
    last_event_id: LastEventId = None,
) -> Response:
    """First `item` for each item that has ended, then again as the next ones do; `progress` with the counts, a few times a second at
    most; and `end` with the last ones. An item is told once over a connection, and never left out; over two of them it may come twice.

    With `Last-Event-ID` only what is new since. Where that cannot be known any more, `gap` says so, and everything is told anew."""
    choose_media(accept_of(request), [EVENTS])
    batch = await find_batch(desk, tenant, batch_id)
    return standing.stream(batch_events(desk, batch, last_event_id, seconds))


@router.get(
    "/events",
    summary="All events",
    response_class=Response,
    responses={200: {"description": "Events as they happen.", "content": _OF_TENANT, "headers": headers("Vary")}, **problems(406)},
)
async def read_events(
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    standing: StandingDep,
    seconds: Seconds = STREAM_SECONDS_MAX,
    last_event_id: LastEventId = None,
) -> Response:
    """`job` whenever one of your jobs is queued, starts or ends; `batch` when one is submitted and when it has ended, for those in
    isolation `batch` also in between. It begins with `now`: how many of your jobs wait and run, neither counted beyond 1,000.

    With `Last-Event-ID` what came since. Where that is not there any more, `gap` says so, then `now`; the lists have the rest."""
    choose_media(accept_of(request), [EVENTS])
    return standing.stream(tenant_events(desk, tenant.id, last_event_id, seconds))
