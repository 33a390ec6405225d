"""Expiry as a caller sees it: what the records promise, 410 with when, and pins."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from fumehood.quota import DAY_SECONDS, Retention
from tests.unit.front_desk import SCRIPT, Counter, Stand, slug
from worker.expiry import Expiry

DEFAULT = Retention()


class Later:
    def __init__(self, stand: Stand) -> None:
        self.stand, self.seconds = stand, 0.0
        stand.store._clock = self

    def __call__(self) -> float:
        return time.time() + self.seconds

    def days(self, days: float) -> None:
        """So many days from the beginning, and what is due then is taken away."""
        self.seconds = days * DAY_SECONDS
        deps = Deps(store=self.stand.store, blobs=self.stand.desk.blobs, monotonic=time.monotonic, now=self)
        Expiry(deps, round_seconds=30).take_away()  # type: ignore[arg-type]


class Deps:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


@pytest.fixture
def later(stand: Stand) -> Later:
    return Later(stand)


@pytest.fixture
def job(stand: Stand, us: Counter) -> str:
    name = us.job()
    stand.worker.work()
    return name


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_record_says_when_what_of_it_goes(us: Counter, job: str) -> None:
    record = us.get(f"/v1/jobs/{job}").json()
    finished, expires = seconds(record["finished_at"]), record["expires"]
    days = {name: round((seconds(expires[name]) - finished) / DAY_SECONDS, 6) for name in ("log", "results", "record")}
    assert days == {"log": DEFAULT.log_days, "results": DEFAULT.result_days, "record": DEFAULT.record_days}
    assert (expires["log_expired_at"], expires["results_expired_at"]) == (None, None)


def test_a_job_that_has_not_ended_has_no_end_to_tell(us: Counter) -> None:
    assert us.get(f"/v1/jobs/{us.job()}").json()["expires"] is None


def gone(answer: Any) -> float:
    """When it expired."""
    assert (answer.status_code, slug(answer)) == (410, "gone"), answer.text
    at = seconds(answer.json()["expired_at"])
    assert answer.json()["expired_at"] in answer.json()["detail"]
    return at


LOG, RESULTS = ["log"], ["result", "result2", "result/preview", "figures", "figures/0", "artifacts", "artifacts/models/ä b.bin"]


def test_parts_that_expired_are_gone_and_the_record_says_what_they_were(later: Later, us: Counter, job: str) -> None:
    assert DEFAULT.log_days <= DEFAULT.result_days < DEFAULT.record_days
    later.days(DEFAULT.result_days + 0.01)
    for part in LOG + RESULTS:
        assert gone(us.get(f"/v1/jobs/{job}/{part}")) == pytest.approx(later(), abs=60)
    record = us.get(f"/v1/jobs/{job}").json()
    assert record["expires"]["log_expired_at"] is not None
    assert record["outputs"]["log"] > 0
    assert set(record["links"]) == {"self", "inputs", "image"}
    assert us.get(f"/v1/jobs/{job}/inputs/script").status_code == 200
    assert us.get(f"/v1/jobs/{job}/log", headers={"Accept": "text/event-stream"}).status_code == 410
    assert us.head(f"/v1/jobs/{job}/log").status_code == 410


def test_a_record_that_expired_is_gone_for_its_tenant_and_never_was_for_others(later: Later, stand: Stand, us: Counter, job: str) -> None:
    later.days(DEFAULT.record_days + 0.01)
    absent = stand.other.get(f"/v1/jobs/{job}")
    for path in ("", "/log", "/inputs", "/inputs/script", *(f"/{part}" for part in RESULTS)):
        gone(us.get(f"/v1/jobs/{job}{path}"))
        theirs = stand.other.get(f"/v1/jobs/{job}{path}")
        assert (theirs.status_code, theirs.json()) == (404, absent.json())
    gone(us.post(f"/v1/jobs/{job}/cancel"))
    gone(us.delete(f"/v1/jobs/{job}"))
    assert us.get("/v1/jobs").json()["items"] == []
    assert stand.kept() == []
    later.days(DEFAULT.record_days + 91)
    later.days(DEFAULT.record_days + 91)
    assert us.get(f"/v1/jobs/{job}").status_code == 404


def test_what_was_deleted_is_not_there_as_if_it_never_was(us: Counter, job: str) -> None:
    assert us.delete(f"/v1/jobs/{job}").status_code == 204
    assert us.get(f"/v1/jobs/{job}").status_code == 404


def test_what_expired_is_no_input_and_the_fault_says_when(later: Later, us: Counter, job: str) -> None:
    dataset = us.dataset()
    later.days(DEFAULT.result_days + 0.01)
    answer = us.submit(dataset1={"job": job, "output": "result"})
    assert "expired at" in answer.json()["errors"][0]["detail"]
    later.days(DEFAULT.dataset_days + DEFAULT.record_days)
    for reference in (dataset, {"job": job, "output": "result"}):
        answer = us.submit(dataset1=reference)
        assert answer.status_code == 422
        assert "expired at" in answer.json()["errors"][0]["detail"]


# datasets ----------------------------------------------------------------------------------------------------------------
def test_a_dataset_says_until_when_it_stays_and_then_is_gone(later: Later, stand: Stand, us: Counter) -> None:
    name = us.dataset()
    record = us.get(f"/v1/datasets/{name}").json()
    assert not record["pinned"]
    assert (seconds(record["expires_at"]) - time.time()) / DAY_SECONDS == pytest.approx(DEFAULT.dataset_days, abs=0.01)
    later.days(DEFAULT.dataset_days + 0.01)
    for path in ("", "/content", "/preview"):
        gone(us.get(f"/v1/datasets/{name}{path}"))
        assert stand.other.get(f"/v1/datasets/{name}{path}").status_code == 404
    gone(us.put(f"/v1/datasets/{name}/pin"))
    assert stand.kept() == []


def test_a_pinned_dataset_stays(later: Later, us: Counter) -> None:
    pinned = us.dataset()
    born = us.upload(b"a\n1\n", params={"pinned": "true"}).json()
    assert (born["pinned"], born["expires_at"]) == (True, None)
    record = us.put(f"/v1/datasets/{pinned}/pin").json()
    assert (record["pinned"], record["expires_at"]) == (True, None)
    later.days(10 * DEFAULT.dataset_days)
    for name in (pinned, born["id"]):
        assert us.get(f"/v1/datasets/{name}").status_code == 200
    loose = us.delete(f"/v1/datasets/{pinned}/pin").json()
    assert (seconds(loose["expires_at"]) - later()) / DAY_SECONDS == pytest.approx(DEFAULT.dataset_days, abs=0.01)


def test_the_same_bytes_again_pin_the_dataset_and_begin_its_lifetime_anew(later: Later, us: Counter) -> None:
    name = us.dataset()
    later.days(DEFAULT.dataset_days / 2)
    again = us.upload()
    assert (again.status_code, again.json()["id"]) == (200, name)
    assert seconds(again.json()["expires_at"]) - later() == pytest.approx(DEFAULT.dataset_days * DAY_SECONDS, abs=60)
    assert us.upload(params={"pinned": "true"}).json()["pinned"]


def test_nobody_pins_what_is_anothers(stand: Stand, us: Counter) -> None:
    name = us.dataset()
    assert stand.other.put(f"/v1/datasets/{name}/pin").status_code == 404
    assert stand.other.delete(f"/v1/datasets/{name}/pin").status_code == 404


# batches -----------------------------------------------------------------------------------------------------------------
def batch_of_two(stand: Stand, us: Counter) -> str:
    items = [{"parameters": {}}, {"parameters": {}}]
    answer = us.post("/v1/batches", json={"script": SCRIPT, "items": items})
    assert answer.status_code == 202, answer.text
    assert answer.json()["expires_at"] is None
    stand.worker.work()
    return str(answer.json()["id"])


def test_a_batch_says_when_it_goes_and_goes_as_a_whole(later: Later, stand: Stand, us: Counter) -> None:
    name = batch_of_two(stand, us)
    record = us.get(f"/v1/batches/{name}").json()
    assert seconds(record["expires_at"]) - seconds(record["finished_at"]) == pytest.approx(DEFAULT.record_days * DAY_SECONDS, abs=1)
    item = us.get(f"/v1/batches/{name}/items/0").json()
    assert item["expires"]["record"] is None
    later.days(DEFAULT.result_days + 0.01)
    for part in ("log", "result"):
        gone(us.get(f"/v1/batches/{name}/items/0/{part}"))
    assert set(us.get(f"/v1/batches/{name}/items/0").json()["links"]) == {"self", "job"}
    later.days(DEFAULT.record_days + 0.01)
    for path in (f"/v1/batches/{name}", f"/v1/batches/{name}/items", f"/v1/batches/{name}/items/0/log", f"/v1/jobs/{item['job']}"):
        gone(us.get(path))
        assert stand.other.get(path).status_code == 404
    assert stand.kept() == []


def test_a_job_keeps_the_lifetimes_of_its_submit(stand: Stand, us: Counter) -> None:
    name = us.job()
    stand.store.change_tenant("default", retention={"record_days": 1.0, "log_days": 1.0, "result_days": 1.0})
    other = us.job()
    stand.worker.work()
    kept = []
    for each in (name, other):
        record = us.get(f"/v1/jobs/{each}").json()
        kept.append(round((seconds(record["expires"]["record"]) - seconds(record["finished_at"])) / DAY_SECONDS, 3))
    assert kept == [DEFAULT.record_days, 1.0]
