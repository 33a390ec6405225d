"""/v1/batches/{id}/result: the results of all items as one table, made in a sandbox and kept until an item runs again."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from api.answers import RANGES, binary, problems, stored_bytes
from api.auth import TenantDep, known_parameters
from api.batches import BatchId, find_batch
from api.content import Representation
from api.desk import Desk, DeskDep
from api.errands import errand, join_limits
from api.tables import table_content
from fumehood.batch import Batch
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.errors import Gone, NotFinished, NotFound, QuotaExceeded
from fumehood.item_tables import ItemTable
from fumehood.job import Input, Job, Kind
from fumehood.tenant import Tenant
from fumehood.text import timestamp

router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["batches"], dependencies=[Depends(known_parameters)])

_TABLE = {
    **stored_bytes("The table.", binary(*(FORMATS[name][0][0] for name in TABLE_FORMATS)), negotiated=True),
    **problems(404, 406, 409, 410),
}


@router.get("/result", summary="All results of a batch as one table", response_class=Response, responses=_TABLE, openapi_extra=RANGES)
async def read_joined(
    batch_id: BatchId,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    partial: Annotated[bool, Query(description="Take what has succeeded so far, of a batch that has not ended.")] = False,
) -> Response:
    """The rows of every item that succeeded, by number, behind the columns `item` (its number) and `item_name`. A column that some results
    do not have is null there; types that differ become one that holds all (`int64` and `double` become `double`), and where there is none
    the answer is 422, with the column and the two items. `Accept` chooses, as for the result of a job. Made when it is first asked for;
    that of a batch that has ended is kept until an item runs again."""
    batch = await find_batch(desk, tenant, batch_id)
    if not batch.final and not partial:
        raise NotFinished(f"batch {batch_id} has not ended; expected one that has, or `partial=true`")
    tables = await desk.ask(desk.store.tables_of_items, tenant.id, batch.id)
    if not tables:
        raise NotFound("no item of the batch has a result")
    if (gone := next((table for table in tables if table.gone_at is not None), None)) is not None:
        assert gone.gone_at is not None
        raise Gone(f"the result of item {gone.number} expired at {timestamp(gone.gone_at)}", expired_at=gone.gone_at)
    kept = f"{batch.joined_prefix}/{round((batch.finished_at or 0.0) * 1000)}.arrow"
    async with AsyncExitStack() as stack:
        # Nothing of the batch can be deleted while something that needs one of its jobs reads it.
        key, source = kept, {"job": tables[0].job, "output": "result"}
        if not batch.final or not await _is_there(desk, tenant, kept):
            made = await stack.enter_async_context(_errand(request, desk, tenant, batch, tables))
            if not batch.final or not await _keep(desk, tenant, batch, made, kept):
                key, source = made.output_blob("result"), {"job": made.id, "output": "result"}
        size = await desk.file(desk.blobs.size, tenant.id, key)
        table = Input(blob=key, format="arrow", bytes=size, source=source)
        stored = Representation(format="arrow", key=key)
        return await table_content(request, desk, tenant, stored=stored, table=table, file_name=f"{batch.id}-result")


async def _is_there(desk: Desk, tenant: Tenant, key: str) -> bool:
    try:
        await desk.file(desk.blobs.size, tenant.id, key)
    except NotFound:
        return False
    return True


async def _keep(desk: Desk, tenant: Tenant, batch: Batch, made: Job, key: str) -> bool:
    """False where the tenant has no room for it: it gets the table all the same, which is made again the next time."""
    table = made.output_blob("result")
    try:
        await desk.ask(desk.store.keep_joined, tenant.id, batch, size_bytes=await desk.file(desk.blobs.size, tenant.id, table))
    except QuotaExceeded:
        return False
    # Two that ask at once both have it made; the first one's stays.
    with suppress(FileExistsError):
        await desk.file(desk.blobs.link, tenant.id, table, key)
    try:
        now = await find_batch(desk, tenant, batch.id)
    except (NotFound, Gone):
        await desk.file(desk.blobs.delete, tenant.id, key)
        raise
    if now.finished_at != batch.finished_at:
        await desk.file(desk.blobs.delete, tenant.id, key)
        raise NotFinished("items of the batch run again; expected a batch that has ended")
    return True


def _errand(request: Request, desk: Desk, tenant: Tenant, batch: Batch, tables: list[ItemTable]) -> AbstractAsyncContextManager[Job]:
    first = tables[0]
    source = Input(blob=first.blob, format="arrow", bytes=first.bytes, offset=first.offset, source={"job": first.job, "output": "result"})
    limits = join_limits(desk.settings, size_bytes=sum(table.bytes for table in tables))
    return errand(desk, tenant, kind=Kind.JOIN, source=source, limits=limits, parameters={"batch": batch.id}, gone=request.is_disconnected)
