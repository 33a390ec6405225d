"""What all addresses share: keys, headers, problems, health, the OpenAPI document."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fumehood.errors import StoreUnavailable
from fumehood.tenant import new_key
from tests.services import until
from tests.unit.front_desk import SCRIPT, Counter, Stand, slug

OPEN = ("/healthz", "/readyz", "/openapi.json")


def operations(stand: Stand) -> list[tuple[str, str, dict[str, Any]]]:
    document = stand.app.openapi()
    return [(method, path, operation) for path, methods in document["paths"].items() for method, operation in methods.items()]


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path)


# keys ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic YTpi", f"Bearer {new_key()}", "Bearer \xff", "bearer fh_\x00"])
def test_no_known_key_is_401_everywhere(stand: Stand, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for method, path, _ in operations(stand):
        if path in OPEN:
            continue
        answer = stand.served.request(method.upper(), filled(path), headers=headers)
        assert (answer.status_code, slug(answer), answer.headers["www-authenticate"]) == (
            401,
            "unauthenticated",
            'Bearer realm="fumehood"',
        ), path


def test_a_body_without_a_key_is_not_read(stand: Stand) -> None:
    stand.us.headers = {}
    sent = stand.exchange("POST", "/v1/datasets", [], {"Content-Type": "text/csv"})
    assert sent[0]["status"] == 401


def test_keys_and_contents_never_reach_the_log(stand: Stand, us: Counter) -> None:
    us.dataset(b"private,data\n1,2\n")
    us.submit(labels={"a": "private label"})
    written = stand.log.getvalue()
    assert "/v1/datasets" in written
    assert re.search(r'"request": ?"[0-9a-f]{16}"', written)
    for secret in (stand.key, "private", SCRIPT[:10]):
        assert secret not in written


# headers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/nowhere", "/v1/jobs/x", "/v1/jobs?limit=0"])
def test_safe_headers_stand_on_every_answer(us: Counter, path: str) -> None:
    headers = us.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"]


@pytest.mark.parametrize(("given", "kept"), [("abc-123", True), ("x" * 65, False), ("a b", False), ("", False)])
def test_a_request_id_is_kept_where_it_is_harmless(us: Counter, given: str, kept: bool) -> None:
    assert (us.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given) == kept


# problems ----------------------------------------------------------------------------------------------------------------


def test_an_unknown_address_is_a_problem(us: Counter) -> None:
    assert [(us.get(path).status_code, slug(us.get(path))) for path in ("/", "/v2/jobs", "/v1/jobs/x/y/z", "/docs")] == [
        (404, "not-found")
    ] * 4


def test_an_unknown_method_is_a_problem(us: Counter) -> None:
    answer = us.put("/v1/jobs")
    assert (answer.status_code, slug(answer)) == (405, "method-not-allowed")
    assert "POST" in answer.headers["allow"] or "GET" in answer.headers["allow"]


def test_the_store_away_is_503(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(type(stand.store), "tenant_of_key", away)
    answer = us.get("/v1/jobs")
    assert (answer.status_code, slug(answer)) == (503, "store-unavailable")
    assert "retry-after" in answer.headers


def test_a_mistake_of_ours_tells_nothing(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(type(stand.store), "list_jobs", broken)
    answer = us.get("/v1/jobs")
    assert (answer.status_code, slug(answer)) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] in stand.log.getvalue()


def test_a_full_service_says_when_to_come_again_and_is_alive(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    name = us.job()
    monkeypatch.setattr("api.middleware.REQUESTS_MAX", 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(us.get, f"/v1/jobs/{name}", params={"wait": "20"})
        until(lambda: us.get("/v1/jobs").status_code == 503, seconds=10, what="a full service")
        answer = us.get("/v1/jobs")
        assert (slug(answer), answer.headers["retry-after"], answer.headers["x-content-type-options"]) == ("unavailable", "5", "nosniff")
        assert us.get("/healthz").status_code == 200
        monkeypatch.undo()
        us.post(f"/v1/jobs/{name}/cancel")
        assert waiting.result(20).json()["state"] == "cancelled"
    assert us.get("/v1/jobs").status_code == 200


# health ------------------------------------------------------------------------------------------------------------------


def test_health_is_open(stand: Stand) -> None:
    answer = stand.served.request("GET", "/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_a_worker_that_is_not_ready_says_why(stand: Stand) -> None:
    stand.store.worker_beat("wrk_1", {"ready": True, "reason": None})
    stand.store.worker_beat("wrk_2", {"ready": False, "reason": "the next job needs 5 bytes of disk, 4 are free beyond the floor"})
    parts = stand.served.request("GET", "/readyz").json()["parts"]
    assert parts["workers"] == {"ok": True, "detail": "1 of 2 ready: the next job needs 5 bytes of disk, 4 are free beyond the floor"}


def test_ready_needs_store_redis_and_a_ready_worker(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> tuple[int, dict[str, bool]]:
        answer = stand.served.request("GET", "/readyz")
        return answer.status_code, {name: part["ok"] for name, part in answer.json()["parts"].items()}

    assert state() == (503, {"store": True, "redis": True, "workers": False, "image": False})
    stand.store.worker_beat("wrk_1", {"ready": False, "image": "sha256:1"})
    assert state() == (503, {"store": True, "redis": True, "workers": False, "image": False})
    stand.store.worker_beat("wrk_1", {"ready": True})
    assert state() == (503, {"store": True, "redis": True, "workers": True, "image": False})
    stand.store.worker_beat("wrk_1", {"ready": True, "image": "sha256:1"})
    assert state() == (200, {"store": True, "redis": True, "workers": True, "image": True})
    stand.queue.away = True
    assert state() == (503, {"store": True, "redis": False, "workers": True, "image": True})

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the database does not answer")

    for verb in ("ping", "workers"):
        monkeypatch.setattr(type(stand.store), verb, away)
    assert state() == (503, {"store": False, "redis": False, "workers": False, "image": False})


# the OpenAPI document ----------------------------------------------------------------------------------------------------


def test_the_document_is_served_and_every_reference_leads_somewhere(stand: Stand) -> None:
    document = stand.served.request("GET", "/openapi.json").json()
    references = re.findall(r"#/components/schemas/(\w+)", str(document))
    assert set(references) <= set(document["components"]["schemas"])
    assert {"Problem", "JobDocument"} <= set(references)
    assert "ValidationError" not in document["components"]["schemas"]


def test_every_operation_is_described_and_answers_with_problems(stand: Stand) -> None:
    for method, path, operation in operations(stand):
        assert operation["summary"], path
        assert operation["tags"], path
        if path.startswith("/v1"):
            assert operation["security"], (method, path)
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


@pytest.mark.parametrize("name", ["smallest", "everything"])
def test_the_examples_of_a_job_are_accepted(stand: Stand, us: Counter, name: str) -> None:
    examples = stand.app.openapi()["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"smallest", "everything"}
    assert us.post("/v1/jobs", json=examples[name]["value"]).status_code == 202


def test_the_example_of_a_dataset_is_accepted(stand: Stand, us: Counter) -> None:
    content = stand.app.openapi()["paths"]["/v1/datasets"]["post"]["requestBody"]["content"]
    assert us.upload(content["text/csv"]["example"].encode()).status_code == 201


def test_what_is_not_built_is_absent(stand: Stand) -> None:
    document = stand.app.openapi()
    assert not [path for path in document["paths"] if re.search("batches|usage|metrics", path)]
    assert not {"priority", "callback_url"} & set(document["components"]["schemas"]["JobDocument"]["properties"])
