"""Answers: what all routes share: problem documents in the OpenAPI document, page links, checks of identifiers."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Response

from api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX
from fumehood.errors import NotFound

PAGE_DEFAULT, PAGE_MAX = 50, 200

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Items of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]

_ID = re.compile(r"[a-z]{1,8}_[0-9a-f]{32}")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what it may answer besides success."""
    return {status: _described(status) for status in sorted({401, 422, *statuses})}


def _described(status: int) -> dict[str, Any]:
    known = [(slug, title) for code, slug, title in PROBLEMS.values() if code == status]
    description = "; ".join(f"{title} (`{TYPE_PREFIX}{slug}`)" for slug, title in known)
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def require_id(value: str, what: str) -> str:
    """An identifier from a path. One that we never give out is told as absent, and never reaches the store.

    Raises:
        NotFound: in the very words that an absent one gets.
    """
    if not _ID.fullmatch(value):
        raise missing(what)
    return value


def missing(what: str) -> NotFound:
    return NotFound(f"there is no {what} with this id")


def link_next(response: Response, path: str, cursor: str | None, query: dict[str, str | int | None]) -> None:
    if cursor is not None:
        given = {name: value for name, value in query.items() if value is not None}
        response.headers["Link"] = f'<{path}?{urlencode({**given, "cursor": cursor})}>; rel="next"'
