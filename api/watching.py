"""Watching: what is counted and told of a request once it is over. By its route, never by its path: names in it may be a tenant's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from starlette.types import Scope

from fumehood.metrics import METHODS, NO_ROUTE, Tally
from fumehood.tracing import Request, TraceContext, Traces, Value, enter, parse

# What the routes bind for the log is also what a span says.
_SPOKEN_OF = {"tenant": "fumehood.tenant.id", "job": "fumehood.job.id", "batch": "fumehood.batch.id", "request_id": "fumehood.request.id"}


def begin(traces: Traces | None, scope: Scope) -> Request | None:
    """The span of a request, in the trace of its caller. What this task does from now on belongs to it."""
    if traces is None:
        return None
    told = traces.begin(_caller(scope))
    enter(told.context)
    structlog.contextvars.bind_contextvars(trace_id=told.context.trace_id)
    return told


def end(tally: Tally, told: Request | None, scope: Scope, *, method: str, status: int | None, seconds: float) -> None:
    """`scope` is the one that the routes were asked with: the one that was found stands in it."""
    route = getattr(scope.get("route"), "path_format", NO_ROUTE)
    method = method if method in METHODS else METHODS[-1]
    code = str(status) if status is not None else "none"
    tally.count("fumehood_http_requests_total", method, route, code)
    tally.observe("fumehood_http_request_seconds", seconds, method, route)
    if told is not None:
        bound: Mapping[str, Any] = structlog.contextvars.get_contextvars()
        attributes: dict[str, Value] = {name: str(bound[key]) for key, name in _SPOKEN_OF.items() if key in bound}
        attributes |= {"http.request.method": method, "http.route": route}
        if status is not None:
            attributes["http.response.status_code"] = status
        told.end(f"{method} {route}", attributes, error=code if status is None or status >= 500 else None)


def _caller(scope: Scope) -> TraceContext | None:
    """None where there is none, or where it is not clear which."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    return parse(given[0].decode("latin-1")) if len(given) == 1 else None
