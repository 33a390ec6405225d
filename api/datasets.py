"""/v1/datasets: uploads, streamed to disk and described in a sandbox; records; contents."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query, Request, Response

from api import bodies
from api.answers import PAGE_DEFAULT, Cursor, Limit, link_next, missing, problems, require_id
from api.auth import TenantDep, known_parameters
from api.content import Representation, attachment, choose, send_blob
from api.desk import Desk, DeskDep
from api.errands import errand, errand_limits, require_space
from api.names import showable
from api.problems import UnknownMediaType
from api.records import columns_of, dataset_record, whole
from api.schemas import DatasetPage, DatasetRecord
from fumehood.blob_store import Incoming
from fumehood.dataset import FORMATS, Dataset, format_of
from fumehood.errors import BadField, BadRequest, NotFound
from fumehood.job import Input, Job, Kind, new_id
from fumehood.tenant import Tenant

NAME_CHARACTERS = 255
CONVERTIBLE = ("csv",)  # made from the canonical Arrow form by an errand, where it is not stored

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(known_parameters)])

_MEDIA_TYPES = [media for media_types, _ in FORMATS.values() for media in media_types]
_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes as they are; the media type says the format.",
        "content": {
            media: {"schema": {"type": "string", "format": "binary"}, **({"example": "a,b\n1,2\n3,4\n"} if media == "text/csv" else {})}
            for media in _MEDIA_TYPES
        },
    }
}


@router.post(
    "",
    status_code=201,
    summary="Upload a dataset",
    response_model=DatasetRecord,
    responses={
        200: {"description": "The same bytes were there already: their record.", "model": DatasetRecord},
        **problems(400, 408, 413, 415, 503),
    },
    openapi_extra=_UPLOAD_BODY,
)
async def upload(
    request: Request,
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    name: Annotated[str, Query(description="For people; need not be unique.")] = "",
) -> DatasetRecord:
    """Streams the body to disk and has a sandbox read it whole: malformed bytes are refused here, and named.
    The same bytes again give the same record."""
    if len(name) > NAME_CHARACTERS or not showable(name):
        expected = f"expected at most {NAME_CHARACTERS} characters of UTF-8 and no control characters"
        raise BadRequest("the name cannot be used", errors=(BadField("/query/name", expected),))
    media_type = request.headers.get("content-type", "")
    format = format_of(media_type, None)
    if format is None:
        raise UnknownMediaType(
            f"the Content-Type is {media_type[:80]!r}; expected one of {', '.join(_MEDIA_TYPES)}", available=_MEDIA_TYPES
        )
    await require_space(desk, int(length) if (length := request.headers.get("content-length", "0")[:18]).isdecimal() else 0)
    with ExitStack() as stack:
        incoming = stack.enter_context(await desk.file(desk.blobs.incoming, floor_bytes=desk.settings.disk_floor_bytes))
        await _receive(desk, request, incoming, desk.settings.bundle_bytes if format == "zip" else desk.settings.dataset_bytes)
        dataset = await desk.ask(desk.store.find_dataset, tenant.id, sha256=incoming.sha256, format=format)
        new = dataset is None
        if dataset is None:
            dataset, new = await _take_in(desk, request, tenant, incoming, name=name, format=format)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return dataset_record(dataset)


@router.get("", summary="List datasets", response_model=DatasetPage, responses=problems(503))
async def list_datasets(
    response: Response, desk: DeskDep, tenant: TenantDep, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> DatasetPage:
    """Newest first."""
    datasets, following = await desk.ask(desk.store.list_datasets, tenant.id, before=cursor, limit=limit)
    link_next(response, "/v1/datasets", following, {"limit": limit})
    return DatasetPage(items=[dataset_record(dataset) for dataset in datasets], next=following)


@router.get("/{dataset_id}", summary="A dataset's record", response_model=DatasetRecord, responses=problems(404, 503))
async def read_dataset(dataset_id: str, desk: DeskDep, tenant: TenantDep) -> DatasetRecord:
    return dataset_record(await _find(desk, tenant, dataset_id))


@router.delete("/{dataset_id}", status_code=204, summary="Forget a dataset", responses=problems(404, 409, 503))
async def delete_dataset(dataset_id: str, desk: DeskDep, tenant: TenantDep) -> None:
    """Refused while a job that has not ended needs it."""
    await _find(desk, tenant, dataset_id)
    await desk.ask(desk.store.delete_dataset, tenant.id, dataset_id)
    await desk.file(desk.blobs.delete, tenant.id, f"datasets/{dataset_id}")


_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/{dataset_id}/content",
    summary="A dataset's bytes",
    response_class=Response,
    responses={
        200: {"description": "The content.", "content": {FORMATS[name][0][0]: _BINARY for name in FORMATS}},
        **problems(404, 406, 416, 503),
    },
)
async def read_content(dataset_id: str, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """`Accept` chooses: the stored format (also for `*/*`), an Arrow file, or CSV made in a sandbox.
    Stored bytes have an ETag and honour `Range`."""
    dataset = await _find(desk, tenant, dataset_id)
    table = (
        Input(blob=dataset.table_blob, format="arrow", bytes=dataset.table_bytes or 0, dataset=dataset.id) if dataset.table_blob else None
    )
    return await table_content(
        request,
        desk,
        tenant,
        stored=[Representation(format=dataset.format, key=dataset.blob)],
        table=table,
        file_name=dataset.name or dataset.id,
    )


async def table_content(
    request: Request, desk: Desk, tenant: Tenant, *, stored: list[Representation], table: Input | None, file_name: str
) -> Response:
    """The bytes of a dataset or a result in the representation that the client wants.

    Raises:
        NotAcceptable: lists what there is.
        Unavailable: no sandbox was free for a conversion.
    """
    available = list(stored)
    if table is not None and all(entry.format != "arrow" for entry in available):
        available.append(Representation(format="arrow", key=table.blob))
    if table is not None:
        available += [Representation(format=name) for name in CONVERTIBLE if all(entry.format != name for entry in available)]
    chosen = choose(request.headers.get("accept"), available)
    headers = {"Vary": "Accept", "Content-Disposition": attachment(_named(file_name, chosen.format))}
    if chosen.key is not None:
        blob = await desk.file(desk.blobs.open, tenant.id, chosen.key)
        return await send_blob(request, desk, blob, media_type=chosen.media_type, identity=f"{tenant.id}/{chosen.key}", headers=headers)
    assert table is not None
    limits = errand_limits(desk.settings, format="arrow", size_bytes=table.bytes)
    async with errand(
        desk, tenant, kind=Kind.CONVERT, source=table, limits=limits, target_format=chosen.format, gone=request.is_disconnected
    ) as made:
        # The open file outlives its name: what was made for this answer is gone from the store before it is sent.
        blob = await desk.file(desk.blobs.open, tenant.id, made.output_blob("result"))
    return await send_blob(request, desk, blob, media_type=chosen.media_type, identity=None, headers=headers)


async def _receive(desk: Desk, request: Request, incoming: Incoming, limit_bytes: int) -> None:
    async for piece in bodies.pieces(request, limit_bytes=limit_bytes, idle_seconds=desk.settings.body_idle_seconds, what="the dataset"):
        await desk.file(incoming.write, piece)
    if incoming.bytes == 0:
        raise BadRequest("the body is empty; expected a dataset")


async def _take_in(desk: Desk, request: Request, tenant: Tenant, incoming: Incoming, *, name: str, format: str) -> tuple[Dataset, bool]:
    """Keep the bytes, have them described, and store the record last; whatever goes wrong, nothing stays."""
    dataset_id, size, sha256 = new_id("ds"), incoming.bytes, incoming.sha256
    original, adopting = f"datasets/{dataset_id}/original", False
    try:
        await desk.file(desk.blobs.keep, incoming, tenant.id, original)
        source, limits = Input(blob=original, format=format, bytes=size), errand_limits(desk.settings, format=format, size_bytes=size)
        async with errand(desk, tenant, kind=Kind.DESCRIBE, source=source, limits=limits, gone=request.is_disconnected) as described:
            found = _description(described)
            dataset = Dataset(id=dataset_id, tenant=tenant.id, name=name, format=format, bytes=size, sha256=sha256, blob=original, **found)
            adopting = True
            return await desk.file(_adopt, desk, dataset, described)
    finally:
        if not adopting:
            with anyio.CancelScope(shield=True):
                await desk.file(desk.blobs.delete, tenant.id, f"datasets/{dataset_id}")


def _adopt(desk: Desk, dataset: Dataset, described: Job) -> tuple[Dataset, bool]:
    """Make the errand's table the dataset's own, and write the row. One blocking call, which tidies up after itself: a request
    that is cancelled half-way cannot part the row from its blobs."""
    new = False
    try:
        if dataset.format != "zip":
            table = f"datasets/{dataset.id}/table"
            size = desk.blobs.link(dataset.tenant, described.output_blob("result"), table)
            dataset = replace(dataset, table_blob=table, table_bytes=size)
        stored, new = desk.store.add_dataset(dataset)
        return stored, new
    finally:
        if not new:
            desk.blobs.delete(dataset.tenant, f"datasets/{dataset.id}")


def _description(described: Job) -> dict[str, Any]:
    """Rows and columns in the runner's words, cleaned; the table follows when it is adopted."""
    found = described.outcome.report.get("result") if described.outcome else None
    found = found if isinstance(found, dict) else {}
    return {
        "table_blob": None,
        "table_bytes": None,
        "rows": whole(found.get("rows")) or 0,
        "columns": [column.model_dump() for column in columns_of(found.get("columns"))],
    }


async def _find(desk: Desk, tenant: Tenant, dataset_id: str) -> Dataset:
    try:
        return await desk.ask(desk.store.get_dataset, tenant.id, require_id(dataset_id, "dataset"))
    except NotFound:
        raise missing("dataset") from None


def _named(name: str, format: str) -> str:
    ending = FORMATS[format][1][0]
    return name if name.lower().endswith(FORMATS[format][1]) else f"{name.rsplit('.', 1)[0]}{ending}"
