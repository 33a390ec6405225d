"""Tracing: whose span a piece of work belongs to, and whether anybody is told. Nothing of OpenTelemetry is imported here.

A trace context comes in a request's `traceparent`, goes on in the job's row, and is taken up by the worker that claims it. With no
collector in the settings there are no spans: `open_traces` gives None, and the package that would tell them is not imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fumehood.errors import Misconfigured

if TYPE_CHECKING:
    from fumehood.settings import Settings

# Of version 00 exactly; of a later one what this one has in common with it.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_CURRENT: ContextVar[str | None] = ContextVar("traceparent", default=None)

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class TraceContext:
    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A piece of work that is over, with its parts. Times are seconds since the epoch."""

    name: str
    began_at: float
    ended_at: float
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str | None = None
    """What went wrong, in a word of ours; None where nothing did."""
    parts: Sequence[Span] = ()


class Request(Protocol):
    """A request under way."""

    @property
    def context(self) -> TraceContext: ...

    def end(self, name: str, attributes: Mapping[str, Value], *, error: str | None) -> None: ...


class Traces(Protocol):
    """Never waits, never raises for anything that the collector does."""

    def begin(self, parent: TraceContext | None) -> Request:
        """A request that has come, in the trace of its caller where it named one."""

    def tell(self, spans: Sequence[Span], parent: TraceContext | None, *, kind: str) -> None: ...

    def close(self) -> None:
        """Send what is left, within a few seconds."""


def parse(traceparent: str | None) -> TraceContext | None:
    """None for whatever is not a trace context: a caller's mistake there must not cost it the request."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or (match[1] == "00" and match[5]) or set(match[2]) == {"0"} or set(match[3]) == {"0"}:
        return None
    return TraceContext(match[2], match[3], bool(int(match[4], 16) & 1))


def current_traceparent() -> str | None:
    """Of the request that is being handled; None where it is not traced."""
    return _CURRENT.get()


def enter(context: TraceContext | None) -> None:
    """What is done from now on in this task belongs to `context`."""
    _CURRENT.set(context.traceparent if context else None)


def open_traces(settings: Settings, *, service: str, instance: str) -> Traces | None:
    """What tells spans to the collector of the settings; None where there is none. Raises Misconfigured where it is not installed."""
    if settings.otlp_endpoint is None:
        return None
    try:
        from fumehood.otlp import Otlp  # of no use to those who trace nothing
    except ImportError as error:
        raise Misconfigured(f"otlp_endpoint is set and {error.name} is not installed; expected the extra fumehood[telemetry]") from error
    return Otlp(settings.otlp_endpoint, share=settings.otlp_share, service=service, instance=instance)
