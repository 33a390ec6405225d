"""/v1/batches: one script over many inputs: submit, list, count, read item by item, cancel, forget."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from api.answers import PAGE_DEFAULT, RANGES, Cursor, Limit, asked_for, binary, headers, link_next, problems, stored_bytes
from api.auth import TenantDep, known_parameters
from api.batch_records import batch_record, batch_summary, item_record, item_summary, table_of
from api.batch_schemas import BatchPage, BatchRecord, ItemPage, ItemRecord
from api.batch_submission import send_tickets, submit, terms_of
from api.calls import Asked
from api.content import SANDBOXED, Representation, Streamed
from api.cursors import CursorsDep
from api.desk import Desk, DeskDep
from api.errands import require_space
from api.gone import absent, require_log, require_results
from api.live_log import stored_text
from api.multipart import OF_BATCH, Parts
from api.reading import JSON, MULTIPART, read_request, single
from api.tables import table_content
from api.waiting import WAIT_SECONDS_MAX, wait_final
from fumehood import notices
from fumehood.batch import Batch, Ran
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.errors import NotFinished, NotFound
from fumehood.job import State
from fumehood.tenant import Tenant

router = APIRouter(prefix="/v1/batches", tags=["batches"], dependencies=[Depends(known_parameters)])

KEY_DESCRIPTION = "As for a job: the same request again gives the same batch, for {idempotency_hours:g} hours."
Key = Annotated[str | None, Header(description=KEY_DESCRIPTION)]
BatchId = Annotated[str, Path(description="A batch's `id`.", examples=["bat_00000000000000000000000000000000"])]
ItemNumber = Annotated[int, Path(description="An item's `number`, from 0 on.", examples=[0])]
_FILE = {"type": "string", "format": "binary"}
_SCRIPT = "def azureml_main(frame, *, factor=2):\n    frame['b'] = frame['a'] * factor\n    return frame\n"
_EXAMPLE = {
    "script": _SCRIPT,
    "isolation": "batch",
    "items": [{"name": "first", "dataset1": "ds_00000000000000000000000000000000"}, {"name": "second", "parameters": {"factor": 3}}],
}
_DOCUMENT = {"$ref": "#/components/schemas/BatchDocument"}
_SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": _DOCUMENT, "examples": {"stored": {"summary": "Stored tables, one sandbox for many", "value": _EXAMPLE}}},
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "batch": _DOCUMENT,
                        "script": {**_FILE, "description": "Instead of `script` in the document."},
                        "item": {
                            "type": "array",
                            "items": _FILE,
                            "description": "One part for each item's `dataset1`, 64 MiB at most; its file name is the item's name.",
                        },
                        "dataset2": _FILE,
                        "bundle": {**_FILE, "description": "A zip."},
                    },
                },
                "encoding": {"batch": {"contentType": JSON}},
            },
        },
    }
}
SUBMITTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "Its record; the batch is on disk.", "headers": headers("Location", "Idempotency-Replayed")}
}
_TABLE = {
    **stored_bytes("The table.", binary(*(FORMATS[name][0][0] for name in TABLE_FORMATS)), negotiated=True),
    **problems(404, 406, 409, 410),
}
_LOG: dict[int | str, dict[str, Any]] = {
    200: {"description": "The log.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **problems(404, 409, 410),
}
_PAGE: dict[int | str, dict[str, Any]] = {200: {"description": "A page.", "headers": headers("Link")}}


@router.post(
    "",
    status_code=202,
    summary="Submit a batch",
    response_model=BatchRecord,
    responses={**SUBMITTED, **problems(400, 408, 409, 413, 415)},
    openapi_extra=_SUBMIT_BODY,
)
async def submit_batch(request: Request, response: Response, desk: DeskDep, tenant: TenantDep, idempotency_key: Key = None) -> BatchRecord:
    """A batch acknowledged with 202 is on disk with all its items, and each of them will end in a final state. Items that cannot be
    taken are all named (422), and then nothing is stored."""
    return await take_in(request, response, desk, tenant, idempotency_key, OF_BATCH)


async def take_in(
    request: Request, response: Response, desk: Desk, tenant: Tenant, idempotency_key: str | None, parts: Parts, of: Asked | None = None
) -> BatchRecord:
    """Submit the batch that a request is about, of a version where it is `of` one."""
    single(request, "idempotency-key")
    with ExitStack() as stack:
        raw, form = await read_request(request, desk, tenant, stack, parts)
        batch, replayed = await submit(desk, tenant, raw, form, idempotency_key, of=of)
    structlog.contextvars.bind_contextvars(batch=batch.id)
    response.headers["Location"] = f"/v1/batches/{batch.id}"
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return batch_record(batch)


@router.get("", summary="List batches", response_model=BatchPage, responses={**_PAGE, **problems()})
async def list_batches(
    response: Response, desk: DeskDep, tenant: TenantDep, cursors: CursorsDep, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> BatchPage:
    """Newest first; the record of each has its counts."""
    batches, following = await desk.ask(desk.store.list_batches, tenant.id, before=cursors.open(cursor), limit=limit)
    following = cursors.seal(following)
    link_next(response, "/v1/batches", following, {"limit": limit})
    return BatchPage(items=[batch_summary(batch) for batch in batches], next=following)


@router.get("/{batch_id}", summary="A batch's record", response_model=BatchRecord, responses=problems(404, 410))
async def read_batch(
    batch_id: BatchId,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    wait: Annotated[
        float, Query(ge=0, allow_inf_nan=False, description="Answer when every item has ended, or after n seconds, 60 at most.")
    ] = 0,
) -> BatchRecord:
    """How many items are in each state."""
    batch = await find_batch(desk, tenant, batch_id)
    deadline = time.monotonic() + min(wait, WAIT_SECONDS_MAX)
    while not batch.final and (left := deadline - time.monotonic()) > 0 and not await request.is_disconnected():
        # Whichever ends last: few are left when the one that was queued last has ended.
        job = await desk.ask(desk.store.unfinished_job, tenant.id, batch.id)
        if job is not None:
            await wait_final(desk, job, left, request.is_disconnected)
        batch = await find_batch(desk, tenant, batch_id)
    return batch_record(batch)


@router.get("/{batch_id}/items", summary="List a batch's items", response_model=ItemPage, responses={**_PAGE, **problems(404, 410)})
async def list_items(
    batch_id: BatchId,
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    cursors: CursorsDep,
    state: Annotated[State | None, Query(description="Only items in this state.")] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> ItemPage:
    """By number."""
    batch = await find_batch(desk, tenant, batch_id)
    wanted = state.value if state else None
    after = cursors.open(cursor)
    items, following = await desk.ask(desk.store.list_items, tenant.id, batch.id, state=wanted, after=after, limit=limit)
    following = cursors.seal(following)
    link_next(response, f"/v1/batches/{batch.id}/items", following, {"limit": limit, "state": wanted})
    return ItemPage(items=[item_summary(batch, ran) for ran in items], next=following)


@router.get("/{batch_id}/items/{number}", summary="An item's record", response_model=ItemRecord, responses=problems(404, 410))
async def read_item(batch_id: BatchId, number: ItemNumber, desk: DeskDep, tenant: TenantDep) -> ItemRecord:
    """A failed item is no error of the API: its record says what happened."""
    batch, ran = await _find_item(desk, tenant, batch_id, number)
    return item_record(batch, ran)


@router.get(
    "/{batch_id}/items/{number}/result", summary="An item's result table", response_class=Response, responses=_TABLE, openapi_extra=RANGES
)
async def read_item_result(batch_id: BatchId, number: ItemNumber, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """`Accept` chooses, as for the result of a job."""
    return await _result(request, desk, tenant, batch_id, number, "result")


@router.get(
    "/{batch_id}/items/{number}/result2",
    summary="An item's second result table",
    response_class=Response,
    responses=_TABLE,
    openapi_extra=RANGES,
)
async def read_item_result2(batch_id: BatchId, number: ItemNumber, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """As `result`; there is one where the function returned a second table."""
    return await _result(request, desk, tenant, batch_id, number, "result2")


@router.get(
    "/{batch_id}/items/{number}/log", summary="An item's log", response_class=Response, responses={**_LOG, **problems(404, 409, 410)}
)
async def read_item_log(batch_id: BatchId, number: ItemNumber, desk: DeskDep, tenant: TenantDep) -> Response:
    """The stored log of an item that has ended."""
    ran = await _ended(desk, tenant, batch_id, number)
    job = ran.job
    if job is not None:
        require_log(job)
    said = ran.ending.log if ran.ending is not None else {}
    window = (int(said["offset"]), int(said["offset"] + said["bytes"])) if said else (0, None)

    async def text() -> Any:
        # Of an item that its chunk took along, or that was cancelled before it had a job, there is no log of its own.
        if job is not None and (said or job.item is not None):
            async for piece, _, _ in stored_text(desk, job, *window):
                yield piece.encode()

    return Streamed(text(), headers={**SANDBOXED, "Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8"})


@router.post("/{batch_id}/cancel", status_code=202, summary="Cancel a batch", response_model=BatchRecord, responses=problems(404, 409, 410))
async def cancel_batch(batch_id: BatchId, desk: DeskDep, tenant: TenantDep) -> BatchRecord:
    """What is queued ends at once, what runs within seconds; asking again is fine. Of a sandbox that runs many items all of them end
    as cancelled, those that were done too. A batch that has ended is not changed (409)."""
    batch = await find_batch(desk, tenant, batch_id)
    batch, ended = await desk.ask(desk.store.cancel_batch, tenant.id, batch.id)
    desk.tally.count("fumehood_cancelled_before_start_total", by=len(ended))
    desk.later(_tell_cancelled(desk, batch, ended))
    return batch_record(batch)


@router.post(
    "/{batch_id}/retry",
    status_code=202,
    summary="Run what failed again",
    response_model=BatchRecord,
    responses=problems(404, 409, 410),
)
async def retry_batch(batch_id: BatchId, desk: DeskDep, tenant: TenantDep) -> BatchRecord:
    """Every item that failed or was cancelled waits again, with what it had, and gets a new job. The batch has not ended any more, and its
    end is told once more. Refused (409) where there is no such item, where each has run again 20 times, and while the batch is being
    cancelled."""
    return await _retry(desk, tenant, batch_id, None)


@router.post(
    "/{batch_id}/items/{number}/retry",
    status_code=202,
    summary="Run an item again",
    response_model=ItemRecord,
    responses=problems(404, 409, 410),
)
async def retry_item(batch_id: BatchId, number: ItemNumber, desk: DeskDep, tenant: TenantDep) -> ItemRecord:
    """As `retry` of the batch, of one item that failed or was cancelled."""
    await _find_item(desk, tenant, batch_id, number)
    await _retry(desk, tenant, batch_id, number)
    return await read_item(batch_id, number, desk, tenant)


@router.delete("/{batch_id}", status_code=204, summary="Forget a batch", responses=problems(404, 409, 410))
async def delete_batch(batch_id: BatchId, desk: DeskDep, tenant: TenantDep) -> None:
    """All of it: records, tables, logs and the jobs. Refused while an item has not ended, or while another job reads its output."""
    batch = await find_batch(desk, tenant, batch_id)
    await desk.forget(tenant.id, batch.blob_prefix, partial(desk.store.delete_batch, tenant.id, batch.id))
    await desk.ask(desk.events.forget, batch.id)


async def _tell_cancelled(desk: Desk, batch: Batch, jobs: list[str]) -> None:
    """Whoever follows one of them; the one that a waiting reader follows is the last."""
    await desk.ask(desk.events.notify, notices.of_cancelled_batch(batch.tenant, batch.id))
    told = {"state": State.CANCELLED.value, "reason": "cancelled"}
    for job_id in reversed(jobs):
        await desk.ask(desk.events.publish, job_id, "end", told)


async def _retry(desk: Desk, tenant: Tenant, batch_id: str, number: int | None) -> BatchRecord:
    batch = await find_batch(desk, tenant, batch_id)
    await require_space(desk, batch.limits.reserved_bytes)
    terms = await terms_of(desk, tenant)
    batch, again = await desk.ask(desk.store.retry_items, tenant.id, batch.id, terms, number=number)
    # It is another table from now on. One that is made at this moment sees that, too.
    await desk.file(desk.blobs.delete, tenant.id, batch.joined_prefix)
    await desk.ask(desk.events.notify, notices.of_retried_batch(batch.tenant, batch.id))
    await desk.ask(send_tickets, desk, again)
    return batch_record(batch)


async def find_batch(desk: Desk, tenant: Tenant, batch_id: str) -> Batch:
    asked_for(batch_id, "batch")
    try:
        return await desk.ask(desk.store.get_batch, tenant.id, batch_id)
    except NotFound:
        raise await absent(desk, tenant.id, batch_id, "batch") from None


async def _find_item(desk: Desk, tenant: Tenant, batch_id: str, number: int) -> tuple[Batch, Ran]:
    batch = await find_batch(desk, tenant, batch_id)
    if not 0 <= number < batch.items:
        raise NotFound(f"the batch has no item with this number; it has {batch.items:,}")
    return batch, await desk.ask(desk.store.get_item, tenant.id, batch.id, number)


async def _ended(desk: Desk, tenant: Tenant, batch_id: str, number: int) -> Ran:
    _, ran = await _find_item(desk, tenant, batch_id, number)
    if not ran.state.final:
        raise NotFinished(f"the item is {ran.state}; expected one that has ended")
    return ran


async def _result(request: Request, desk: Desk, tenant: Tenant, batch_id: str, number: int, port: str) -> Response:
    ran = await _ended(desk, tenant, batch_id, number)
    table = table_of(ran, port)
    if table is None:
        raise NotFound(f"the item ended as {ran.state} without a {port}")
    assert ran.job is not None
    require_results(ran.job)
    stored = Representation(format="arrow", key=table.blob)
    return await table_content(request, desk, tenant, stored=stored, table=table, file_name=f"{batch_id}-{number}-{port}")
