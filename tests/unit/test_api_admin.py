"""Scopes, the operator's calls, and what the audit log says of them, at the desk and from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.auth import scope_of
from fumehood.tenant import Scope, TenantState, new_key
from tests.services import until
from tests.unit.cli_desk import Listening, fumehood
from tests.unit.front_desk import Counter, Stand, pointers, slug
from tests.unit.test_api_surface import OPEN, filled, operations

__all__ = ["fumehood"]


def with_scopes(stand: Stand, *scopes: Scope, tenant: str = "default") -> Counter:
    return Counter(stand.served, stand.store.create_key(tenant, name="", scopes=frozenset(scopes))[1])


@pytest.mark.parametrize("scope", Scope)
def test_every_operation_needs_the_scope_that_the_document_names(stand: Stand, scope: Scope) -> None:
    caller = with_scopes(stand, scope)
    for method, path, operation in operations(stand):
        if path in OPEN:
            assert "security" not in operation
            continue
        (needed,) = operation["security"][0]["key"]
        # A stream that has nothing to tell ends at once.
        query = {"seconds": "0"} if path.endswith("/events") else None
        answer = stand.served.request(method.upper(), filled(path), headers=caller.headers, params=query)
        assert (answer.status_code == 403) == (needed != scope), (method, path, needed, answer.text)
        if answer.status_code == 403:
            assert slug(answer) == "forbidden"
            assert needed in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/jobs", Scope.READ),
        ("HEAD", "/v1/jobs", Scope.READ),
        ("POST", "/v1/jobs", Scope.SUBMIT),
        ("DELETE", "/v1/jobs/{job_id}", Scope.SUBMIT),
        ("GET", "/v1/webhooks/secret", Scope.SUBMIT),
        ("HEAD", "/v1/webhooks/secret", Scope.SUBMIT),
        ("GET", "/v1/webhooks/deliveries", Scope.READ),
        ("GET", "/v1/admin/audit", Scope.ADMIN),
        ("POST", "/v1/admin/tenants", Scope.ADMIN),
        ("GET", "/metrics", Scope.ADMIN),
    ],
)
def test_method_and_address_decide_the_scope(method: str, path: str, scope: Scope) -> None:
    assert scope_of(method, path) is scope


def test_a_tenant_is_made_changed_suspended_and_resumed(us: Counter, stand: Stand) -> None:
    made = us.post("/v1/admin/tenants", json={"name": "lab", "quota": {"running_jobs": 2}})
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    assert made.json()["quota"]["running_jobs"] == 2
    assert us.patch(address, json={"weight": 3}).json()["weight"] == 3
    assert pointers(us.patch(address, json={"quota": {"running_jobs": 0}})) == ["/quota/running_jobs"]
    assert slug(us.post("/v1/admin/tenants", json={"name": "lab"})) == "conflict"
    assert [each["name"] for each in us.get("/v1/admin/tenants").json()["items"]] == ["default", "lab", "other"]
    secret = us.post(f"{address}/keys", json={"name": "night"}).json()["key"]
    lab = Counter(stand.served, secret)
    assert lab.get("/v1/jobs").status_code == 200
    assert slug(lab.get("/v1/admin/tenants")) == "forbidden"
    assert us.post(f"{address}/suspend").json()["state"] == "suspended"
    assert (lab.get("/v1/jobs").status_code, slug(lab.submit())) == (403, "suspended")
    us.post(f"{address}/resume")
    assert lab.get("/v1/jobs").status_code == 200
    assert us.get("/v1/admin/tenants/nobody").status_code == 404


def test_a_suspended_operator_can_still_help_itself(stand: Stand, us: Counter) -> None:
    stand.store.change_tenant("default", state=TenantState.SUSPENDED)
    assert slug(us.get("/v1/jobs")) == "suspended"
    assert us.post("/v1/admin/tenants/default/resume").status_code == 200
    assert us.get("/v1/jobs").status_code == 200


def test_keys_are_shown_once_and_end_at_once(stand: Stand, us: Counter) -> None:
    keys = "/v1/admin/tenants/other/keys"
    made = us.post(keys, json={"scopes": ["read"], "lifetime_days": 1}).json()
    caller = Counter(stand.served, made["key"])
    assert caller.get("/v1/jobs").status_code == 200
    until(lambda: us.get(keys).json()["items"][0]["used_at"], seconds=5, what="the last use")
    assert made["key"] not in us.get(keys).text
    second = us.post(f"{keys}/{made['prefix']}/rotate", json={"overlap_seconds": 600})
    assert second.status_code == 201
    assert caller.get("/v1/jobs").status_code == 200
    assert us.delete(f"{keys}/{made['prefix']}").status_code == 204
    assert caller.get("/v1/jobs").status_code == 401
    assert Counter(stand.served, second.json()["key"]).get("/v1/jobs").status_code == 200
    assert us.delete(f"{keys}/{'0' * 12}").status_code == 404


def test_nobody_takes_away_the_ground_under_its_own_feet(stand: Stand, us: Counter) -> None:
    assert slug(us.delete(f"/v1/admin/tenants/default/keys/{stand.key[3:15]}")) == "conflict"
    assert slug(us.delete("/v1/admin/tenants/default")) == "conflict"
    assert slug(us.post("/v1/admin/tenants/default/suspend")) == "conflict"


def test_a_deleted_tenant_is_refused_at_once(stand: Stand, us: Counter) -> None:
    record = us.delete("/v1/admin/tenants/other").json()
    assert record["state"] == "deleting"
    assert slug(stand.other.get("/v1/jobs")) == "suspended"
    assert slug(us.get(f"/v1/admin/tenants/{record['id']}/receipt")) == "not-finished"
    assert us.get("/v1/admin/tenants/ten_x/receipt").status_code == 404


def audit(us: Counter, **query: str) -> list[dict[str, Any]]:
    return list(us.get("/v1/admin/audit", params=query).json()["items"])


def test_who_did_what_is_written(stand: Stand, us: Counter) -> None:
    made = us.job()
    us.get(f"/v1/jobs/{made}")
    us.post(f"/v1/jobs/{made}/cancel")
    us.post(f"/v1/jobs/{made}/cancel")
    us.delete(f"/v1/jobs/{made}")
    told = [(each["action"], each["target"], each["result"]) for each in audit(us)]
    assert told == [
        ("delete_job", made, "ok"),
        ("cancel_job", made, "409"),
        ("cancel_job", made, "ok"),
        ("submit_job", made, "ok"),
    ]
    assert {each["by_key"] for each in audit(us)} == {stand.key[3:15]}
    dataset = us.dataset()
    assert [(each["action"], each["target"]) for each in audit(us)[:1]] == [("upload_dataset", dataset)]


def test_refused_keys_are_written_and_do_not_fill_the_log(stand: Stand, us: Counter) -> None:
    stranger = Counter(stand.served, new_key())
    for _ in range(70):
        assert stranger.get("/v1/jobs").status_code == 401
    stand.other.get("/v1/admin/audit")
    entries = audit(us, limit="200")
    assert [each["result"] for each in entries].count("401") == 60
    assert entries[0]["action"] == "read_audit"
    assert entries[0]["result"] == "403"
    assert audit(us, tenant=entries[0]["tenant"]) == entries[:1]


def test_the_command_manages_tenants_and_keys(fumehood: Listening) -> None:
    made = fumehood("admin", "tenant", "create", "lab", "--weight", "2")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("ten_")
    shown = fumehood(
        "admin", "tenant", "quota", "lab", "--set", "running_jobs=8", "--set", "ceiling.wall_seconds=60", "--retention", "log_days=2"
    )
    record = json.loads(shown.stdout)
    assert (record["quota"]["running_jobs"], record["quota"]["ceiling"]["wall_seconds"], record["retention"]["log_days"]) == (8, 60, 2)
    secret = fumehood("admin", "key", "create", "lab", "--name", "night", "--scope", "read").stdout.strip()
    prefix = secret[3:15]
    assert "night" in fumehood("admin", "key", "list", "lab").stdout
    assert fumehood("admin", "key", "rotate", "lab", prefix).stdout.startswith("fh_")
    assert fumehood("admin", "key", "revoke", "lab", prefix).exit_code == 0
    assert fumehood.stand.store.caller_of_key(secret) is None
    for verb, state in (("suspend", "suspended"), ("resume", "active")):
        assert state in fumehood("admin", "tenant", verb, "lab").stderr
    assert "suspend_tenant" in fumehood("admin", "audit").stdout
    assert fumehood("admin", "tenant", "delete", "lab", "--yes").stdout == made.stdout
    assert "deleting" in fumehood("admin", "tenant", "list").stdout
    assert fumehood("admin", "tenant", "receipt", made.stdout.strip()).exit_code == 2
    assert fumehood("admin", "tenant", "quota", "lab", "--set", "running_jobs").exit_code == 2
