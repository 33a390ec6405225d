"""Every event of a request, and of a worker's work on a job, says whose it is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog

from fumehood import log
from fumehood.errors import SandboxError, StoreUnavailable
from fumehood.job import Job
from fumehood.job_store import JobStore
from fumehood.log import about
from fumehood.testing import job
from tests.collector import collector
from tests.unit.front_desk import SCRIPT, Stand
from tests.unit.workbench import Bench
from worker.lease import Lease
from worker.sandbox import StopSignal
from worker.testing import exited

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.configure("debug", stream=stream)
    yield stream
    structlog.reset_defaults()


def requests(stand: Stand, path: str) -> list[dict[str, Any]]:
    return [event for event in events(stand.log) if event["event"] == "request" and event["path"] == path]


# requests ----------------------------------------------------------------------------------------------------------------


def test_a_request_names_itself_its_tenant_and_what_it_is_about(stand: Stand) -> None:
    tenant = stand.store.tenant_of_key(stand.key)
    assert tenant is not None
    job_id = stand.us.submit(headers={"X-Request-Id": "mine-1"}).json()["id"]
    batch_id = stand.us.post("/v1/batches", json={"script": SCRIPT, "items": [{}]}, headers={"X-Request-Id": "mine-2"}).json()["id"]
    dataset_id = stand.us.dataset()
    stand.us.get(f"/v1/jobs/{job_id}")
    stand.us.get(f"/v1/batches/{batch_id}")
    stand.us.get(f"/v1/datasets/{dataset_id}")
    expected: dict[str, dict[str, str]] = {
        "/v1/jobs": {"request_id": "mine-1", "job": job_id},
        "/v1/batches": {"request_id": "mine-2", "batch": batch_id},
        f"/v1/jobs/{job_id}": {"job": job_id},
        f"/v1/batches/{batch_id}": {"batch": batch_id},
        f"/v1/datasets/{dataset_id}": {"dataset": dataset_id},
    }
    for path, facts in expected.items():
        (event,) = requests(stand, path)
        assert facts | {"tenant": tenant.id} == {name: event.get(name) for name in (*facts, "tenant")}, path
        assert event["request_id"]
    (upload,) = requests(stand, "/v1/datasets")
    assert upload["errand"].startswith("job_")
    assert "trace_id" not in upload


def test_one_request_s_facts_are_not_the_next_one_s(stand: Stand) -> None:
    job_id = stand.us.job()
    stand.us.get(f"/v1/jobs/{job_id}")
    stand.us.get("/healthz")
    (event,) = requests(stand, "/healthz")
    assert {"tenant", "job"} & set(event) == set()


def test_what_goes_wrong_in_a_request_says_whose_it_is(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = stand.us.job()

    def planted(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(type(stand.store), "get_job", planted)
    assert stand.us.get(f"/v1/jobs/{job_id}").status_code == 500
    (event,) = [event for event in events(stand.log) if event["level"] == "error"]
    assert (event["job"], bool(event["tenant"]), bool(event["request_id"])) == (job_id, True, True)


def test_with_traces_a_request_names_its_trace(open_stand: Callable[..., Stand]) -> None:
    with collector() as kept:
        stand = open_stand(otlp_endpoint=kept.address)
        stand.us.submit(headers={"traceparent": TRACEPARENT})
        (event,) = requests(stand, "/v1/jobs")
        assert event["trace_id"] == TRACE


# a worker's work ------------------------------------------------------------------------------------------------------------


def test_what_is_said_of_a_job(bench: Bench) -> None:
    plain = job(id="job_1", tenant="ten_1")
    assert about(plain) == {"job": "job_1", "tenant": "ten_1"}
    assert about(replace(plain, batch="bat_1", traceparent=TRACEPARENT)) == {
        "job": "job_1",
        "tenant": "ten_1",
        "batch": "bat_1",
        "trace_id": TRACE,
    }


def speaks_and_fails(*_: object) -> Any:
    structlog.get_logger("worker.container").error("engine reports an error of the sandbox", sandbox="fumehood-x")
    return exited(ready=False, engine_error="no")


def test_every_event_of_an_attempt_names_job_tenant_and_trace(bench: Bench, written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of parts that know nothing of jobs."""
    claimed = bench.claim(bench.submit(traceparent=TRACEPARENT))
    bench.host.behaviour = speaks_and_fails
    bench.host.faults["destroy"] = SandboxError("not now")
    finish = JobStore.give_back

    def after_a_while(*arguments: Any, **more: Any) -> Job:
        monkeypatch.setattr(JobStore, "give_back", finish)
        structlog.get_logger("worker.x").warning("the store was slow")
        raise StoreUnavailable("a moment")

    monkeypatch.setattr(JobStore, "give_back", after_a_while)
    bench.carry(claimed)
    told = events(written)
    assert {"engine reports an error of the sandbox", "sandbox failed"} <= {event["event"] for event in told}
    for event in told:
        assert (event["job"], event["tenant"], event["trace_id"]) == (claimed.id, claimed.tenant, TRACE), event
    structlog.get_logger("worker.x").info("afterwards")
    assert "job" not in events(written)[-1]


def test_the_thread_that_holds_the_lease_says_it_too(bench: Bench, written: io.StringIO) -> None:
    claimed = bench.claim(bench.submit(batch=None))

    class Away:
        def renew(self, _: Job) -> Any:
            raise StoreUnavailable("away")

    stop = StopSignal()
    with structlog.contextvars.bound_contextvars(**about(claimed)):
        lease = Lease(Away(), claimed, stop, beat_seconds=0.01, lease_seconds=0.01, held_seconds=60)
    with lease:
        assert stop.wait(10)
    (event,) = events(written)
    assert (event["event"], event["job"], event["tenant"]) == ("store silent for a whole lease", claimed.id, claimed.tenant)
