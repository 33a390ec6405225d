"""Around every request: an id, safe headers, one log event, its numbers, a HEAD for every GET, a problem for what nobody expected."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems, rates, watching
from api.places import FULL_RETRY_SECONDS, REQUESTS_MAX, SCOPE_KEY, Place, Places
from api.refusals import Refusals
from fumehood.audit import CALL, Call
from fumehood.errors import FumehoodError, Unavailable
from fumehood.metrics import Tally
from fumehood.tracing import Traces

log = structlog.get_logger()

ALWAYS = ("/healthz", "/readyz", "/metrics")  # a service that is full is alive, and whoever looks at it often is no work to be traced

# Set where the response does not say otherwise.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FULL = problems.of_error(
    Unavailable(f"{REQUESTS_MAX} requests are being handled, which is the limit", retry_after_seconds=FULL_RETRY_SECONDS)
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Surroundings:
    def __init__(self, app: ASGIApp, *, places: Places, tally: Tally, traces: Traces | None) -> None:
        self.app = app
        self.places, self.tally, self.traces = places, tally, traces
        self.refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        status: int | None = None
        is_head = scope["method"] == "HEAD"
        # A HEAD is the GET without its content. The routes know only GET; who would have to make the content asks `is_head`.
        inner = {**scope, "method": "GET", "head": True} if is_head else scope

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                rates.tell(inner, headers)
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        told = watching.begin(self.traces if scope["path"] not in ALWAYS else None, scope)
        call = Call(address=(scope.get("client") or ("",))[0])
        CALL.set(call)
        began = time.monotonic()
        app = FULL if self.places.full and scope["path"] not in ALWAYS else self.app
        try:
            with Place(self.places) as place:
                inner = {**inner, SCOPE_KEY: place}
                await app(inner, receive, send_safely)
        except Exception:
            log.exception("request failed")
            if status is not None:
                raise
            await problems.internal()(scope, receive, send_safely)
        finally:
            seconds = time.monotonic() - began
            watching.end(self.tally, told, inner, method=scope["method"], status=status, seconds=seconds)
            await self._audit(scope, call, status or 500)
            # Without the query, and without an artifact's name, which is the tenant's. Keys travel in a header and are never written.
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"].partition("/artifacts/")[0],
                status=status,
                milliseconds=round(seconds * 1000, 1),
            )

    async def _audit(self, scope: Scope, call: Call, status: int) -> None:
        """After the answer: what the store has not noted beside what it changed."""
        entry = self.refusals.entry(call, scope["method"], status)
        if entry is None:
            return
        desk = scope["app"].state.desk
        try:
            await desk.ask(desk.store.note, entry)
        except FumehoodError as error:
            log.error(
                "not in the audit log", action=entry.action, by=entry.by_tenant, key=entry.by_key, result=entry.result, why=error.detail
            )
