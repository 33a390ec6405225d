"""Traces: one tree from the caller's span through the queue to the rooms; and nothing of it where nobody asked for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fumehood.errors import Misconfigured
from fumehood.job import Job, Lane, State
from fumehood.outcome import Reason
from fumehood.settings import Settings
from fumehood.testing import free_port, job, outcome
from fumehood.tracing import Span, TraceContext, Traces, current_traceparent, open_traces, parse
from tests.collector import Collector, collector
from tests.services import until
from tests.unit.front_desk import CSV, SCRIPT, Stand
from worker.deps import Deps
from worker.journey import carry
from worker.sandbox import StopSignal
from worker.telemetry import Telemetry
from worker.testing import FakeSandboxHost, fails

ROOT = Path(__file__).resolve().parents[2]
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
ROOMS = ["stage", "run", "collect", "publish", "erase"]


@pytest.fixture
def listening() -> Iterator[Collector]:
    with collector() as kept:
        yield kept


@contextmanager
def traces_of(address: str) -> Iterator[Traces]:
    traces = open_traces(Settings(otlp_endpoint=address), service="fumehood-worker", instance="wrk_test")
    assert traces is not None
    yield traces
    traces.close()


def carried(stand: Stand, traces: Traces | None, *, host: FakeSandboxHost | None = None) -> Job:
    """The next job, taken through the rooms; only the engine is made up."""
    desk = stand.desk
    deps = Deps(
        home=stand.settings.home,
        worker="wrk_test",
        store=desk.store,
        blobs=desk.blobs,
        events=desk.events,
        queue=desk.queue,
        host=host or FakeSandboxHost(worker="wrk_test"),
        telemetry=Telemetry(traces=traces),
        doubt=lambda _: None,
        floor_bytes=0,
        beat_seconds=0.05,
        lease_seconds=5.0,
        engine_seconds=5.0,
    )
    job = desk.store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert job is not None
    after = carry(job, deps, StopSignal())
    assert after is not None
    return after


# the header --------------------------------------------------------------------------------------------------------------


def test_a_trace_context_is_read_as_w3c_writes_it() -> None:
    assert parse(TRACEPARENT) == TraceContext(TRACE, CALLER, True)
    assert parse(TRACEPARENT[:-2] + "00") == TraceContext(TRACE, CALLER, False)
    assert parse(f"cc-{TRACE}-{CALLER}-03-what-will-be") == TraceContext(TRACE, CALLER, True)
    assert TraceContext(TRACE, CALLER, True).traceparent == TRACEPARENT


BAD = [
    "",
    "00",
    TRACEPARENT + "-more",
    TRACEPARENT.upper(),
    f"ff-{TRACE}-{CALLER}-01",
    f"00-{'0' * 32}-{CALLER}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}-{CALLER}-01",
    f"00-{TRACE}-{CALLER}-0x",
    f"00-{TRACE[:-1]}١-{CALLER}-01",
    TRACEPARENT + "\n",
    "00" * 5000,
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_trace_context_is_none(text: str) -> None:
    assert parse(text) is None
    assert parse(None) is None


# the tree ----------------------------------------------------------------------------------------------------------------


def test_a_jobs_trace_is_one_tree_from_the_callers_span_to_the_rooms(listening: Collector, open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    sent = stand.us.post("/v1/jobs", json={"script": SCRIPT, "labels": {"team": "chemistry"}}, headers={"Traceparent": TRACEPARENT})
    with traces_of(listening.address) as traces:
        job = carried(stand, traces)
    assert job.state is State.SUCCEEDED
    spans = listening.wait("POST /v1/jobs", "queue", "attempt", *ROOMS)
    assert len(listening.spans) == 8
    assert {span.trace_id for span in listening.spans} == {TRACE}
    request, queue, attempt = spans["POST /v1/jobs"], spans["queue"], spans["attempt"]
    assert request.parent_id == CALLER
    assert {queue.parent_id, attempt.parent_id} == {request.span_id}
    assert {spans[room].parent_id for room in ROOMS} == {attempt.span_id}
    assert (request.service, attempt.service) == ("fumehood-api", "fumehood-worker")
    assert set(listening.paths) == {"/v1/traces"}

    about = {"fumehood.job.id": job.id, "fumehood.tenant.id": job.tenant}
    assert request.attributes == about | {
        "fumehood.request.id": sent.headers["x-request-id"],
        "http.request.method": "POST",
        "http.route": "/v1/jobs",
        "http.response.status_code": 202,
    }
    said = about | {"fumehood.job.kind": "script", "fumehood.attempt": 1}
    assert queue.attributes == said
    assert attempt.attributes == said | {"fumehood.reason": "ok", "fumehood.blame": "nobody", "fumehood.start": "cold"}
    assert [span.error for span in listening.spans] == [None] * 8


def test_the_times_of_the_spans_are_those_of_the_record(listening: Collector, open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    began_at = time.time()
    stand.us.job()
    with traces_of(listening.address) as traces:
        job = carried(stand, traces)
    spans = listening.wait("POST /v1/jobs", "queue", "attempt", *ROOMS)
    assert job.outcome is not None
    assert job.started_at is not None
    for room in ROOMS:
        assert spans[room].ended_at - spans[room].began_at == pytest.approx(job.outcome.milliseconds[room] / 1000, abs=1e-5)
    assert (spans["queue"].began_at, spans["queue"].ended_at) == pytest.approx((job.created_at, job.started_at), abs=1e-5)
    in_order = [spans[room] for room in ROOMS]
    assert [span.began_at for span in in_order] == sorted(span.began_at for span in in_order)
    assert began_at - 0.01 <= spans["attempt"].began_at <= in_order[0].began_at + 1e-5
    assert in_order[-1].ended_at <= spans["attempt"].ended_at + 1e-5 <= time.time() + 0.01
    assert {name: value for name, value in spans["run"].attributes.items() if name == "fumehood.run.create_milliseconds"}


def test_a_failed_job_says_why_and_nothing_of_the_tenant_is_told(listening: Collector, open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    secret = "xylophone"
    document = {"script": f"{SCRIPT}# {secret}", "labels": {secret: secret}, "parameters": {secret: secret}}
    stand.us.post("/v1/jobs", json=document, headers={"Idempotency-Key": secret})
    stand.us.get(f"/v1/jobs?label={secret}:{secret}")
    stand.us.get(f"/v1/jobs/{secret}")
    stand.us.upload(f"{secret}\n1\n".encode(), CSV, params={"name": secret})
    host = FakeSandboxHost(worker="wrk_test")
    host.behaviour = fails
    with traces_of(listening.address) as traces:
        job = carried(stand, traces, host=host)
    spans = listening.wait("attempt", "GET /v1/jobs", "GET /v1/jobs/{job_id}", "POST /v1/datasets")
    assert job.outcome is not None
    assert job.outcome.reason is Reason.SCRIPT_ERROR
    assert spans["attempt"].error == "script_error"
    assert secret.encode() not in listening.raw
    assert stand.key.encode() not in listening.raw


def test_an_attempt_that_was_lost_is_told_by_who_takes_it_back(listening: Collector) -> None:
    claimed = job(traceparent=TRACEPARENT, attempt=2, started_at=1000.0)
    with traces_of(listening.address) as traces:
        telemetry = Telemetry(traces=traces)
        telemetry.taken_back(claimed, outcome(Reason.LOST), replace(claimed, state=State.QUEUED), now=1010.0)
    (span,) = listening.wait("attempt").values()
    assert (span.trace_id, span.parent_id, span.error, span.attributes["fumehood.attempt"]) == (TRACE, CALLER, "lost", 2)
    assert (span.began_at, span.ended_at) == (1000.0, 1010.0)


def test_without_a_caller_s_span_a_trace_begins_here(listening: Collector, open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    stand.us.job()
    with traces_of(listening.address) as traces:
        carried(stand, traces)
    spans = listening.wait("POST /v1/jobs", "attempt")
    assert spans["POST /v1/jobs"].parent_id == ""
    assert len({span.trace_id for span in listening.spans}) == 1


@pytest.mark.parametrize("text", [*BAD[:9], f"{TRACEPARENT}, {TRACEPARENT}"])
def test_a_bad_traceparent_is_ignored(listening: Collector, open_stand: Callable[..., Stand], text: str) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    assert stand.us.submit(headers={"traceparent": text}).status_code == 202
    assert listening.wait("POST /v1/jobs")["POST /v1/jobs"].parent_id == ""
    assert TRACE not in {span.trace_id for span in listening.spans}


def test_a_caller_that_does_not_sample_is_left_out_and_so_is_its_job(listening: Collector, open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    sent = stand.us.submit(headers={"traceparent": TRACEPARENT[:-2] + "00"})
    row = stand.store.get_job(carried(stand, None).tenant, sent.json()["id"])
    context = parse(row.traceparent)
    assert context is not None
    assert (context.trace_id, context.sampled) == (TRACE, False)
    stand.us.job()
    with traces_of(listening.address) as traces:
        traces.tell([Span(name="attempt", began_at=1.0, ended_at=2.0)], context, kind="consumer")
        carried(stand, traces)
    listening.wait("attempt")
    assert TRACE not in {span.trace_id for span in listening.spans}


def test_who_looks_after_the_service_is_not_traced(listening: Collector, open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    for path in ("/healthz", "/readyz", "/metrics"):
        stand.us.get(path, headers={"traceparent": TRACEPARENT})
    stand.us.get("/v1/jobs")
    listening.wait("GET /v1/jobs")
    assert [span.name for span in listening.spans] == ["GET /v1/jobs"]


def test_each_request_has_a_span_of_its_own(listening: Collector, open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=listening.address)
    assert stand.us.get("/v1/jobs", headers={"traceparent": TRACEPARENT}).status_code == 200
    first = stand.us.job()
    tenant = stand.store.tenant_of_key(stand.key)
    assert tenant is not None
    assert TRACE not in str(stand.store.get_job(tenant.id, first).traceparent)


# nobody there --------------------------------------------------------------------------------------------------------------


def test_a_dead_collector_neither_holds_up_nor_fails_a_job(open_stand: Callable[..., Stand]) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    stand = open_stand(otlp_endpoint=address)
    with traces_of(address) as traces:
        began = time.monotonic()
        for _ in range(5):
            stand.us.job()
            assert carried(stand, traces).state is State.SUCCEEDED
        assert time.monotonic() - began < 5
        for _ in range(10_000):  # more than may wait
            traces.tell([Span(name="attempt", began_at=1.0, ended_at=2.0)], None, kind="consumer")
        began = time.monotonic()
    assert time.monotonic() - began < 6


def test_one_event_says_that_the_collector_is_away(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(otlp_endpoint=f"http://127.0.0.1:{free_port()}")
    stand.us.job()
    until(lambda: "collector" in stand.log.getvalue(), seconds=20, what="an event about the collector")
    stand.us.job()
    assert stand.desk.traces is not None
    stand.desk.traces.close()
    events = [json.loads(line) for line in stand.log.getvalue().splitlines()]
    assert [event["event"] for event in events if "collector" in event["event"]] == ["collector does not take spans; they are dropped"]
    assert not [event for event in events if event.get("logger", "").startswith("opentelemetry")]


# nobody asked ----------------------------------------------------------------------------------------------------------------

_OFF = """
import sys
from pathlib import Path
from fumehood.settings import Settings
from fumehood.testing import MemoryEvents, MemoryQueue
from api.app import create_app
import worker.app
create_app(Settings(home=Path(sys.argv[1])), queue=MemoryQueue(), events=MemoryEvents())
heavy = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "google.protobuf", "fumehood.otlp")
print([name for name in sys.modules if name.startswith(heavy)])
"""


def test_without_a_collector_nothing_that_tells_spans_is_imported(home: Path) -> None:
    """Whatever the environment says to others, the framework included. (The SDK's metrics are imported by the Redis client, where it
    finds them installed.)"""
    home.mkdir(exist_ok=True)
    loud = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_TRACES_EXPORTER": "otlp"}
    done = subprocess.run(
        [sys.executable, "-c", _OFF, str(home)], cwd=ROOT, env=os.environ | loud, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_framework_tells_nothing_by_itself(stand: Stand) -> None:
    """Its spans hold whole addresses, refused values and the text of exceptions."""
    assert stand.app._native_telemetry.enabled() is False  # type: ignore[attr-defined]
    told = stand.app._telemetry  # type: ignore[attr-defined]
    assert [name for name in ("tracing", "metrics", "logs", "operation_spans", "auto_configure") if told[name] is not False] == []


def test_without_a_collector_rows_name_no_span(stand: Stand) -> None:
    job_id = stand.us.submit(headers={"traceparent": TRACEPARENT}).json()["id"]
    assert carried(stand, None).id == job_id
    assert current_traceparent() is None
    tenant = stand.store.tenant_of_key(stand.key)
    assert tenant is not None
    assert stand.store.get_job(tenant.id, job_id).traceparent is None
    assert open_traces(Settings(), service="x", instance="y") is None


def test_a_collector_without_the_package_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fumehood.otlp", None)
    with pytest.raises(Misconfigured, match=r"expected the extra fumehood\[telemetry\]"):
        open_traces(Settings(otlp_endpoint="http://127.0.0.1:9"), service="x", instance="y")


@pytest.mark.parametrize("address", ["collector:4318", "ftp://c", "http://", "http://user:pass@c:4318", "http://c/?a=b"])
def test_a_collector_is_a_plain_address(address: str) -> None:
    with pytest.raises(ValueError, match="expected http://host:port"):
        Settings(otlp_endpoint=address)
