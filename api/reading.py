"""Reading: the document and the files of a submission, from JSON or from a form."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from fastapi import Request

from api import bodies, documents
from api.desk import Desk
from api.multipart import Form, FormReader, Parts, body_limit, boundary_of
from api.problems import UnknownMediaType
from fumehood.errors import BadField, BadRequest
from fumehood.tenant import Tenant

JSON, MULTIPART = "application/json", "multipart/form-data"
SMALL_BYTES = 8 * 1024


async def read_request(request: Request, desk: Desk, tenant: Tenant, stack: ExitStack, parts: Parts) -> tuple[dict[str, Any], Form]:
    """The document and the files of a submission; `stack` removes what was not kept."""
    content_type = request.headers.get("content-type", "")
    kind, _, options = content_type.partition(";")
    charset = options.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    idle = desk.settings.body_idle_seconds
    if kind.strip().lower() == JSON and charset in ("", "utf-8", "utf8"):
        body = await bodies.whole(request, limit_bytes=desk.settings.document_bytes, idle_seconds=idle)
        return await _parsed(desk, body), Form()
    if kind.strip().lower() == MULTIPART:
        given: dict[str, Any] = {"blobs": desk.blobs, "settings": desk.settings, "quota": tenant.quota}
        reader = FormReader(boundary_of(content_type), **given, stack=stack, parts=parts)
        limit_bytes = body_limit(desk.settings, parts)
        await bodies.consume(request, lambda piece: desk.file(reader.feed, piece), limit_bytes=limit_bytes, idle_seconds=idle)
        form = reader.finish()
        return await _parsed(desk, form.document or b"{}"), form
    raise UnknownMediaType(
        f"the Content-Type is {content_type[:80]!r}; expected {JSON} in UTF-8, or {MULTIPART}", available=[JSON, MULTIPART]
    )


async def _parsed(desk: Desk, body: bytes) -> dict[str, Any]:
    # What takes longer than the way to a thread and back must not hold up the others.
    return documents.parse_object(body) if len(body) <= SMALL_BYTES else await desk.parse(documents.parse_object, body)


def single(request: Request, name: str) -> None:
    """Raises BadRequest where a header stands more than once."""
    if len(request.headers.getlist(name)) > 1:
        raise BadRequest("a header cannot be used", errors=(BadField(f"/header/{name}", "stands more than once"),))
