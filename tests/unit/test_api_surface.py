"""What all addresses share: keys, headers, problems, health, the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import api.batch_schemas
import api.schemas
import api.webhook_schemas
from fumehood.errors import StoreUnavailable
from fumehood.job import Lane
from fumehood.limits import CEILING, REQUESTABLE
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


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic YTpi", "Bearer NEW", "Bearer \xff", "bearer fh_\x00"])
def test_no_known_key_is_401_everywhere(stand: Stand, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.replace("NEW", new_key()).encode("latin-1")}
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
    assert re.search(r'"request_id": ?"[0-9a-f]{16}"', written)
    for secret in (stand.key, "private", SCRIPT[:10]):
        assert secret not in written


# headers ---------------------------------------------------------------------------------------------------------------


def test_safe_headers_stand_on_every_answer(stand: Stand, us: Counter) -> None:
    """Of every operation, refused or not; of addresses and methods that there are none of; with and without a key."""
    known = [(method.upper(), filled(path) + ("?seconds=0" if path.endswith("/events") else "")) for method, path, _ in operations(stand)]
    for method, path in [
        *known,
        ("GET", "/nowhere"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("PUT", "/v1/jobs"),
        ("OPTIONS", "/v1/jobs"),
        ("HEAD", "/v1/jobs"),
    ]:
        for headers in (us.headers, {}):
            answer = stand.served.request(method, path, headers=headers).headers
            assert answer["x-content-type-options"] == "nosniff", path
            assert answer["x-frame-options"] == "DENY", path
            assert answer["referrer-policy"] == "no-referrer", path
            assert answer["cross-origin-resource-policy"] == "same-origin", path
            assert answer["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'", path
            assert answer["cache-control"] == "no-store", path
            assert answer["x-request-id"], path


@pytest.mark.parametrize(("given", "kept"), [("abc-123", True), ("x" * 65, False), ("a b", False), ("", False)])
def test_a_request_id_is_kept_where_it_is_harmless(us: Counter, given: str, kept: bool) -> None:
    assert (us.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given) == kept


# problems ----------------------------------------------------------------------------------------------------------------


def test_an_unknown_address_is_a_problem(us: Counter) -> None:
    assert [(us.get(path).status_code, slug(us.get(path))) for path in ("/", "/v2/jobs", "/v1/jobs/x/y/z", "/docs")] == [
        (404, "not-found")
    ] * 4


def test_an_unknown_method_is_a_problem(us: Counter) -> None:
    for path, allowed in (("/v1/jobs", "GET, HEAD, POST"), (f"/v1/jobs/job_{'0' * 32}", "DELETE, GET, HEAD"), ("/v1/images", "GET, HEAD")):
        answer = us.put(path)
        assert (answer.status_code, slug(answer), answer.headers["allow"]) == (405, "method-not-allowed", allowed)


def test_the_store_away_is_503(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(type(stand.store), "caller_of_key", away)
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
    monkeypatch.setattr("api.places.REQUESTS_MAX", 1)
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


# To a browser without a key, which shows what it gets.
PAGES = {("/v1/scripts/{script}/help", "401")}


def test_every_operation_is_described_and_answers_with_problems(stand: Stand) -> None:
    for method, path, operation in operations(stand):
        assert operation["summary"], path
        assert operation["tags"], path
        if path.startswith(("/v1", "/compat")):
            assert operation["security"], (method, path)
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    pages = ["text/html"] if (path, status) in PAGES else []
                    assert list(answer["content"]) == ["application/problem+json", *pages], (method, path, status)


OPERATIONS = {
    "upload_dataset", "list_datasets", "read_dataset", "delete_dataset", "pin_dataset", "unpin_dataset",
    "read_dataset_content", "read_dataset_preview",
    "submit_job", "list_jobs", "read_job", "cancel_job", "delete_job", "list_inputs", "read_input",
    "read_log", "read_result", "read_result2", "read_result_preview", "read_result2_preview",
    "list_figures", "read_figure", "list_artifacts", "read_artifact", "list_images", "list_packages", "healthz", "readyz",
    "read_webhook_secret", "rotate_webhook_secret", "list_deliveries", "read_delivery", "replay_delivery",
    "list_receipt_keys", "read_events", "read_batch_events",
    "read_metrics", "read_usage", "read_quota",
    "submit_batch", "list_batches", "read_batch", "cancel_batch", "delete_batch", "retry_batch", "retry_item", "read_joined",
    "publish_version", "list_scripts", "read_script", "delete_script", "list_versions", "read_version", "read_version_source",
    "read_version_sample", "read_script_openapi", "read_script_help",
    "compare_versions", "delete_version", "list_aliases", "read_alias", "set_alias", "roll_back_alias", "delete_alias",
    "execute_studio_service", "score_studio_service",
    "submit_studio_job", "start_studio_job", "read_studio_job", "cancel_studio_job", "read_studio_output",
    "score_script", "submit_script_job", "submit_script_batch",
    "list_items", "read_item", "read_item_result", "read_item_result2", "read_item_log",
    "create_tenant", "list_tenants", "read_tenant", "change_tenant", "suspend_tenant", "resume_tenant", "delete_tenant",
    "read_tenant_receipt", "create_key", "list_keys", "revoke_key", "rotate_key", "read_audit",
}  # fmt: skip


def test_operations_have_names_that_stay(stand: Stand) -> None:
    """Callers generate code from them: a name may come, and none may change."""
    assert {operation["operationId"] for _, _, operation in operations(stand)} == OPERATIONS


def test_everything_is_explained(stand: Stand) -> None:
    known = {tag["name"] for tag in stand.app.openapi()["tags"]}
    for method, path, operation in operations(stand):
        assert operation["description"], (method, path)
        assert set(operation["tags"]) <= known, (method, path)
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), (method, path)
        for status, answer in operation["responses"].items():
            assert answer["description"], (method, path, status)


def test_the_document_says_what_the_settings_say(open_stand: Callable[..., Stand]) -> None:
    document = open_stand(idempotency_hours=1.5, ceiling={**CEILING.as_dict(), "cpus": 1.5}, limits={"cpus": 0.5}).app.openapi()
    parameters = {parameter["name"]: parameter for parameter in document["paths"]["/v1/jobs"]["post"]["parameters"]}
    assert parameters["idempotency-key"]["description"].endswith("for 1.5 hours.")
    limits = document["components"]["schemas"]["JobDocument"]["properties"]["limits"]["properties"]
    assert (limits["cpus"]["default"], limits["cpus"]["maximum"]) == (0.5, 1.5)
    assert set(limits) == set(REQUESTABLE)


def test_every_example_of_a_body_is_accepted(stand: Stand, us: Counter) -> None:
    """All that the document holds, of whatever media type."""
    ran, stored = [], us.dataset()
    assert us.put("/v1/scripts/score", json={"script": SCRIPT}).status_code == 202
    stand.worker.work(Lane.JOBS)
    stand.queue.awake = set(Lane)  # a call is waited for
    prefix = stand.store.list_keys("other")[0].prefix
    for method, path, operation in operations(stand):
        for media, described in operation.get("requestBody", {}).get("content", {}).items():
            examples = [described[name] for name in ("example",) if name in described]
            examples += [example["value"] for example in described.get("examples", {}).values()]
            for example in examples:
                body = example if isinstance(example, str) else json.dumps(example).replace(f"ds_{0:032}", stored)
                answer = stand.served.request(
                    method.upper(),
                    path.format(tenant="other", prefix=prefix, script="score", alias="prod"),
                    headers={**us.headers, "Content-Type": media},
                    content=body.encode(),
                    params={},
                )
                assert answer.status_code in (200, 201, 202), (path, media, answer.text)
                ran.append((operation["operationId"], media))
    assert sorted(ran) == [
        ("change_tenant", "application/json"),
        ("create_key", "application/json"),
        ("create_tenant", "application/json"),
        ("publish_version", "application/json"),
        ("rotate_key", "application/json"),
        ("score_script", "application/json"),
        ("score_script", "application/x-ndjson"),
        ("score_script", "text/csv"),
        ("set_alias", "application/json"),
        ("submit_batch", "application/json"),
        ("submit_job", "application/json"),
        ("submit_job", "application/json"),
        ("submit_script_batch", "application/json"),
        ("submit_script_job", "application/json"),
        ("upload_dataset", "application/json"),
        ("upload_dataset", "application/x-ndjson"),
        ("upload_dataset", "text/csv"),
    ]


def test_the_examples_of_answers_have_the_shape_of_their_schema(stand: Stand) -> None:
    schemas = stand.app.openapi()["components"]["schemas"]
    examples = [(name, example) for name, schema in schemas.items() for example in schema.get("examples", [])]
    assert {name for name, _ in examples} == {"DatasetRecord", "BatchRecord", "WebhookSecret", "DeliveryRecord"}
    modules = (api.schemas, api.batch_schemas, api.webhook_schemas)
    for name, example in examples:
        next(getattr(module, name) for module in modules if hasattr(module, name)).model_validate(example)


def test_what_is_not_built_is_absent(stand: Stand) -> None:
    document = stand.app.openapi()
    assert not [path for path in document["paths"] if re.search("schedule", path)]
    assert not {"schedule"} & set(document["components"]["schemas"]["JobDocument"]["properties"])
