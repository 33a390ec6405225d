"""Tables: the forms that a dataset or a result can be had in, and its preview. What is not stored is made by an errand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response

from api.content import Representation, Streamed, accept_of, attachment, choose, is_head, nothing, send_blob
from api.desk import Desk
from api.errands import describe_limits, errand, profile_limits
from fumehood.dataset import ALL_FORMATS, FORMATS, TABLE_FORMATS
from fumehood.errors import Gone, NotFound
from fumehood.job import Input, Kind
from fumehood.tenant import Tenant

JSON = "application/json"
_ENDINGS = tuple(ending for _, endings in FORMATS.values() for ending in endings)


async def table_content(
    request: Request, desk: Desk, tenant: Tenant, *, stored: Representation, table: Input | None, file_name: str, accept: str | None = None
) -> Response:
    """The bytes of a dataset or a result in the form that the client wants: `stored` unless it minds, the form that a sandbox reads
    (`table`: Arrow but for the answer of a call; None for what none reads), or any other one of a table's, made for this answer.
    `accept` is said for a client that does not.

    Raises:
        NotAcceptable: lists what there is.
        BadRequest: the table cannot be written in that form, in the runner's words.
        Unavailable: no sandbox was free for a conversion.
    """
    chosen = choose(accept or accept_of(request), _forms(stored, table))
    headers = {"Vary": "Accept", "Content-Disposition": attachment(named(file_name, chosen.format))}
    if chosen.key is not None:
        blob = await desk.file(desk.blobs.open, tenant.id, chosen.key)
        offset, length = (0, None) if table is None or table.offset is None else (table.offset, table.bytes)
        identity = f"{tenant.id}/{chosen.key}" + (f"/{offset}" if length is not None else "")
        return await send_blob(
            request, desk, blob, media_type=chosen.media_type, identity=identity, offset=offset, length=length, headers=headers
        )
    assert table is not None
    headers["Content-Type"] = chosen.media_type
    if is_head(request):
        return Streamed(nothing(), headers=headers)  # its length is not known before it is made
    limits = describe_limits(desk.settings, format=table.format, size_bytes=table.bytes)
    async with errand(
        desk, tenant, kind=Kind.CONVERT, source=table, limits=limits, target_format=chosen.format, gone=request.is_disconnected
    ) as made:
        if made.outcome is None or "result" not in made.outcome.outputs:
            return Streamed(nothing(), headers={**headers, "Content-Length": "0"})  # a table without columns is no text
        # The open file outlives its name: what was made for this answer is gone from the store before it is sent.
        blob = await desk.file(desk.blobs.open, tenant.id, made.output_blob("result"))
    return await send_blob(request, desk, blob, media_type=chosen.media_type, identity=None, headers=headers)


async def table_preview(
    request: Request, desk: Desk, tenant: Tenant, *, table: Input, key: str, owner: Callable[[], Awaitable[object]]
) -> Response:
    """The profile of a table, made once by an errand and kept as the blob `key` beside it, with which it is deleted.

    The document is the runner's word: passed on as it is, never read here. `owner()` raises NotFound or Gone once what the
    table belongs to is not there.

    Raises:
        Unavailable: no sandbox was free to make it.
    """
    try:
        blob = await desk.file(desk.blobs.open, tenant.id, key)
    except NotFound:
        if is_head(request):
            return Streamed(nothing(), headers={"Content-Type": JSON})
        blob = await _profile(request, desk, tenant, table, key, owner)
    return await send_blob(request, desk, blob, media_type=JSON, identity=f"{tenant.id}/{key}")


async def _profile(
    request: Request, desk: Desk, tenant: Tenant, table: Input, key: str, owner: Callable[[], Awaitable[object]]
) -> BinaryIO:
    async with errand(
        desk, tenant, kind=Kind.PROFILE, source=table, limits=profile_limits(desk.settings), gone=request.is_disconnected
    ) as made:
        # Two that ask at once both have it made; the first one's stays.
        with suppress(FileExistsError):
            await desk.file(desk.blobs.link, tenant.id, made.output_blob("result"), key)
    try:
        await owner()
    except (NotFound, Gone):
        # Deleted just before the link was made, so the deletion did not see it.
        await desk.file(desk.blobs.delete, tenant.id, key)
        raise
    return await desk.file(desk.blobs.open, tenant.id, key)


def _forms(stored: Representation, table: Input | None) -> list[Representation]:
    """What there is to choose from, the stored form first."""
    if table is None:
        return [stored]
    others = [name for name in TABLE_FORMATS if name != stored.format]
    return [stored, *(Representation(format=name, key=table.blob if name == table.format else None) for name in others)]


def named(name: str, format: str) -> str:
    """A file name that ends as its format does. An ending of another format makes way; any other dot is part of the name."""
    if name.lower().endswith(ALL_FORMATS[format][1]):
        return name
    old = next((ending for ending in sorted(_ENDINGS, key=len, reverse=True) if name.lower().endswith(ending)), "")
    return (name.removesuffix(name[-len(old) :]) if old and len(name) > len(old) else name) + ALL_FORMATS[format][1][0]
