"""Otlp: spans to a collector, OTLP over HTTP. The only module that imports OpenTelemetry, and only where a collector is set.

Spans wait in a bounded queue that a thread of the SDK's empties; where the collector is away, or slower than we are, they are
dropped. Everything is passed as an argument: nothing is registered globally, so no library's own instrumentation finds it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace import Span as OpenSpan

from fumehood import __version__
from fumehood.tracing import Span, TraceContext, Value

QUEUE_SPANS = 4096
BATCH_SPANS = 512
DELAY_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""Longest wait for the collector, tries again included."""
CLOSE_SECONDS = 3.0

_KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER}
log = structlog.get_logger(__name__)


class _Exporter(OTLPSpanExporter):
    """Says once that the collector is away, and once that it is back; the library would say so of every batch."""

    takes = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        takes = result is SpanExportResult.SUCCESS
        if takes != self.takes:
            self.takes = takes
            if takes:
                log.info("collector takes spans again")
            else:
                log.warning("collector does not take spans; they are dropped", spans=len(spans))
        return result


class _Request:
    def __init__(self, span: OpenSpan) -> None:
        self._span = span
        found = span.get_span_context()
        self.context = TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled)

    def end(self, name: str, attributes: Mapping[str, Value], *, error: str | None) -> None:
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        _fail(self._span, error)
        self._span.end()


class Otlp:
    def __init__(self, endpoint: str, *, share: float, service: str, instance: str) -> None:
        """`share` of the traces that begin here is told; a caller that brings its own has decided for itself."""
        # What it says of the collector stands in our one event, and full queues are what they are for.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        resource = Resource({"service.name": service, "service.version": __version__, "service.instance.id": instance})
        self._provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)), resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _Exporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=ANSWER_SECONDS, headers={}),
                max_queue_size=QUEUE_SPANS,
                schedule_delay_millis=DELAY_SECONDS * 1000,
                max_export_batch_size=BATCH_SPANS,
                export_timeout_millis=ANSWER_SECONDS * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("fumehood", __version__)

    def begin(self, parent: TraceContext | None) -> _Request:
        return _Request(self._tracer.start_span("request", context=_context(parent), kind=SpanKind.SERVER))

    def tell(self, spans: Sequence[Span], parent: TraceContext | None, *, kind: str) -> None:
        for span in spans:
            self._tell(span, _context(parent), _KINDS[kind])

    def _tell(self, span: Span, context: Context, kind: SpanKind) -> None:
        made = self._tracer.start_span(
            span.name, context=context, kind=kind, attributes=dict(span.attributes), start_time=_nanoseconds(span.began_at)
        )
        _fail(made, span.error)
        for part in span.parts:
            self._tell(part, set_span_in_context(made, Context()), SpanKind.INTERNAL)
        # Clocks of two machines may disagree; a span never ends before it begins.
        made.end(_nanoseconds(max(span.began_at, span.ended_at)))

    def close(self) -> None:
        """The SDK would wait for half a minute."""
        last: Any = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(CLOSE_SECONDS)


def _context(parent: TraceContext | None) -> Context:
    """Never what happens to be current: a span's parent is said."""
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    context = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context), Context())


def _fail(span: OpenSpan, error: str | None) -> None:
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
