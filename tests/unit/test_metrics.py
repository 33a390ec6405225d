"""Metrics: the table, the tally, and the page that Prometheus reads."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser as prometheus_text
from prometheus_client.openmetrics import parser as open_metrics

from api.metrics import Watch
from fumehood.errors import StoreUnavailable
from fumehood.job import Kind, Lane
from fumehood.job_store import JobStore
from fumehood.metrics import METRICS, Source, Tally, Type
from fumehood.outcome import Reason
from fumehood.tenant import new_key
from fumehood.testing import job, outcome
from tests.unit.front_desk import CSV, SCRIPT, Made, Stand, slug
from tests.unit.workbench import Bench, Clock
from worker.telemetry import Telemetry
from worker.testing import blocks, fails

ROOT = Path(__file__).resolve().parents[2]
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(stand: Stand, *, accept: str = "text/plain", **headers: str) -> Samples:
    """Every sample of the page, by name and labels, after a parser has looked at all of it."""
    answer = stand.us.get("/metrics", headers={"Accept": accept, **headers})
    assert answer.status_code == 200, answer.text
    read = open_metrics if "openmetrics" in answer.headers["content-type"] else prometheus_text
    found: Samples = {}
    for family in read.text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def one(found: Samples, name: str, **labels: str) -> float:
    return found[f"fumehood_{name}", tuple(sorted(labels.items()))]


def names(found: Samples) -> set[str]:
    """Of the metrics: a histogram is told by three kinds of samples."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) if name not in METRICS else name for name, _ in found}


def worked(stand: Stand) -> Tally:
    """A worker that has seen everything, in the store: its row is all that the API knows of it."""
    tally = Tally(Source.WORKER)
    telemetry = Telemetry(tally=tally)
    tally.count("fumehood_sandbox_starts_total", "jobs", "warm")
    tally.observe("fumehood_queue_wait_seconds", 0.3, "jobs")
    tally.observe("fumehood_room_seconds", 0.0007, "stage")
    tally.observe("fumehood_room_seconds", 0.25, "run")
    tally.observe("fumehood_room_seconds", 1e9, "run")
    telemetry.ended(job(kind=Kind.SCRIPT), outcome(Reason.LOST))
    tally.count("fumehood_outcomes_total", "script", "script_error", "tenant", by=2)
    waiting = {"warm": {"jobs": 1, "errands": 0}, "prepared": 2}
    facts = {"ready": True, "reason": None, "jobs_slots": 2, "errands_slots": 1, "disk_budget_bytes": 5, **waiting}
    stand.store.worker_beat("wrk_1", facts, tally=tally.document())
    return tally


# the table ---------------------------------------------------------------------------------------------------------------


def test_names_and_units_are_as_prometheus_has_them() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"fumehood_[a-z_]+", name)
        assert name.endswith("_total") == (metric.type is Type.COUNTER), name
        assert not re.search(r"_(milliseconds|ms|kb|mb|percent)(_|$)", name), name
        assert (metric.type is Type.HISTOGRAM) == bool(metric.buckets) == name.endswith("_seconds") or "age" in name, name
        assert metric.help.endswith("."), name
        assert list(metric.buckets) == sorted(set(metric.buckets)), name
        assert not set(metric.labels) & {"le", "job", "instance", "tenant", "batch", "label", "key"}, name


def test_every_label_is_bounded() -> None:
    """Either its values are listed, or our own code makes them up."""
    free = {label for metric in METRICS.values() for label, values in metric.labels.items() if not values}
    assert free == {"worker", "route", "status", "version"}


def test_the_page_of_the_docs_has_every_metric_and_no_other() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(fumehood_\w+)` \| (\w+) \|(.*?)\|", page, re.M)
    told = {name: (type, set(re.findall(r"`(\w+)`", labels))) for name, type, labels in rows}
    assert len(told) == len(rows)
    assert told == {name: (metric.type.value, set(metric.labels)) for name, metric in METRICS.items()}


# the tally ---------------------------------------------------------------------------------------------------------------


def test_only_what_stands_in_the_table_can_be_counted() -> None:
    tally = Tally(Source.WORKER)
    with pytest.raises(KeyError):
        tally.count("fumehood_http_requests_total", "GET", "/", "200")  # the API's
    with pytest.raises(KeyError):
        tally.count("fumehood_unheard_of_total")
    with pytest.raises(ValueError, match="what of fumehood_leftovers_total is 'ten_1'; expected one of container"):
        tally.count("fumehood_leftovers_total", "ten_1")
    with pytest.raises(ValueError, match="was given 1 label values; expected 2: lane, start"):
        tally.count("fumehood_sandbox_starts_total", "jobs")
    with pytest.raises(ValueError, match=r"room of fumehood_room_seconds is 'run.mine'"):
        tally.observe("fumehood_room_seconds", 1.0, "run.mine")


def test_what_should_stay_zero_is_told_as_zero() -> None:
    document = Tally(Source.WORKER).document()
    assert document["fumehood_leftovers_total"] == [[["container"], 0.0], [["scratch"], 0.0], [["blobs"], 0.0]]
    assert document["fumehood_outcomes_total"] == []


def test_a_histogram_counts_each_value_once_and_adds_it() -> None:
    tally = Tally(Source.WORKER)
    for seconds in (0.001, 0.0011, 5000.0):
        tally.observe("fumehood_room_seconds", seconds, "run")
    ((values, told),) = tally.document()["fumehood_room_seconds"]
    buckets = METRICS["fumehood_room_seconds"].buckets
    assert (values, len(told)) == (["run"], len(buckets) + 2)
    assert (told[0], told[1], told[-2], sum(told[:-1])) == (1, 1, 1, 3)  # the bound itself belongs to its bucket
    assert told[-1] == pytest.approx(5000.0021)


def test_nothing_is_lost_between_threads() -> None:
    tally = Tally(Source.WORKER)

    def count() -> None:
        for _ in range(2000):
            tally.count("fumehood_leftovers_total", "blobs")
            tally.observe("fumehood_room_seconds", 1.0, "run")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    document = tally.document()
    assert [["blobs"], 8000.0] in document["fumehood_leftovers_total"]
    assert document["fumehood_room_seconds"][0][1][-1] == 8000.0


# the store ---------------------------------------------------------------------------------------------------------------


def test_depth_age_and_running_are_of_each_lane(store: JobStore, clock: Any) -> None:
    assert {(reading.queued, reading.oldest_age_seconds, reading.running) for reading in store.read_lanes().values()} == {(0, 0.0, 0)}
    for _ in range(3):
        store.submit(job())
        clock.now += 10
    store.submit(job(kind=Kind.DESCRIBE))
    store.claim(worker="wrk_1", lane=Lane.JOBS, disk_budget_bytes=2**60)
    clock.now += 1
    read = store.read_lanes()
    assert (read[Lane.JOBS].queued, read[Lane.JOBS].oldest_age_seconds, read[Lane.JOBS].running) == (2, pytest.approx(21), 1)
    assert (read[Lane.ERRANDS].queued, read[Lane.ERRANDS].oldest_age_seconds, read[Lane.ERRANDS].running) == (1, pytest.approx(1), 0)


def test_a_worker_s_tally_comes_back_as_it_was_written(store: JobStore) -> None:
    tally = Tally(Source.WORKER)
    tally.observe("fumehood_room_seconds", 0.123, "run")
    store.worker_beat("wrk_1", {"ready": True}, tally=tally.document())
    store.worker_beat("wrk_2", {"ready": False})
    one, two = store.read_workers(seen_within_seconds=5)
    assert (one.worker, one.facts, one.tally) == ("wrk_1", {"ready": True}, tally.document())
    assert (two.worker, two.tally) == ("wrk_2", {})
    assert "tally" not in store.workers(seen_within_seconds=5)[0]


# the page ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["text/plain", "*/*", OPEN_METRICS])
def test_everything_in_the_table_is_exported_and_nothing_else(stand: Stand, accept: str) -> None:
    worked(stand)
    stand.us.job()
    assert names(samples(stand, accept=accept)) == set(METRICS)


def test_the_numbers_are_those_of_the_service(stand: Stand) -> None:
    worked(stand)
    for _ in range(3):
        stand.us.job()
    assert stand.worker.claim() is not None
    cancelled = stand.us.job()
    assert stand.us.post(f"/v1/jobs/{cancelled}/cancel").status_code == 202
    found = samples(stand)
    assert (one(found, "queued_jobs", lane="jobs"), one(found, "running_jobs", lane="jobs"), one(found, "queued_jobs", lane="errands")) == (
        2,
        1,
        0,
    )
    assert 0 < one(found, "oldest_queued_age_seconds", lane="jobs") < 60
    assert (one(found, "store_up"), one(found, "redis_up"), one(found, "queued_tickets", lane="jobs")) == (1, 1, 4)
    assert (one(found, "workers", state="ready"), one(found, "workers", state="not_ready")) == (1, 0)
    assert one(found, "worker_slots", worker="wrk_1", lane="jobs") == 2
    assert one(found, "worker_warm_sandboxes", worker="wrk_1", lane="jobs") == 1
    assert one(found, "worker_prepared_sandboxes", worker="wrk_1") == 2
    assert one(found, "sandbox_starts_total", worker="wrk_1", lane="jobs", start="warm") == 1
    assert one(found, "sandbox_starts_total", worker="wrk_1", lane="jobs", start="cold") == 0
    assert one(found, "outcomes_total", worker="wrk_1", kind="script", reason="script_error", blame="tenant") == 2
    assert one(found, "handed_back_total", worker="wrk_1", kind="script", reason="lost", blame="service") == 1
    assert one(found, "leftovers_total", worker="wrk_1", what="container") == 0
    assert one(found, "cancelled_before_start_total") == 1
    assert one(found, "disk_free_bytes") > 0
    assert one(found, "http_requests_in_progress") == 1  # this one


def test_a_histogram_is_cumulative(stand: Stand) -> None:
    worked(stand)
    found = samples(stand)
    run = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name.endswith("room_seconds_bucket") and ("room", "run") in labels
    }
    assert (run["0.1"], run["0.25"], run["1800.0"], run["+Inf"]) == (0, 1, 1, 2)
    assert one(found, "room_seconds_count", worker="wrk_1", room="run") == 2
    assert one(found, "room_seconds_sum", worker="wrk_1", room="run") == pytest.approx(1e9 + 0.25)


def test_requests_are_counted_by_their_route_and_never_by_their_path(stand: Stand) -> None:
    job_id = stand.us.job()
    stand.us.get(f"/v1/jobs/{job_id}")
    stand.us.get("/v1/jobs/job_unheard-of")
    stand.us.get("/nowhere/at/all")
    stand.us.head("/healthz")
    stand.served.request("BREW", "/v1/jobs")
    found = samples(stand)
    assert one(found, "http_requests_total", method="POST", route="/v1/jobs", status="202") == 1
    assert one(found, "http_requests_total", method="GET", route="/v1/jobs/{job_id}", status="200") == 1
    assert one(found, "http_requests_total", method="GET", route="/v1/jobs/{job_id}", status="404") == 1
    assert one(found, "http_requests_total", method="GET", route="none", status="404") == 1
    assert one(found, "http_requests_total", method="HEAD", route="/healthz", status="200") == 1
    assert sum(value for (name, labels), value in found.items() if ("method", "other") in labels and name.endswith("requests_total")) == 1
    assert one(found, "http_request_seconds_count", method="GET", route="/v1/jobs/{job_id}") == 2
    routes = {dict(labels)["route"] for _, labels in found if "route" in dict(labels)}
    assert routes <= {"none", *stand.app.openapi()["paths"]}


def test_nothing_of_a_tenant_is_on_the_page(stand: Stand) -> None:
    worked(stand)
    secret = "xylophone"
    stand.us.dataset(f"{secret},b\n1,2\n".encode(), CSV)
    job_id = stand.us.job(labels={secret: secret}, parameters={secret: 1})
    stand.us.get(f"/v1/jobs/{secret}")
    stand.us.get(f"/{secret}?{secret}={secret}", headers={"User-Agent": secret, "X-Request-Id": secret})
    stand.worker.finish(stand.worker.claim() or pytest.fail("nothing to claim"), Made(Reason.SCRIPT_ERROR, secret))
    page = stand.us.get("/metrics").text
    tenant = stand.store.tenant_of_key(stand.key)
    assert tenant is not None
    for told in (secret, job_id, tenant.id, f'"{tenant.name}"', stand.key[:15], SCRIPT[:10]):
        assert told not in page


def test_the_store_is_asked_once_a_second_however_many_look(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    read = stand.store.read_lanes
    monkeypatch.setattr(type(stand.store), "read_lanes", lambda _: (asked.append(None), read())[1])
    clock = Clock()
    watch = Watch(monotonic=clock)

    async def look() -> Any:
        return await watch.read(stand.desk)

    for _ in range(20):
        stand.served.run(look())
    assert len(asked) == 1
    clock.pause(0.99)
    stand.served.run(look())
    assert len(asked) == 1
    clock.pause(0.02)
    stand.served.run(look())
    assert len(asked) == 2
    for _ in range(5):
        stand.us.get("/metrics")
    assert len(asked) <= 4  # the application's own watch goes by the real clock


def test_a_store_and_a_redis_that_are_away_are_told_to_who_was_known(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    samples(stand)

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the job store does not answer")

    monkeypatch.setattr(type(stand.store), "caller_of_key", away)
    monkeypatch.setattr(type(stand.store), "read_lanes", away)
    monkeypatch.setattr(type(stand.queue), "depth", lambda *_: None)
    monkeypatch.setattr("api.metrics.READ_SECONDS", 0.0)
    found = samples(stand)
    assert (one(found, "store_up"), one(found, "redis_up")) == (0, 0)
    assert not [name for name, _ in found if name in ("fumehood_queued_jobs", "fumehood_workers", "fumehood_queued_tickets")]
    assert one(found, "http_requests_total", method="GET", route="/metrics", status="200") == 1
    stranger = stand.us.get("/metrics", headers={"Authorization": f"Bearer {new_key()}"})
    assert (stranger.status_code, stranger.headers["retry-after"]) != (200, None)
    assert stranger.status_code == 503


def test_a_key_is_needed_unless_the_operator_opens_the_page(stand: Stand, open_stand: Callable[..., Stand]) -> None:
    answer = stand.served.request("GET", "/metrics")
    assert (answer.status_code, slug(answer)) == (401, "unauthenticated")
    assert stand.us.get("/metrics", headers={"Authorization": f"Bearer {new_key()}"}).status_code == 401
    assert stand.us.get("/metrics?a=b").status_code == 422
    opened = open_stand(metrics_open=True)
    assert opened.served.request("GET", "/metrics").status_code == 200


def test_what_another_version_counted_is_left_out(stand: Stand) -> None:
    tally = {
        "fumehood_unheard_of_total": [[[], 1.0]],
        "fumehood_http_requests_total": [[["GET", "/", "200"], 1.0]],
        "fumehood_leftovers_total": [[["container", "more"], 1.0]],
        "fumehood_room_seconds": [[["run"], [1.0, 2.0]]],
    }
    stand.store.worker_beat("wrk_old", {"ready": True}, tally=tally)
    found = samples(stand)
    assert [name for name, labels in found if ("worker", "wrk_old") in labels] == ["fumehood_worker_ready"]


# what a worker counts ------------------------------------------------------------------------------------------------------


def test_an_attempt_is_counted_when_it_is_over(bench: Bench) -> None:
    bench.carry(bench.claim())
    bench.host.behaviour = fails
    bench.carry(bench.claim())
    document = bench.deps.telemetry.tally.document()
    assert [["errands", "cold"], 0.0] in document["fumehood_sandbox_starts_total"]
    assert [["jobs", "cold"], 2.0] in document["fumehood_sandbox_starts_total"]
    assert document["fumehood_outcomes_total"] == [[["script", "ok", "nobody"], 1.0], [["script", "script_error", "tenant"], 1.0]]
    assert [values for values, _ in document["fumehood_room_seconds"]] == [["stage"], ["run"], ["collect"], ["publish"], ["erase"]]
    ((lane, waited),) = document["fumehood_queue_wait_seconds"]
    assert (lane, sum(waited[:-1])) == (["jobs"], 2)


def test_what_the_service_lost_is_counted_apart_until_it_is_lost_for_good(bench: Bench) -> None:
    queued = bench.submit(attempts_max=2)
    for expected in ("fumehood_handed_back_total", "fumehood_outcomes_total"):
        bench.host.behaviour = broken
        bench.carry(bench.claim(queued))
        document = bench.deps.telemetry.tally.document()
        assert document[expected] == [[["script", "sandbox_error", "service"], 1.0]]


def broken(*_: object) -> Any:
    raise RuntimeError("the engine is on fire")


def test_a_cancelled_job_is_counted_as_cancelled(bench: Bench) -> None:
    claimed = bench.claim()
    bench.store.request_cancel(claimed.tenant, claimed.id)
    bench.host.behaviour = blocks
    bench.carry(claimed)
    assert bench.deps.telemetry.tally.document()["fumehood_outcomes_total"] == [[["script", "cancelled", "nobody"], 1.0]]
