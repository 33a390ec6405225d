"""/v1/scripts/{script}/jobs and /batches over HTTP: runs of a version that nobody waits for."""

from __future__ import annotations

import io
from typing import Any

import pytest

from api.drafts import Draft
from api.problems import FIELDS_MAX
from fumehood.job import Kind, Lane
from tests.unit.front_desk import CSV, SCRIPT, Counter, Stand, pointers, slug
from tests.unit.test_api_scoring import COLUMN, NEEDING, Callee
from worker.expected import expected_of

IMAGE = "sha256:" + "0" * 64


@pytest.fixture
def callee(stand: Stand) -> Callee:
    """`score` was checked without a table, so a run need not have one; `stretch` with one."""
    stand.queue.awake = set(Lane)
    made = Callee(stand)
    for name, sample in (("score", None), ("stretch", stand.us.dataset())):
        bundle = stand.us.dataset(b"PK12", "application/zip")
        made.publish(name, limits={"wall_seconds": 7}, bundle=bundle, sample=sample)
    stand.queue.awake = {Lane.ERRANDS}
    return made


def submit(us: Counter, what: str = "jobs", *, of: str = "score", headers: dict[str, str] | None = None, **document: Any) -> Any:
    return us.post(f"/v1/scripts/{of}/{what}", json=document, headers=headers)


def test_a_job_of_a_script_has_what_its_version_has(callee: Callee, us: Counter) -> None:
    answer = submit(us, of="stretch", dataset1=us.dataset(), parameters={"n": 5, "x": 1}, limits={"memory_bytes": 2**28}, labels={"a": "b"})
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{answer.json()['id']}")
    (job,) = callee.stand.worker.work(Lane.JOBS)
    version = callee.stand.store.get_version(job.tenant, "stretch", 1)
    assert (job.kind, job.inputs["script"], job.inputs["bundle"]) == (Kind.SCRIPT, version.inputs["script"], version.inputs["bundle"])
    assert (expected_of(job, callee.stand.store), job.inputs["dataset1"].format) == ({"schema": {"dataset1": [COLUMN]}}, "arrow")
    assert job.parameters == {"n": 5, "x": 1, "word": "w", "flag": False}
    assert (job.limits.wall_seconds, job.limits.memory_bytes, job.labels, job.target_format) == (7, 2**28, {"a": "b"}, None)


def test_files_come_as_parts_but_no_script_and_no_bundle(callee: Callee, us: Counter) -> None:
    table = ("t.csv", io.BytesIO(b"a,b\n3,4\n"), CSV)
    answer = us.post("/v1/scripts/score/jobs", files={"dataset1": table})
    assert answer.status_code == 202, answer.text
    (job,) = callee.stand.worker.work(Lane.JOBS)
    assert job.inputs["dataset1"].blob == f"jobs/{job.id}/dataset1"
    for part in ("script", "bundle"):
        assert pointers(us.post("/v1/scripts/score/jobs", files={part: table})) == [f"/{part}"]
        assert pointers(us.post("/v1/scripts/score/batches", files={part: table})) == [f"/{part}"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"script": SCRIPT}, ["/script"]),
        ({"bundle": f"ds_{0:032}"}, ["/bundle", "/bundle"]),
        ({"parameters": {"n": "5"}}, ["/parameters/n"]),
        ({"parameters": {"flag": 1}}, ["/parameters/flag"]),
        ({"parameters": {"m": 1}}, ["/parameters/m"]),
        ({"limits": {"wall_seconds": 8}}, ["/limits/wall_seconds"]),
        ({"nothing": 1}, ["/nothing"]),
    ],
)
def test_what_a_version_does_not_let_be_said_is_named(callee: Callee, us: Counter, document: dict[str, Any], expected: list[str]) -> None:
    assert pointers(submit(us, **document)) == expected
    assert pointers(submit(us, "batches", items=[{}], **document)) == expected


def test_the_version_is_chosen_as_for_a_call(callee: Callee, us: Counter) -> None:
    for query, status in (
        ({"version": 1}, 202),
        ({"alias": "latest"}, 202),
        ({"version": 2}, 404),
        ({"alias": "prod"}, 404),
        ({"n": 1}, 422),
    ):
        for what, document in (("jobs", {}), ("batches", {"items": [{}]})):
            assert us.post(f"/v1/scripts/score/{what}", json=document, params=query).status_code == status, (what, query)
    assert submit(us, of="other").status_code == 404
    assert us.put("/v1/scripts/young", json={"script": SCRIPT}).status_code == 202
    assert slug(submit(us, of="young")) == "conflict"


def test_the_same_request_with_its_key_is_one_job_of_the_same_script(callee: Callee, us: Counter) -> None:
    callee.stand.queue.awake = set(Lane)
    callee.publish("other")
    callee.stand.queue.awake = {Lane.ERRANDS}
    for what, document in (("jobs", {}), ("batches", {"items": [{}]})):
        key = {"Idempotency-Key": f"key-{what}"}
        first = submit(us, what, headers=key, **document)
        again = submit(us, what, headers=key, **document)
        assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.json()["id"], "true")
        assert slug(submit(us, what, of="other", headers=key, **document)) == "idempotency-reuse"


@pytest.mark.parametrize(("what", "document"), [("jobs", {}), ("batches", {"items": [{}]})])
def test_the_first_answer_is_given_again_when_its_version_is_gone(what: str, document: dict[str, Any], callee: Callee, us: Counter) -> None:
    key = {"Idempotency-Key": "key"}
    first = submit(us, what, headers=key, **document)
    assert us.post(f"/v1/{what}/{first.json()['id']}/cancel").status_code in (200, 202)
    assert us.delete("/v1/scripts/score").status_code == 204
    again = submit(us, what, headers=key, **document)
    assert (again.status_code, again.json().get("id"), again.headers.get("idempotency-replayed")) == (
        first.status_code,
        first.json()["id"],
        "true",
    )
    assert submit(us, what, headers={"Idempotency-Key": "new"}, **document).status_code == 404


def test_prefer_waits_for_the_job(callee: Callee, us: Counter) -> None:
    callee.stand.queue.awake = set(Lane)
    answer = submit(us, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")


def test_a_version_that_a_job_or_a_batch_waits_for_is_not_deleted(callee: Callee, us: Counter) -> None:
    for what, document in (("jobs", {}), ("batches", {"items": [{}, {}]}), ("batches", {"items": [{}], "isolation": "batch"})):
        made = submit(us, what, **document).headers["location"]
        assert slug(us.delete("/v1/scripts/score")) == "conflict"
        assert us.post(f"{made}/cancel").status_code == 202
    assert us.delete("/v1/scripts/score").status_code == 204


def test_jobs_and_batches_are_not_among_the_calls_at_once(callee: Callee, us: Counter) -> None:
    callee.stand.queue.awake = set(Lane)
    callee.publish("narrow", concurrency=1, sample=None)
    callee.stand.queue.awake = {Lane.ERRANDS}
    assert [submit(us, of="narrow").status_code for _ in range(3)] == [202] * 3
    assert submit(us, "batches", of="narrow", items=[{}]).status_code == 202
    callee.stand.queue.awake = set(Lane)
    assert us.post("/v1/scripts/narrow/score").status_code == 200


@pytest.mark.parametrize("isolation", ["item", "batch"])
def test_the_items_of_a_batch_have_the_version_and_its_columns(callee: Callee, us: Counter, isolation: str) -> None:
    items = [{"dataset1": us.dataset(), "parameters": {"x": 1.5}}, {"name": "other", "dataset1": us.dataset()}]
    answer = submit(us, "batches", of="stretch", items=items, parameters={"n": 9}, isolation=isolation)
    assert answer.status_code == 202, answer.text
    record = answer.json()
    assert (record["limits"]["wall_seconds"], record["parameters"]) == (7, {"n": 9, "x": 0.5, "word": "w", "flag": False})
    version = us.get("/v1/scripts/stretch/versions/1").json()
    assert record["inputs"]["script"]["version"] == record["inputs"]["bundle"]["version"] == version["id"]
    jobs = []
    while (job := callee.stand.worker.claim()) is not None:
        jobs.append(job)
    if isolation == "batch":
        (chunk,) = jobs
        assert (chunk.kind, expected_of(chunk, callee.stand.store)) == (Kind.CHUNK, {"schema": {"dataset1": [COLUMN]}})
        return
    assert [expected_of(job, callee.stand.store) for job in jobs] == [{"schema": {"dataset1": [COLUMN]}}] * 2
    assert jobs[0].parameters == {"n": 9, "word": "w", "flag": False, "x": 1.5}


def test_what_is_told_of_unknown_parameters_is_bounded(callee: Callee, us: Counter) -> None:
    """However long the names are that somebody declared, and however many somebody else says."""
    long = {f"x{number}{'x' * 1200}": {"type": "int", "default": 1} for number in range(50)}
    callee.stand.queue.awake = set(Lane)
    callee.publish("wide", parameters=long)
    callee.stand.queue.awake = {Lane.ERRANDS}
    many = {f"p{number}": 1 for number in range(10_000)}
    answers = [
        submit(us, of="wide", parameters=many),
        submit(us, "batches", of="wide", items=[{"parameters": many}]),
        us.post("/v1/scripts/wide/score", params=dict.fromkeys(list(many)[:1000], "1")),
    ]
    for answer in answers:
        assert answer.status_code in (400, 422), answer.text[:500]
        assert 1 <= len(answer.json()["errors"]) <= FIELDS_MAX
        assert max(len(error["detail"]) for error in answer.json()["errors"]) < 1200


def test_a_draft_keeps_the_first_faults_and_no_more_than_anybody_is_shown() -> None:
    draft = Draft()
    for number in range(2 * FIELDS_MAX):
        assert draft.is_full == (number >= FIELDS_MAX)
        draft.fault(f"/{number}", "is wrong")
    assert [fault.pointer for fault in draft.faults] == [f"/{number}" for number in range(FIELDS_MAX)]


def test_parameters_of_an_item_are_held_against_their_types(callee: Callee, us: Counter) -> None:
    answer = submit(us, "batches", items=[{}, {"parameters": {"n": "x", "m": 1}}])
    assert pointers(answer) == ["/items/1/parameters/n", "/items/1/parameters/m"]


def test_a_run_without_the_table_that_its_version_expects_is_refused(callee: Callee, us: Counter) -> None:
    told = "is missing; expected a table with the column a"
    assert submit(us, of="stretch").json()["errors"] == [{"pointer": "/dataset1", "detail": told}]
    assert pointers(submit(us, of="stretch", dataset2=us.dataset())) == ["/dataset1"]
    answer = submit(us, "batches", of="stretch", items=[{"dataset1": us.dataset()}, {}, {"dataset2": us.dataset()}])
    assert answer.json()["errors"] == [{"pointer": f"/items/{number}/dataset1", "detail": told} for number in (1, 2)]
    assert pointers(submit(us, "batches", of="stretch", items=[{"dataset1": f"ds_{0:032}"}])) == ["/items/0/dataset1"], "named once"
    assert len(pointers(submit(us, "batches", of="stretch", items=[{}] * 10_000))) == FIELDS_MAX
    table = ("t.csv", io.BytesIO(b"a\n3\n"), CSV)
    assert us.post("/v1/scripts/stretch/jobs", files={"dataset1": table}).status_code == 202
    assert us.post("/v1/scripts/stretch/batches", files={"item": table}).status_code == 202


def test_a_run_without_a_parameter_that_has_no_default_is_refused(callee: Callee, us: Counter) -> None:
    callee.stand.queue.awake = set(Lane)
    callee.publish("needing", parameters=NEEDING, sample=None)
    callee.stand.queue.awake = {Lane.ERRANDS}
    told = {"factor": "is missing; expected a number", "count": "is missing; expected a whole number"}
    assert submit(us, of="needing").json()["errors"] == [{"pointer": f"/parameters/{name}", "detail": said} for name, said in told.items()]
    assert pointers(submit(us, of="needing", parameters={"factor": "x", "count": 1})) == ["/parameters/factor"]
    items = [{"parameters": {"factor": 1}}, {}, {"parameters": {"count": 2}}]
    assert pointers(submit(us, "batches", of="needing", items=items, parameters={"count": 1})) == [
        f"/items/{n}/parameters/factor" for n in (1, 2)
    ]
    assert len(pointers(submit(us, "batches", of="needing", items=[{}] * 10_000))) == FIELDS_MAX
    assert submit(us, of="needing", parameters={"factor": 1, "count": 1}).status_code == 202
    both = [{"parameters": {"factor": 1}}, {"parameters": {"factor": 2, "count": 2}}]
    assert submit(us, "batches", of="needing", items=both, parameters={"count": 1}).status_code == 202


def test_an_earlier_result_is_that_of_the_same_version_only(callee: Callee, us: Counter) -> None:
    """The same bytes of a script without its columns are another job."""
    stand, table = callee.stand, us.dataset()
    stand.store.worker_beat("wrk_test", {"ready": True, "image": IMAGE})
    stand.queue.awake = set(Lane)
    callee.publish("plain", parameters=None, sample=None)
    callee.publish("typed", parameters=None)
    callee.publish("again", parameters=None)
    stand.queue.awake = {Lane.ERRANDS}
    limits = us.get("/v1/scripts/typed/versions/1").json()["limits"]
    first = submit(us, of="typed", dataset1=table, cache=True).json()
    stand.worker.work(Lane.JOBS)
    same = submit(us, of="typed", dataset1=table, cache=True)
    assert (same.status_code, same.json()["cached_from"]["job"]) == (200, first["id"])
    assert submit(us, of="typed", dataset1=table, cache=True, limits={"wall_seconds": limits["wall_seconds"] - 1}).status_code == 202
    assert us.submit(dataset1=table, cache=True).status_code == 202
    for other in ("again", "plain", "score"):
        assert submit(us, of=other, dataset1=table, cache=True).status_code == 202
