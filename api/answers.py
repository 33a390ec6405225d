"""Answers: what all routes share: problem documents in the OpenAPI document, page links, checks of identifiers."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlencode

import structlog
from fastapi import Path, Query, Response

from api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX
from fumehood.errors import NotFound

PAGE_DEFAULT, PAGE_MAX = 50, 200

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Items of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]

JobId = Annotated[str, Path(description="A job's `id`.", examples=["job_00000000000000000000000000000000"])]
DatasetId = Annotated[str, Path(description="A dataset's `id`.", examples=["ds_00000000000000000000000000000000"])]

_ID = re.compile(r"[a-z]{1,8}_[0-9a-f]{32}")

Responses = dict[int | str, dict[str, Any]]

# Headers of answers, as the OpenAPI document describes them.
_HEADERS: dict[str, tuple[str, str]] = {
    "Accept-Ranges": ("string", "`bytes`: these bytes are stored, and `Range` is honoured."),
    "Content-Disposition": ("string", "The file's name, and whether a browser may show it (`inline`)."),
    "Content-Range": ("string", "Which bytes these are, and of how many."),
    "Fumehood-Job": ("string", "Id of the job that the call was."),
    "Fumehood-Script": ("string", "The version that was called, as `name/number`."),
    "ETag": ("string", "Of stored bytes, which never change: for `If-None-Match` and `If-Range`."),
    "Idempotency-Replayed": ("string", "`true`: the job was made by an earlier request with this key."),
    "Link": ("string", '`rel="next"`: the address of the next page, where there is one.'),
    "Location": ("string", "The address of the record."),
    "Preference-Applied": ("string", "How long was waited at most."),
    "RateLimit": ("string", '`"requests";r=999;t=1`: so many requests are left, and all of them again in so many seconds.'),
    "RateLimit-Policy": ("string", '`"requests";q=1000;w=1`: so many requests in so many seconds.'),
    "Retry-After": ("integer", "Seconds after which to ask again."),
    "Vary": ("string", "`Accept`: which form this is was chosen by it."),
    "WWW-Authenticate": ("string", "The scheme that is expected."),
}
_OF_STATUS = {
    401: ("WWW-Authenticate",),
    406: ("Vary",),
    416: ("Content-Range",),
    429: ("RateLimit", "RateLimit-Policy", "Retry-After"),
    503: ("Retry-After",),
}

# The request headers that stored bytes honour; for `openapi_extra`.
RANGES: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": description}
        for name, description in (
            ("Range", "`bytes=first-last`, one range of stored bytes."),
            ("If-Range", "An ETag: the range only if the bytes are still these, else all of them."),
            ("If-None-Match", "ETags: 304 if the bytes are these."),
        )
    ]
}


def headers(*names: str) -> dict[str, Any]:
    """`headers` of a response in the OpenAPI document."""
    return {name: {"description": _HEADERS[name][1], "schema": {"type": _HEADERS[name][0]}} for name in names}


def problems(*statuses: int) -> Responses:
    """The `responses` of a route: what it may answer besides success. Any may lack the key or its scope, have a
    parameter that is not known, be one too many, or find the store away."""
    return {status: _described(status) for status in sorted({401, 403, 422, 429, 503, *statuses})}


def stored_bytes(
    description: str, content: dict[str, Any] | None = None, *, model: type | None = None, negotiated: bool = False
) -> Responses:
    """The `responses` of a route that sends stored bytes: `content`, or JSON of a `model`, which is no file. `negotiated` where
    `Accept` chooses among forms of them."""
    content = content or binary("application/json")
    names = ("Accept-Ranges", "ETag", *(("Content-Disposition",) if model is None else ()), *(("Vary",) if negotiated else ()))
    whole = {"content": content} if model is None else {"model": model}
    return {
        200: {"description": description, "headers": headers(*names), **whole},
        206: {"description": "The range that was asked for.", "headers": headers(*names, "Content-Range"), "content": content},
        304: {"description": "The client has these bytes already (`If-None-Match`).", "headers": headers(*names)},
        416: _described(416),
    }


def binary(*media_types: str) -> dict[str, Any]:
    """`content` of a response whose bytes are opaque. JSON and `*/*` may be anything; the rest are bytes."""
    anything = ("application/json", "*/*")
    return {media: {} if media in anything else {"schema": {"type": "string", "format": "binary"}} for media in media_types}


def event_stream(example: str, **kinds: str) -> dict[str, Any]:
    """`content` of a response that is server-sent events: their kinds, each with what its data says."""
    data = {"type": "string", "contentMediaType": "application/json", "description": "One JSON document."}
    told = "; ".join(f"`{kind}`: {meaning}" for kind, meaning in kinds.items())
    properties = {"event": {"type": "string", "enum": list(kinds), "description": told}, "id": {"type": "string"}, "data": data}
    schema = {"type": "object", "description": "One event.", "properties": properties, "required": ["event", "data"]}
    return {"text/event-stream": {"schema": schema, "example": example}}


def _described(status: int) -> dict[str, Any]:
    known = [(slug, title) for code, slug, title in PROBLEMS.values() if code == status]
    description = "; ".join(f"{title} (`{TYPE_PREFIX}{slug}`)" for slug, title in known)
    described = {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return described | ({"headers": headers(*_OF_STATUS[status])} if status in _OF_STATUS else {})


def is_id(value: str) -> bool:
    """Whether we could have given it out. What could not is never asked of the store: databases differ in what text they take."""
    return _ID.fullmatch(value) is not None


def require_id(value: str, what: str) -> str:
    """An identifier from a path. One that we never give out is told as absent, and never reaches the store.

    Raises:
        NotFound: in the very words that an absent one gets.
    """
    if not is_id(value):
        raise missing(what)
    return value


def asked_for(value: str, what: str) -> str:
    """The identifier of what a request is about, in every event of it from now on. Raises NotFound as `require_id`."""
    structlog.contextvars.bind_contextvars(**{what: require_id(value, what)})
    return value


def missing(what: str) -> NotFound:
    return NotFound(f"there is no {what} with this id")


def link_next(response: Response, path: str, cursor: str | None, query: dict[str, str | int | list[str] | None]) -> None:
    if cursor is not None:
        given = {name: value for name, value in query.items() if value is not None}
        response.headers["Link"] = f'<{path}?{urlencode({**given, "cursor": cursor}, doseq=True)}>; rel="next"'
