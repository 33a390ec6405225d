"""Quotas at the desk: which one is used up, how much of it there was, when to come again; rates by tenant."""

from __future__ import annotations

from typing import Any

import pytest

from api.rates import BUCKETS_MAX, FULL_SECONDS_MAX, SCOPE_KEY, Rates
from fumehood.errors import QuotaExceeded
from fumehood.job import Lane
from fumehood.quota import QUOTA_FLOOR, Quota
from fumehood.tenant import Tenant, TenantState
from tests.unit.front_desk import Counter, Stand, slug


def grant(stand: Stand, **quota: Any) -> None:
    stand.store.change_tenant("default", quota=quota)


def exceeded(answer: Any) -> dict[str, Any]:
    assert (answer.status_code, slug(answer)) == (429, "quota-exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    document: dict[str, Any] = answer.json()
    return document


def test_a_full_queue_is_429_and_says_which_quota(stand: Stand, us: Counter) -> None:
    grant(stand, queued_jobs=1)
    assert us.submit().status_code == 202
    kept = stand.kept()
    answer = us.submit()
    told = exceeded(answer)
    assert (told["quota"], told["limit"], told["value"]) == ("queued_jobs", 1, 1)
    assert answer.headers["ratelimit"].endswith(', "queued_jobs";r=0;t=5')
    assert answer.headers["ratelimit-policy"] == '"requests";q=1000;w=1, "queued_jobs";q=1'
    assert stand.kept() == kept
    assert stand.other.submit().status_code == 202


def test_a_replayed_submission_is_no_further_one(stand: Stand, us: Counter) -> None:
    grant(stand, queued_jobs=1)
    key = {"Idempotency-Key": "once"}
    first, again = us.submit(headers=key), us.submit(headers=key)
    assert (first.json()["id"], again.status_code) == (again.json()["id"], 202)


def test_stored_bytes_are_counted_and_given_back(stand: Stand, us: Counter) -> None:
    grant(stand, stored_bytes=40)
    told = exceeded(us.post("/v1/jobs", json={"script": "def azureml_main(a=None, b=None):\n    return a,  # long\n"}))
    assert (told["quota"], told["limit"], told["value"]) == ("stored_bytes", 40, 0)
    answer = us.upload(b"x" * 41)
    assert exceeded(answer)["quota"] == "stored_bytes"
    stand.nothing_is_kept()


def test_a_dataset_above_the_quota_is_413_with_the_tenant_s_limit(stand: Stand, us: Counter) -> None:
    grant(stand, dataset_bytes=10)
    for content in (us.upload(b"a" * 11), us.post("/v1/jobs", files={"job": (None, b"{}"), "dataset1": ("a.csv", b"a" * 11, "text/csv")})):
        assert (content.status_code, slug(content), content.json()["limit"]) == (413, "too-large", 10)
    stand.nothing_is_kept()


def test_no_job_asks_for_more_than_the_ceiling_of_its_tenant(stand: Stand, us: Counter) -> None:
    grant(stand, ceiling={"wall_seconds": 5})
    answer = us.submit(limits={"wall_seconds": 6})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/limits/wall_seconds")
    assert us.submit().json()["limits"]["wall_seconds"] == 5
    assert stand.other.submit(limits={"wall_seconds": 6}).status_code == 202


def test_the_rate_is_told_with_every_answer_and_kept(stand: Stand, us: Counter) -> None:
    grant(stand, requests_per_second=0.02)
    answer = us.get("/v1/jobs")
    assert (answer.status_code, answer.headers["ratelimit-policy"]) == (200, '"requests";q=1;w=50')
    assert answer.headers["ratelimit"] == '"requests";r=0;t=50'
    answer = us.get("/v1/jobs")
    told = exceeded(answer)
    assert (told["quota"], told["limit"]) == ("requests_per_second", 0.02)
    assert 40 <= int(answer.headers["retry-after"]) <= 50
    assert answer.headers["ratelimit-policy"] == '"requests";q=1;w=50'
    assert stand.other.get("/v1/jobs").headers["ratelimit"] == '"requests";r=999;t=1'


def test_who_is_not_known_is_told_no_rate(stand: Stand) -> None:
    answer = stand.served.request("GET", "/v1/jobs")
    assert (answer.status_code, "ratelimit" in answer.headers) == (401, False)


def test_quotas_and_their_use_are_the_tenant_s_own(stand: Stand, us: Counter) -> None:
    grant(stand, queued_jobs=7)
    us.job()
    us.job()
    claimed = stand.worker.claim(Lane.JOBS)
    told = us.get("/v1/quota").json()
    assert told["quota"]["queued_jobs"] == 7
    assert set(told["quota"]) == {*QUOTA_FLOOR, "ceiling"}
    used = told["used"]
    assert (used["running_jobs"], used["queued_jobs"], used["cpu_seconds_per_day"]) == (1, 1, 0)
    assert used["stored_bytes"] > 0
    assert set(stand.other.get("/v1/quota").json()["used"].values()) == {0}
    assert claimed is not None
    stand.worker.finish(claimed)
    later = us.get("/v1/quota").json()["used"]
    assert (later["running_jobs"], later["cpu_seconds_per_day"]) == (0, 0.25)
    assert later["stored_bytes"] > used["stored_bytes"]


def test_a_suspended_tenant_is_told_that_first(stand: Stand) -> None:
    stand.store.change_tenant("other", quota={"requests_per_second": 0.01})
    stand.store.change_tenant("other", state=TenantState.SUSPENDED)
    answer = stand.other.get("/v1/jobs")
    assert (answer.status_code, slug(answer)) == (403, "suspended")


# the bucket --------------------------------------------------------------------------------------------------------------
class Hand:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def one(name: str = "ten_a", rate: float = 2.0) -> Tenant:
    return Tenant(id=name, name=name, quota=Quota(requests_per_second=rate))


def test_a_bucket_holds_a_second_and_fills_with_time() -> None:
    hand = Hand()
    rates = Rates(clock=hand)
    for left in (1, 0):
        scope: dict[str, Any] = {}
        rates.take(scope, one())
        assert scope[SCOPE_KEY].left == left
    with pytest.raises(QuotaExceeded) as caught:
        rates.take({}, one())
    assert caught.value.retry_after_seconds == 1
    rates.take({}, one("ten_b"))  # Another's bucket is its own.
    hand.now += 0.5
    rates.take({}, one())
    with pytest.raises(QuotaExceeded):
        rates.take({}, one())
    hand.now += 3600
    for _ in range(2):
        rates.take({}, one())
    with pytest.raises(QuotaExceeded):
        rates.take({}, one())


def test_a_lower_rate_holds_at_once() -> None:
    rates = Rates(clock=Hand())
    rates.take({}, one(rate=1000))
    scope: dict[str, Any] = {}
    rates.take(scope, one(rate=1))
    assert scope[SCOPE_KEY].left == 0


def test_buckets_that_are_full_again_are_forgotten() -> None:
    hand = Hand()
    rates = Rates(clock=hand)
    for number in range(BUCKETS_MAX):
        rates.take({}, one(f"ten_{number}"))
    hand.now += FULL_SECONDS_MAX
    rates.take({}, one("ten_new"))
    assert set(rates._buckets) == {"ten_new"}
    assert 1.0 / QUOTA_FLOOR["requests_per_second"] <= FULL_SECONDS_MAX
