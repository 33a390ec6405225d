"""An OpenTelemetry collector of a test's own: takes OTLP over HTTP, and keeps the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.services import until


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it came over the wire."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    began_at: float
    ended_at: float
    attributes: dict[str, Any]
    error: str | None


@dataclass
class Collector:
    address: str
    paths: list[str] = field(default_factory=list)
    spans: list[Seen] = field(default_factory=list)
    raw: bytes = b""
    """Every byte that came."""

    def take(self, path: str, body: bytes) -> None:
        self.paths.append(path)
        self.raw += body
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(each.value.string_value for each in of_resource.resource.attributes if each.key == "service.name")
            self.spans += [_seen(service, span) for scope in of_resource.scope_spans for span in scope.spans]

    def wait(self, *names: str) -> dict[str, Seen]:
        """By name, once there is one span of each of `names`."""
        until(lambda: {span.name for span in self.spans} >= set(names), seconds=20, what=f"spans {names}")
        return {span.name: span for span in self.spans}


def _seen(service: str, span: Any) -> Seen:
    def plain(value: Any) -> Any:
        return getattr(value, value.WhichOneof("value"))

    return Seen(
        service=service,
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        began_at=span.start_time_unix_nano / 1e9,
        ended_at=span.end_time_unix_nano / 1e9,
        attributes={each.key: plain(each.value) for each in span.attributes},
        error=span.status.message if span.status.code == 2 else None,
    )


@contextmanager
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
