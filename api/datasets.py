"""/v1/datasets: uploads, streamed to disk and described in a sandbox; records; contents."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query, Request, Response

from api import bodies
from api.answers import (
    PAGE_DEFAULT,
    RANGES,
    Cursor,
    DatasetId,
    Limit,
    asked_for,
    binary,
    headers,
    link_next,
    problems,
    stored_bytes,
)
from api.auth import TenantDep, known_parameters
from api.content import Representation
from api.cursors import CursorsDep
from api.desk import Desk, DeskDep
from api.errands import describe_limits, errand, require_space
from api.gone import absent
from api.names import showable
from api.problems import UnknownMediaType
from api.records import columns_of, dataset_record, whole
from api.schemas import DatasetPage, DatasetRecord, Preview
from api.tables import table_content, table_preview
from fumehood.blob_files import Incoming
from fumehood.dataset import FORMATS, Dataset, format_of
from fumehood.errors import BadField, BadRequest, NotFound, StoreUnavailable
from fumehood.job import Input, Job, Kind, new_id
from fumehood.quota import DAY_SECONDS
from fumehood.tenant import Tenant

NAME_CHARACTERS = 255

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(known_parameters)])

_MEDIA_TYPES = [media for media_types, _ in FORMATS.values() for media in media_types]
_UNTOLD = "application/octet-stream"
_EXAMPLES: dict[str, Any] = {
    "text/csv": "a,b\n1,2\n3,4\n",
    "application/json": [{"a": 1, "b": 2}, {"a": 3, "b": None}],
    "application/x-ndjson": '{"a": 1, "b": 2}\n{"a": 3, "b": null}\n',
}
_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes as they are. The media type says the format; any other one leaves that to the ending of `name`.",
        "content": {
            media: described | ({"example": _EXAMPLES[media]} if media in _EXAMPLES else {})
            for media, described in binary(*_MEDIA_TYPES, _UNTOLD).items()
        },
    }
}
Name = Annotated[str, Query(description="For people; need not be unique. Its ending says the format where the media type does not.")]
Pinned = Annotated[bool, Query(description="Whether it stays until it is deleted, whatever the lifetime of datasets is.")]
Named = Annotated[str | None, Query(description="Only datasets of exactly this name.")]


@router.post(
    "",
    status_code=201,
    summary="Upload a dataset",
    response_model=DatasetRecord,
    responses={
        201: {"description": "Its record.", "headers": headers("Location")},
        200: {"description": "The same bytes were there already: their record.", "model": DatasetRecord, "headers": headers("Location")},
        **problems(400, 408, 413, 415),
    },
    openapi_extra=_UPLOAD_BODY,
)
async def upload_dataset(
    request: Request, response: Response, desk: DeskDep, tenant: TenantDep, name: Name = "", pinned: Pinned = False
) -> DatasetRecord:
    """Streams the body to disk and has a sandbox read it whole: malformed bytes are refused here, and named.
    The same bytes again give the same record, and count as a use."""
    _check_name(name)
    media_type = request.headers.get("content-type", "")
    format = format_of(media_type, name)
    if format is None:
        raise UnknownMediaType(
            f"the Content-Type is {media_type[:80]!r} and the name {name[-20:]!r}; expected one of {', '.join(_MEDIA_TYPES)}, "
            f"or a name that ends in {', '.join(ending for _, endings in FORMATS.values() for ending in endings)}",
            available=_MEDIA_TYPES,
        )
    await require_space(desk, int(length) if (length := request.headers.get("content-length", "0")[:18]).isdecimal() else 0)
    with ExitStack() as stack:
        incoming = stack.enter_context(await desk.file(desk.blobs.incoming, floor_bytes=desk.settings.disk_floor_bytes))
        limit_bytes = desk.settings.bundle_bytes if format == "zip" else desk.settings.dataset_bytes
        await _receive(desk, request, incoming, min(limit_bytes, tenant.quota.dataset_bytes))
        dataset = await desk.ask(_known, desk, tenant, incoming.sha256, format, pinned)
        new = dataset is None
        if dataset is None:
            await desk.ask(desk.store.check_room, tenant.id, tenant.quota, bytes=incoming.bytes)
            dataset, new = await _take_in(desk, request, tenant, incoming, name=name, format=format, pinned=pinned)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return dataset_record(dataset)


@router.get(
    "",
    summary="List datasets",
    response_model=DatasetPage,
    responses={200: {"description": "A page.", "headers": headers("Link")}, **problems()},
)
async def list_datasets(
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    cursors: CursorsDep,
    name: Named = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> DatasetPage:
    """Newest first."""
    if name is not None:
        _check_name(name)
    datasets, following = await desk.ask(desk.store.list_datasets, tenant.id, name=name, before=cursors.open(cursor), limit=limit)
    following = cursors.seal(following)
    link_next(response, "/v1/datasets", following, {"limit": limit, "name": name})
    return DatasetPage(items=[dataset_record(dataset) for dataset in datasets], next=following)


@router.get("/{dataset_id}", summary="A dataset's record", response_model=DatasetRecord, responses=problems(404, 410))
async def read_dataset(dataset_id: DatasetId, desk: DeskDep, tenant: TenantDep) -> DatasetRecord:
    """Its format and size, and the rows and columns that a sandbox found."""
    return dataset_record(await _find(desk, tenant, dataset_id))


@router.delete("/{dataset_id}", status_code=204, summary="Forget a dataset", responses=problems(404, 409, 410))
async def delete_dataset(dataset_id: DatasetId, desk: DeskDep, tenant: TenantDep) -> None:
    """Refused while a job that has not ended needs it."""
    await _find(desk, tenant, dataset_id)
    await desk.forget(tenant.id, f"datasets/{dataset_id}", partial(desk.store.delete_dataset, tenant.id, dataset_id))


@router.put("/{dataset_id}/pin", summary="Pin a dataset", response_model=DatasetRecord, responses=problems(404, 410))
async def pin_dataset(dataset_id: DatasetId, desk: DeskDep, tenant: TenantDep) -> DatasetRecord:
    """It stays until it is deleted. Asking twice is fine."""
    await _find(desk, tenant, dataset_id)
    return dataset_record(await desk.ask(desk.store.pin_dataset, tenant.id, dataset_id, pinned=True))


@router.delete("/{dataset_id}/pin", summary="Unpin a dataset", response_model=DatasetRecord, responses=problems(404, 410))
async def unpin_dataset(dataset_id: DatasetId, desk: DeskDep, tenant: TenantDep) -> DatasetRecord:
    """It has its whole lifetime before it from now on."""
    await _find(desk, tenant, dataset_id)
    return dataset_record(await desk.ask(desk.store.pin_dataset, tenant.id, dataset_id, pinned=False))


@router.get(
    "/{dataset_id}/content",
    summary="A dataset's bytes",
    response_class=Response,
    responses={
        **stored_bytes("The content.", binary(*(media_types[0] for media_types, _ in FORMATS.values())), negotiated=True),
        **problems(404, 406, 410),
    },
    openapi_extra=RANGES,
)
async def read_dataset_content(dataset_id: DatasetId, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """`Accept` chooses: the stored format (also for `*/*`), the canonical Arrow file, or any other format of a table, made in
    a sandbox for this answer. Stored bytes have an ETag and honour `Range`."""
    dataset = await _find(desk, tenant, dataset_id)
    return await table_content(
        request,
        desk,
        tenant,
        stored=Representation(format=dataset.format, key=dataset.blob),
        table=_table(dataset),
        file_name=dataset.name or dataset.id,
    )


@router.get(
    "/{dataset_id}/preview",
    summary="A preview of a dataset",
    response_class=Response,
    responses={**stored_bytes("The preview.", model=Preview), **problems(404, 410)},
    openapi_extra=RANGES,
)
async def read_dataset_preview(dataset_id: DatasetId, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """What each column holds, and the first rows. Made in a sandbox when it is first asked for, and kept with the dataset."""
    dataset = await _find(desk, tenant, dataset_id)
    table = _table(dataset)
    if table is None:
        raise NotFound("a zip has no preview; tables have one")
    return await table_preview(
        request, desk, tenant, table=table, key=f"datasets/{dataset.id}/preview.json", owner=lambda: _find(desk, tenant, dataset.id)
    )


def _check_name(name: str) -> None:
    if len(name) > NAME_CHARACTERS or not showable(name):
        expected = f"expected at most {NAME_CHARACTERS} characters of UTF-8 and no control characters"
        raise BadRequest("the name cannot be used", errors=(BadField("/query/name", expected),))


def _table(dataset: Dataset) -> Input | None:
    """The canonical Arrow form, as the input of an errand; None for a zip."""
    if dataset.table_blob is None:
        return None
    return Input(blob=dataset.table_blob, format="arrow", bytes=dataset.table_bytes or 0, dataset=dataset.id)


async def _receive(desk: Desk, request: Request, incoming: Incoming, limit_bytes: int) -> None:
    idle_seconds = desk.settings.body_idle_seconds
    await bodies.consume(
        request, lambda piece: desk.file(incoming.write, piece), limit_bytes=limit_bytes, idle_seconds=idle_seconds, what="the dataset"
    )
    if incoming.bytes == 0:
        raise BadRequest("the body is empty; expected a dataset")


def _known(desk: Desk, tenant: Tenant, sha256: str, format: str, pinned: bool) -> Dataset | None:
    """The dataset with the same bytes, used again; None where there is none, or it expired just now."""
    dataset = desk.store.find_dataset(tenant.id, sha256=sha256, format=format)
    with suppress(NotFound):
        return dataset and desk.store.use_dataset(tenant.id, dataset.id, kept_seconds=_kept_seconds(tenant), pinned=pinned)
    return None


def _kept_seconds(tenant: Tenant) -> float:
    return tenant.retention.dataset_days * DAY_SECONDS


async def _take_in(
    desk: Desk, request: Request, tenant: Tenant, incoming: Incoming, *, name: str, format: str, pinned: bool
) -> tuple[Dataset, bool]:
    """Keep the bytes, have them described, and store the record last; whatever goes wrong, nothing stays."""
    dataset_id, size, sha256 = new_id("ds"), incoming.bytes, incoming.sha256
    original, adopting = f"datasets/{dataset_id}/original", False
    with await desk.file(desk.blobs.unsettled, tenant.id, f"datasets/{dataset_id}"):
        try:
            await desk.file(desk.blobs.keep, incoming, tenant.id, original)
            source, limits = Input(blob=original, format=format, bytes=size), describe_limits(desk.settings, format=format, size_bytes=size)
            async with errand(desk, tenant, kind=Kind.DESCRIBE, source=source, limits=limits, gone=request.is_disconnected) as described:
                found = _description(described) | {"name": name, "format": format, "bytes": size, "sha256": sha256}
                found |= {"pinned": pinned, "kept_seconds": _kept_seconds(tenant)}
                adopting = True
                return await desk.file(_adopt, desk, Dataset(id=dataset_id, tenant=tenant.id, blob=original, **found), described)
        finally:
            if not adopting:
                with anyio.CancelScope(shield=True):
                    await desk.file(desk.blobs.delete, tenant.id, f"datasets/{dataset_id}")


def _adopt(desk: Desk, dataset: Dataset, described: Job) -> tuple[Dataset, bool]:
    """Make the errand's table the dataset's own, and write the row. One blocking call, which tidies up after itself: a request
    that is cancelled half-way cannot part the row from its blobs."""
    try:
        if dataset.format != "zip":
            table = f"datasets/{dataset.id}/table"
            size = desk.blobs.link(dataset.tenant, described.output_blob("result"), table)
            dataset = replace(dataset, table_blob=table, table_bytes=size)
        stored, new = desk.store.add_dataset(dataset)
    except StoreUnavailable:
        raise  # The row may be there, only the answer lost: a worker looks.
    except BaseException:
        desk.blobs.delete(dataset.tenant, f"datasets/{dataset.id}")
        raise
    if not new:
        desk.blobs.delete(dataset.tenant, f"datasets/{dataset.id}")
    return stored, new


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
    asked_for(dataset_id, "dataset")
    try:
        return await desk.ask(desk.store.get_dataset, tenant.id, dataset_id)
    except NotFound:
        raise await absent(desk, tenant.id, dataset_id, "dataset") from None
