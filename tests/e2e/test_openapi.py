"""The walk over the OpenAPI document, short, against the service as it is run: real Redis, worker and sandboxes."""

from __future__ import annotations

import httpx

from tests.e2e.stand import EXAMPLES, TABLE, Stand, submit
from tests.openapi_walk import SCRIPT, Walk
from tests.services import until

# What they make stays, and others find it in the same service; the walk of the unit rung makes them.
LASTING = {"POST /v1/admin/tenants", "POST /v1/webhooks/secret/rotate"}
# In each of these a sandbox is started, or something goes that others need.
SLOW = {"POST /v1/datasets": 3, "POST /v1/jobs": 3, "POST /v1/batches": 3, "PUT /v1/scripts/{script}": 3}
SLOW |= {f"POST /v1/scripts/{{script}}/{what}": 3 for what in ("score", "jobs", "batches")}
SLOW |= {f"POST /compat/studio/workspaces/{{workspace}}/services/{{service}}/{what}": 3 for what in ("execute", "score", "jobs")}


def test_every_call_of_a_real_service_answers_as_the_document_says(stand: Stand, client: httpx.Client) -> None:
    table = TABLE.read_text()
    jobs = [submit(client, (EXAMPLES / "feature_importance.py").read_text(), table, wait_seconds=60)["id"]]
    jobs += [submit(client, "def azureml_main(frame):\n    raise ValueError\n", table, wait_seconds=60)["id"]]
    document = {"script": SCRIPT, "items": [{}, {}], "isolation": "batch"}
    batch = client.post("/v1/batches", json=document).raise_for_status().json()["id"]
    assert client.get(f"/v1/batches/{batch}", params={"wait": 60}).json()["finished_at"]
    dataset = client.post("/v1/datasets", content=table, headers={"Content-Type": "text/csv"}).raise_for_status().json()["id"]
    for _ in range(2):
        published = (
            client.put("/v1/scripts/score", json={"script": SCRIPT, "sample": dataset}, headers={"Prefer": "wait=60"})
            .raise_for_status()
            .json()
        )
        assert (published["state"], published["message"]) == ("ready", "")
    known = {
        "job_id": jobs,
        "DELETE job_id": jobs[1:],
        "dataset_id": [dataset],
        "batch_id": [batch],
        "script": ["score"],
        "service": ["score"],
        "DELETE script": ["none"],
        "alias": ["prod"],
        "other": ["1", "2"],
        "number": ["0", "1"],
        "n": ["0"],
        "digest": [image["digest"] for image in client.get("/v1/images").raise_for_status().json()["items"]],
        "port": ["script", "dataset1"],
    }
    key = stand.key_file.read_text().strip()
    with Walk(stand.address, key, known) as walk:
        operations = sorted(walk.operations(), key=lambda operation: operation.method == "delete")
        assert {operation.label for operation in operations} >= LASTING
        operations = [operation for operation in operations if operation.label not in LASTING]
        for operation in operations:
            walk.go(operation, "as described", examples=SLOW.get(operation.label, 6))
    assert {name: seen for name, seen in walk.seen.items() if max(seen) >= 500} == {}

    def over() -> bool:
        return not any(client.get("/v1/jobs", params={"state": state}).json()["items"] for state in ("queued", "running"))

    until(over, seconds=120, what="the walk's jobs end")
