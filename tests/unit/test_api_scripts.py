"""/v1/scripts over HTTP: publishing, what its check says, aliases, and what is refused."""

from __future__ import annotations

import io
from typing import Any

import pytest

from fumehood.job import Job, Kind, Lane
from fumehood.outcome import Reason
from fumehood.tenant import Scope
from tests.unit.front_desk import SCRIPT, Counter, Made, Stand, pointers, ran, slug

COLUMN = {"name": "a", "type": "int64", "nullable": False}
SAID = {
    "entry": {"parameters": [{"name": "n", "type": "int", "required": False, "default": 2}], "init": True},
    "schemas": {"inputs": {"dataset1": [COLUMN]}, "outputs": {"result": [COLUMN]}},
}


def publish(us: Counter, name: str = "score", *, headers: dict[str, str] | None = None, **document: Any) -> Any:
    return us.put(f"/v1/scripts/{name}", json={"script": SCRIPT, **document}, headers=headers)


@pytest.fixture
def stand(stand: Stand) -> Stand:
    """Its worker says what a runner says of a check."""

    def make(job: Job, content: bytes) -> Made:
        if job.kind is Kind.CHECK:
            made = ran()
            made.report = {**made.report, **SAID}
            return made
        return stand.worker._make(job, content)

    stand.worker.make = make
    return stand


@pytest.fixture
def us(stand: Stand) -> Counter:
    return stand.us


def ready(stand: Stand, count: int = 1, **document: Any) -> None:
    for _ in range(count):
        answer = publish(stand.us, **document)
        assert answer.status_code == 202, answer.text
    stand.worker.work(Lane.JOBS)


def test_a_version_is_acknowledged_checked_and_ready(stand: Stand, us: Counter) -> None:
    answer = publish(us, sample=us.dataset(), description="Stretches a.", limits={"wall_seconds": 7}, concurrency=3)
    assert (answer.status_code, answer.headers["location"]) == (202, "/v1/scripts/score/versions/1")
    record = answer.json()
    assert (record["state"], record["reason"], record["schemas"], record["parameters"]) == ("checking", None, None, None)
    assert (record["description"], record["limits"]["wall_seconds"], record["concurrency"]) == ("Stretches a.", 7, 3)
    (check,) = stand.worker.work(Lane.JOBS)
    assert check.id == record["job"]
    found = us.get(answer.headers["location"]).json()
    assert (found["state"], found["reason"], found["has_init"], found["image"]) == ("ready", "ok", True, f"sha256:{0:064}")
    assert found["schemas"] == SAID["schemas"]
    (parameter,) = found["parameters"]
    assert {**parameter, "description": ""} == {
        "name": "n", "type": "int", "required": False, "default": 2, "example": None, "description": "",
    }  # fmt: skip
    assert found["parts"]["script"]["bytes"] == len(SCRIPT)
    assert set(found["parts"]) == {"script", "sample"}
    assert us.get("/v1/scripts/score").json()["latest"] == 1


def test_prefer_waits_for_the_check_and_answers_201_however_it_ended(stand: Stand, us: Counter) -> None:
    stand.queue.awake = set(Lane)
    answer = publish(us, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["state"], answer.headers["preference-applied"]) == (201, "ready", "wait=20")
    stand.worker.make = lambda job, content: Made(Reason.SCRIPT_ERROR, "ValueError: no", error={"type": "ValueError", "message": "no"})
    answer = publish(us, headers={"Prefer": "wait=20"})
    record = answer.json()
    assert (answer.status_code, record["state"], record["reason"], record["blame"]) == (201, "refused", "script_error", "tenant")
    assert record["error"]["type"] == "ValueError"
    stand.queue.awake = set()
    assert publish(us, headers={"Prefer": "wait=0"}).status_code == 202


def test_the_check_is_a_job_that_is_read_followed_and_cancelled(stand: Stand, us: Counter) -> None:
    record = publish(us).json()
    job = us.get(f"/v1/jobs/{record['job']}").json()
    assert job["inputs"]["script"]["version"] == record["id"]
    assert [one["id"] for one in us.get("/v1/jobs").json()["items"]] == [record["job"]]
    assert us.post(f"/v1/jobs/{record['job']}/cancel").status_code == 202
    assert us.get("/v1/scripts/score/versions/1").json()["reason"] == "cancelled"
    assert us.delete(f"/v1/jobs/{record['job']}").status_code == 204
    assert us.get("/v1/scripts/score/versions/1").status_code == 200, "what the check found stays without it"


def test_files_come_as_parts_and_everything_is_the_versions_own(stand: Stand, us: Counter) -> None:
    files = {
        "version": (None, '{"description": "x"}', "application/json"),
        "script": ("s.py", io.BytesIO(SCRIPT.encode()), "text/x-python"),
        "sample": ("s.csv", io.BytesIO(b"a,b\n1,2\n"), "text/csv"),
        "bundle": ("b.zip", io.BytesIO(b"PK"), "application/zip"),
    }
    answer = us.put("/v1/scripts/score", files=files)
    assert answer.status_code == 202, answer.text
    assert [answer.json()["parts"][part]["bytes"] for part in ("script", "sample", "bundle")] == [len(SCRIPT), 8, 2]
    prefix = f"scripts/{answer.json()['id']}"
    assert sorted(path.split("/", 2)[2] for path in stand.kept()) == [f"{prefix}/bundle", f"{prefix}/sample", f"{prefix}/script.py"]


def test_a_stored_sample_and_bundle_may_be_deleted_the_version_has_its_own(stand: Stand, us: Counter) -> None:
    sample, bundle = us.dataset(b"a,b\n5,6\n"), us.dataset(b"PK12", "application/zip")
    record = publish(us, sample=sample, bundle=bundle).json()
    for dataset in (sample, bundle):
        assert us.delete(f"/v1/datasets/{dataset}").status_code == 204
    (check,) = stand.worker.work(Lane.JOBS)
    assert check.inputs["dataset1"].blob == f"scripts/{record['id']}/sample"
    assert len(record["parts"]["bundle"]["sha256"]) == 64
    with stand.desk.blobs.open(check.tenant, check.inputs["dataset1"].blob) as blob:
        assert blob.read() == b"ARROW1a,b\n5,6\n"


def test_the_same_request_with_its_key_makes_one_version(stand: Stand, us: Counter) -> None:
    key = {"Idempotency-Key": "k1"}
    first = publish(us, headers=key)
    again = publish(us, headers=key)
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.json()["id"], "true")
    assert len(stand.kept()) == 1
    assert slug(publish(us, "other", headers=key)) == "idempotency-reuse"
    stand.worker.work(Lane.JOBS)
    assert publish(us, headers={**key, "Prefer": "wait=5"}).status_code == 201


def test_lists_have_pages_and_the_source_is_the_script(stand: Stand, us: Counter) -> None:
    ready(stand, 3)
    publish(us, "other")
    page = us.get("/v1/scripts", params={"limit": 1}).json()
    assert [one["name"] for one in page["items"]] == ["other"]
    assert [one["name"] for one in us.get("/v1/scripts", params={"cursor": page["next"]}).json()["items"]] == ["score"]
    answer = us.get("/v1/scripts/score/versions", params={"limit": 2})
    assert [one["number"] for one in answer.json()["items"]] == [3, 2]
    assert 'rel="next"' in answer.headers["link"]
    source = us.get("/v1/scripts/score/versions/2/source")
    assert (source.text, source.headers["content-type"].partition(";")[0]) == (SCRIPT, "text/x-python")


def test_two_versions_are_compared_field_by_field(stand: Stand, us: Counter) -> None:
    ready(stand)
    publish(us, script=SCRIPT + "# changed\n", limits={"wall_seconds": 9}, description="new")
    SAID["schemas"]["outputs"]["result"].append({"name": "b", "type": "string", "nullable": True})  # type: ignore[index]
    try:
        stand.worker.work(Lane.JOBS)
    finally:
        SAID["schemas"]["outputs"]["result"].pop()  # type: ignore[index]
    found = us.get("/v1/scripts/score/versions/1/compare/2").json()
    fields = {one["field"]: (one["before"], one["after"]) for one in found["differences"]}
    assert set(fields) == {
        "/description", "/limits/wall_seconds", "/parts/script/bytes", "/parts/script/sha256", "/schemas/outputs/result/b",
    }  # fmt: skip
    assert fields["/limits/wall_seconds"][1] == 9
    assert fields["/schemas/outputs/result/b"] == (None, {"type": "string", "nullable": True})
    assert us.get("/v1/scripts/score/versions/2/compare/2").json()["differences"] == []


def test_aliases_are_set_shared_rolled_back_and_deleted(stand: Stand, us: Counter) -> None:
    ready(stand, 2)
    one, both = [{"number": 1, "share": 100}], [{"number": 2, "share": 10}, {"number": 1, "share": 90}]
    assert us.put("/v1/scripts/score/aliases/prod", json={"versions": [{"number": 1}]}).json()["versions"] == one
    moved = us.put("/v1/scripts/score/aliases/prod", json={"versions": both}).json()
    assert (moved["versions"], moved["previous"]) == (both, one)
    assert us.post("/v1/scripts/score/aliases/prod/rollback").json()["versions"] == one
    listed = us.get("/v1/scripts/score/aliases").json()["items"]
    assert [(alias["name"], alias["versions"][0]["number"]) for alias in listed] == [("latest", 2), ("prod", 1)]
    assert us.get("/v1/scripts/score").json()["aliases"] == listed
    assert slug(us.delete("/v1/scripts/score/versions/1")) == "conflict"
    assert us.delete("/v1/scripts/score/aliases/prod").status_code == 204
    assert us.delete("/v1/scripts/score/versions/1").status_code == 204
    assert us.get("/v1/scripts/score/aliases/prod").status_code == 404


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([], ["/versions"]),
        ([{"number": 1}] * 11, ["/versions"]),
        ([{"number": 7}], ["/versions/0/number"]),
        ([{"number": 0}], ["/versions/0/number"]),
        ([{"number": 2**40}], ["/versions/0/number"]),
        ([{"number": 1, "share": 50}], ["/versions"]),
        ([{"number": 1, "share": 50}, {"number": 2}], ["/versions/1/share"]),
        ([{"number": 1, "share": 50}, {"number": 1, "share": 50}], ["/versions/1/number"]),
        ([{"number": 1, "share": 0}], ["/versions/0/share"]),
        ([{"number": "1"}], ["/versions/0/number"]),
        ([{"number": 1, "portion": 1}], ["/versions/0/portion"]),
    ],
)
def test_an_alias_that_cannot_be_is_refused(stand: Stand, us: Counter, versions: list[Any], expected: list[str]) -> None:
    ready(stand, 2)
    assert pointers(us.put("/v1/scripts/score/aliases/prod", json={"versions": versions})) == expected
    assert [alias["name"] for alias in us.get("/v1/scripts/score/aliases").json()["items"]] == ["latest"]


def test_latest_is_nobodys_to_move(stand: Stand, us: Counter) -> None:
    ready(stand)
    assert pointers(us.put("/v1/scripts/score/aliases/latest", json={"versions": [{"number": 1}]})) == ["/path/alias"]
    assert slug(us.delete("/v1/scripts/score/aliases/latest")) == "conflict"
    assert slug(us.post("/v1/scripts/score/aliases/latest/rollback")) == "conflict"


@pytest.mark.parametrize("name", ["Score", "1score", "-score", "sc_ore", "s" * 64, "sc%00re", "%C3%A4"])
def test_a_name_that_cannot_be_is_refused_and_never_there(us: Counter, name: str) -> None:
    assert pointers(publish(us, name)) == ["/path/script"]
    for path in (name, f"{name}/versions", f"{name}/versions/1", f"{name}/aliases", f"{name}/aliases/prod"):
        assert slug(us.get(f"/v1/scripts/{path}")) == "not-found"
    assert us.delete(f"/v1/scripts/{name}").status_code == 404


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"script": "def f(:\n"}, ["/script"]),
        ({"sample": f"ds_{0:032}"}, ["/sample"]),
        ({"bundle": f"ds_{0:032}"}, ["/bundle"]),
        ({"concurrency": 0}, ["/concurrency"]),
        ({"concurrency": 101}, ["/concurrency"]),
        ({"description": "two\nlines"}, ["/description"]),
        ({"limits": {"wall_seconds": 10**9}}, ["/limits/wall_seconds"]),
        ({"parameters": {"n": {"type": "int"}}}, ["/parameters/n"]),
        ({"parameters": {"n": {"type": "int", "default": True}}}, ["/parameters/n/default"]),
        ({"parameters": {"n": {"type": "float", "example": "x"}}}, ["/parameters/n/example"]),
        ({"parameters": {"n": {"type": "number"}}}, ["/parameters/n/type"]),
        ({"parameters": {"n": {"type": "int", "default": 1, "is": 1}}}, ["/parameters/n/is"]),
        ({"parameters": {"n m": {"type": "int", "default": 1}}}, ["/parameters"]),
        ({"dataset1": f"ds_{0:032}"}, ["/dataset1"]),
    ],
)
def test_a_version_that_cannot_be_is_refused_and_leaves_nothing(
    stand: Stand, us: Counter, document: dict[str, Any], expected: list[str]
) -> None:
    assert pointers(publish(us, **document)) == expected
    assert us.get("/v1/scripts").json()["items"] == []
    stand.nothing_is_kept()


def test_a_null_default_and_every_type_are_taken(stand: Stand, us: Counter) -> None:
    parameters = {
        "a": {"type": "int", "default": 1},
        "b": {"type": "float", "default": 1},
        "c": {"type": "str", "default": None},
        "d": {"type": "bool", "example": False, "description": "whether"},
    }
    record = publish(us, parameters=parameters).json()
    assert us.get(f"/v1/jobs/{record['job']}").json()["parameters"] == {"a": 1, "b": 1, "c": None, "d": False}
    assert [(one["name"], one["required"]) for one in record["parameters"]] == [("a", False), ("b", False), ("c", False), ("d", True)]


def test_deleting_leaves_no_row_and_no_file(stand: Stand, us: Counter) -> None:
    ready(stand, 2)
    publish(us)
    assert slug(us.delete("/v1/scripts/score")) == "conflict"
    assert slug(us.delete("/v1/scripts/score/versions/3")) == "conflict"
    stand.worker.work(Lane.JOBS)
    assert us.delete("/v1/scripts/score/versions/2").status_code == 204
    assert [one["number"] for one in us.get("/v1/scripts/score/versions").json()["items"]] == [3, 1]
    assert us.delete("/v1/scripts/score").status_code == 204
    assert us.get("/v1/scripts/score").status_code == 404
    assert [path for path in stand.kept() if "/scripts/" in path] == []


def test_what_is_changed_stands_in_the_audit_log(stand: Stand, us: Counter) -> None:
    ready(stand)
    us.put("/v1/scripts/score/aliases/prod", json={"versions": [{"number": 1}]})
    us.delete("/v1/scripts/score/versions/1")
    us.delete("/v1/scripts/score")
    entries = [(entry.action, entry.target, entry.result) for entry in stand.store.list_audit()[0] if "dataset" not in entry.action]
    assert entries[:4][::-1] == [
        ("publish_version", "score/1", "ok"),
        ("set_alias", "score/prod", "ok"),
        ("delete_version", "score/1", "409"),
        ("delete_script", "score", "ok"),
    ]


def test_a_reader_may_look_and_not_publish(stand: Stand) -> None:
    _, secret = stand.store.create_key("default", name="", scopes=frozenset({Scope.READ}))
    reader = Counter(stand.served, secret)
    assert reader.get("/v1/scripts").status_code == 200
    assert slug(publish(reader)) == "forbidden"
