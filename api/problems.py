"""Problems: the error tree as RFC 9457 documents. One table; the handlers only walk it."""

from __future__ import annotations

import json
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from api import rates
from fumehood import errors
from fumehood.errors import BadField, FumehoodError
from fumehood.text import timestamp

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:fumehood:problem:"
LOST_RETRY_SECONDS = 5
FIELDS_MAX = 50  # a request with more faults than that is shown the first of them


class BodyStalled(FumehoodError):
    """The client stopped sending its body, or sends it too slowly to ever end."""


class RangeNotSatisfiable(FumehoodError):
    def __init__(self, detail: str, *, total_bytes: int) -> None:
        super().__init__(detail)
        self.total_bytes = total_bytes


class NothingAcceptable(errors.NotAcceptable):
    def __init__(self, detail: str, *, available: list[str]) -> None:
        super().__init__(detail)
        self.available = available


class UnknownMediaType(errors.UnsupportedFormat):
    def __init__(self, detail: str, *, available: list[str]) -> None:
        super().__init__(detail)
        self.available = available


class IdempotencyBusy(errors.Conflict):
    """The first request with this idempotency key is still being handled."""


class CallFailed(FumehoodError):
    """A call of a script without an answer; says which job it was and how that ended."""

    def __init__(self, detail: str, *, job: str, reason: str | None, error: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.job, self.reason, self.error = job, reason, error


class CallRefused(CallFailed):
    """Its table, or a parameter, is not what the script takes."""


class CallCancelled(CallFailed):
    """Somebody cancelled it."""


class CallUnfinished(CallFailed):
    """It took longer than a caller waits, and was cancelled for it."""


class CallLost(errors.Unavailable, CallFailed):
    """The service failed it."""

    def __init__(self, detail: str, *, job: str, reason: str) -> None:
        CallFailed.__init__(self, detail, job=job, reason=reason)
        self.retry_after_seconds = LOST_RETRY_SECONDS


# error class → status, slug of the type, title. The first class of an error's family that stands here decides.
PROBLEMS: dict[type[FumehoodError], tuple[int, str, str]] = {
    errors.Malformed: (400, "malformed", "The request's syntax is wrong"),
    CallRefused: (422, "bad-input", "The table or a parameter is not what the script takes"),
    CallCancelled: (409, "score-cancelled", "The call was cancelled"),
    CallUnfinished: (504, "score-unfinished", "The call took longer than a caller waits"),
    CallFailed: (400, "script-failed", "The script failed"),
    errors.Unauthenticated: (401, "unauthenticated", "A known key is needed"),
    errors.Suspended: (403, "suspended", "The tenant is suspended"),
    errors.Forbidden: (403, "forbidden", "The key may not be used for this"),
    errors.NotFound: (404, "not-found", "There is no such thing"),
    errors.NotAcceptable: (406, "not-acceptable", "There is no such representation"),
    BodyStalled: (408, "body-stalled", "The request's body stopped coming"),
    errors.NotFinished: (409, "not-finished", "The job has not ended yet"),
    IdempotencyBusy: (409, "idempotency-busy", "The first request with this idempotency key is still being handled"),
    errors.Conflict: (409, "conflict", "The thing is in the wrong state for this"),
    errors.Gone: (410, "gone", "It has expired"),
    errors.TooLarge: (413, "too-large", "More bytes than the limit"),
    errors.UnsupportedFormat: (415, "unsupported-format", "No reader knows this media type"),
    RangeNotSatisfiable: (416, "range-not-satisfiable", "The range lies outside the content"),
    errors.IdempotencyReuse: (422, "idempotency-reuse", "The idempotency key was used with another request"),
    errors.BadRequest: (422, "bad-request", "The request cannot be used"),
    errors.QuotaExceeded: (429, "quota-exceeded", "A quota of the tenant is used up"),
    errors.TooManyCalls: (429, "busy-script", "As many calls of the script run as may"),
    errors.DiskFull: (503, "disk-full", "Too little free space for new work"),
    errors.StoreUnavailable: (503, "store-unavailable", "The store does not answer"),
    errors.Unavailable: (503, "unavailable", "The service cannot take this now"),
}

# What the framework itself says; every other status of its own is told in the same form.
FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("malformed", "The request's syntax is wrong"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "This address does not know the method"),
}
INTERNAL = (500, "internal", "Something went wrong in the service")
INTERNAL_DETAIL = "the service made a mistake; it is in its log, under the id in X-Request-Id"


class Problem(Response):
    """The answer that a problem document is. Written with escapes only: a detail may quote what a caller sent, half a surrogate pair
    included."""

    def __init__(self, document: dict[str, Any], headers: dict[str, str]) -> None:
        self.document, self.said = document, headers
        super().__init__(json.dumps(document), document["status"], {"Cache-Control": "no-store", **headers}, MEDIA_TYPE)


def problem(
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    fields: tuple[BadField, ...] = (),
    extensions: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Problem:
    body: dict[str, Any] = {"type": TYPE_PREFIX + slug, "title": title, "status": status, "detail": detail, **(extensions or {})}
    if fields:
        body["errors"] = [_field(field) for field in fields[:FIELDS_MAX]]
    return Problem(body, headers or {})


def of_error(error: FumehoodError) -> Problem:
    status, slug, title = next((PROBLEMS[family] for family in type(error).__mro__ if family in PROBLEMS), INTERNAL)
    if status == 500:
        log.error("error without a place in the problem table", error=type(error).__name__)
        return problem(*INTERNAL, INTERNAL_DETAIL)
    extensions: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case errors.Unauthenticated():
            headers["WWW-Authenticate"] = 'Bearer realm="fumehood"'
        case errors.Gone(expired_at=expired_at):
            extensions["expired_at"] = timestamp(expired_at)
        case errors.TooLarge(limit=limit, value=value):
            extensions["limit"] = limit
            if value is not None:
                extensions["value"] = value
        case errors.QuotaExceeded(quota=quota, limit=limit, value=value, retry_after_seconds=seconds):
            extensions |= {"quota": quota, "limit": limit, "value": value}
            headers |= {"Retry-After": str(seconds)} | rates.told_of(error)
        case CallFailed(job=job, reason=reason, error=said):
            extensions |= {"job": job, "reason": reason} | ({"error": said} if said is not None else {})
            headers |= {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, CallLost) else {}
        case errors.Unavailable(retry_after_seconds=seconds) | errors.TooManyCalls(retry_after_seconds=seconds):
            headers["Retry-After"] = str(seconds)
        case RangeNotSatisfiable(total_bytes=total):
            headers["Content-Range"] = f"bytes */{total}"
        case NothingAcceptable(available=available):
            extensions["available"] = available
            headers["Vary"] = "Accept"
        case UnknownMediaType(available=available):
            extensions["available"] = available
    return problem(status, slug, title, error.detail, fields=error.errors, extensions=extensions, headers=headers)


def of_validation(error: RequestValidationError) -> Problem:
    """Path and query parameters that the framework refused; bodies are checked by our own code."""
    fields = tuple(BadField("/" + "/".join(str(step) for step in entry["loc"]), str(entry["msg"])) for entry in error.errors())
    return problem(*PROBLEMS[errors.BadRequest], "a parameter of the request cannot be used", fields=fields)


def of_framework(request: Request, error: HTTPException) -> Response:
    slug, title = FRAMEWORK.get(error.status_code, ("refused", "The request was refused"))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return problem(error.status_code, slug, title, _FRAMEWORK_DETAIL.get(error.status_code, title), headers=headers)


def _methods(request: Request) -> list[str]:
    """All that the address knows; the framework names those of one route."""
    routes = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in routes for method in route.methods or ()}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


_FRAMEWORK_DETAIL = {404: "there is nothing at this address", 405: "the methods of this address are in the Allow header"}


def internal() -> Problem:
    return problem(*INTERNAL, INTERNAL_DETAIL)


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document; the unexpected ones are caught by `api.middleware`."""

    async def on_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, FumehoodError)
        return of_error(error)

    async def on_validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return of_validation(error)

    async def on_framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return of_framework(request, error)

    async def on_disconnect(_: Request, error: Exception) -> Response:
        # Nobody reads this; it only ends the exchange quietly.
        return problem(400, "malformed", "The request's syntax is wrong", "the connection ended before the request did")

    app.add_exception_handler(FumehoodError, on_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_framework)
    app.add_exception_handler(ClientDisconnect, on_disconnect)


def _field(field: BadField) -> dict[str, Any]:
    names = ("pointer", "detail", "line", "column", "caret")
    return {name: getattr(field, name) for name in names if getattr(field, name, None) is not None}
