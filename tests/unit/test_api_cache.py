"""The result cache at the desk: the same job again has the earlier result at once, and everything else runs."""

from __future__ import annotations

from typing import Any

import pytest

from fumehood.outcome import Reason
from tests.unit.front_desk import ARROW, CSV, SCRIPT, Counter, Made, Stand, pointers

IMAGE = "sha256:" + "0" * 64  # which the made-up worker says it ran


@pytest.fixture(autouse=True)
def ready(stand: Stand) -> None:
    stand.store.worker_beat("wrk_test", {"ready": True, "image": IMAGE})


def ran(stand: Stand, us: Counter, **document: Any) -> str:
    """A job that asked for the cache, and has run."""
    job = us.job(**{"cache": True, **document})
    assert [done.id for done in stand.worker.work()] == [job]
    return job


def record_of(us: Counter, job: str) -> dict[str, Any]:
    record: dict[str, Any] = us.get(f"/v1/jobs/{job}").json()
    return record


def taken(us: Counter, **document: Any) -> dict[str, Any]:
    """The record of a job that is final at once."""
    answer = us.submit(**{"cache": True, **document})
    record: dict[str, Any] = answer.json()
    assert (answer.status_code, record["state"]) == (200, "succeeded"), answer.text
    return record


def runs(us: Counter, **document: Any) -> bool:
    answer = us.submit(**{"cache": True, **document})
    record = answer.json()
    assert (answer.status_code == 202) == (record["state"] == "queued") == (record["cached_from"] is None), answer.text
    return bool(answer.status_code == 202)


def test_the_same_job_again_has_the_earlier_result_at_once_and_says_whose(stand: Stand, us: Counter) -> None:
    first = record_of(us, ran(stand, us, labels={"run": "1"}))
    sent = len(stand.queue.sent)
    second = taken(us, labels={"run": "2"})
    assert first["cached_from"] is None
    assert second["cached_from"] == {"job": first["id"], "finished_at": first["finished_at"]}
    same = ("reason", "result", "result2", "figures", "artifacts", "outputs", "notes", "image", "parameters", "limits")
    assert {name: second[name] for name in same} == {name: first[name] for name in same}
    own = ("labels", "attempt", "started_at", "milliseconds", "start", "start_reason")
    assert [second[name] for name in own] == [{"run": "2"}, 0, None, {}, None, None]
    assert second["id"] != first["id"]
    assert second["created_at"] == second["finished_at"]
    assert set(second["usage"].values()) == {0}
    assert len(stand.queue.sent) == sent, "a job that has ended needs no sandbox"
    assert record_of(us, second["id"]) == second


def test_its_receipt_says_that_nothing_was_there(stand: Stand, us: Counter) -> None:
    ran(stand, us)
    gone = taken(us)["erasure"]
    named = ("attempt", "fence", "worker", "container", "container_id", "files", "bytes", "signature")
    assert [gone[name] for name in named] == [0, 0, None, None, None, 0, 0, None]


def test_everything_of_it_can_be_read_as_of_any_other(stand: Stand, us: Counter) -> None:
    first, second = record_of(us, ran(stand, us)), taken(us)
    for name in first["links"]:
        if name in ("self", "image", "cancel"):
            continue
        ours, theirs = (us.get(record["links"][name], headers={"Accept": "*/*"}) for record in (second, first))
        assert ours.status_code == theirs.status_code == 200, name
        if "href" not in ours.text:
            assert ours.content == theirs.content, name
    events = us.get(f"/v1/jobs/{second['id']}/log", headers={"Accept": "text/event-stream"}).text
    assert "hello" in events
    assert events.index("event: log") < events.index("event: end")


@pytest.mark.parametrize("deleted", [0, 1])
def test_either_can_be_deleted_and_the_other_keeps_its_result(stand: Stand, us: Counter, deleted: int) -> None:
    jobs = [ran(stand, us), taken(us)["id"]]
    assert us.delete(f"/v1/jobs/{jobs[deleted]}").status_code == 204
    left = jobs[1 - deleted]
    assert us.get(f"/v1/jobs/{left}/result", headers={"Accept": ARROW}).content == b"ARROW1-result"
    assert {path.split("/")[3] for path in stand.kept()} == {left}
    assert taken(us)["cached_from"]["job"] == jobs[0], "the one that is left is found, and the one that ran is named"
    assert us.delete(f"/v1/jobs/{left}").status_code == 204


def test_when_all_are_deleted_it_runs_again(stand: Stand, us: Counter) -> None:
    for job in (ran(stand, us), taken(us)["id"]):
        us.delete(f"/v1/jobs/{job}")
    assert runs(us)


def test_a_result_whose_bytes_are_gone_is_not_taken(stand: Stand, us: Counter) -> None:
    job = ran(stand, us)
    first = stand.store.get_job(tenant(stand), job)
    stand.desk.blobs.delete(first.tenant, first.output_blob("result2"))
    again = us.submit(cache=True)
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert [path for path in stand.kept() if again.json()["id"] in path] == [f"blobs/{first.tenant}/jobs/{again.json()['id']}/script.py"]


def test_who_did_not_ask_for_it_neither_gets_nor_gives_a_result(stand: Stand, us: Counter) -> None:
    us.job()
    stand.worker.work()
    assert runs(us), "the first one had not asked"
    stand.worker.work()
    assert us.submit().status_code == 202, "this one does not ask"


def test_a_job_that_failed_is_run_again(stand: Stand, us: Counter) -> None:
    stand.worker.make = lambda *_: Made(Reason.SCRIPT_ERROR, "no")
    ran(stand, us)
    assert runs(us)


def test_one_that_has_not_ended_is_not_waited_for(stand: Stand, us: Counter) -> None:
    us.job(cache=True)
    assert runs(us)


@pytest.mark.parametrize(
    "other",
    [
        {"script": SCRIPT + "\n"},
        {"parameters": {"a": 1.0}},
        {"parameters": {"a": True}},
        {"parameters": {"a": "1"}},
        {"parameters": {}},
        {"parameters": {"a": 1, "b": None}},
        {"limits": {"wall_seconds": 7}},
    ],
    ids=str,
)
def test_whatever_is_not_the_same_runs(stand: Stand, us: Counter, other: dict[str, Any]) -> None:
    ran(stand, us, parameters={"a": 1})
    assert runs(us, **{"parameters": {"a": 1}, **other})
    taken(us, parameters={"a": 1})


def test_the_order_of_parameters_and_limits_that_are_the_defaults_do_not_matter(stand: Stand, us: Counter) -> None:
    ran(stand, us, parameters={"a": 1, "b": {"c": 2, "d": 3}})
    default = stand.settings.limits.wall_seconds
    taken(us, parameters={"b": {"d": 3, "c": 2}, "a": 1}, limits={"wall_seconds": default})


def test_another_tenant_never_gets_it(stand: Stand, us: Counter) -> None:
    ran(stand, us)
    assert runs(stand.other)
    taken(us)


@pytest.mark.parametrize(
    "workers",
    [
        {"wrk_test": {"ready": True, "image": "sha256:" + "1" * 64}},
        {"wrk_2": {"ready": True, "image": "sha256:" + "1" * 64}},
        {"wrk_test": {"ready": False, "image": IMAGE}},
        {"wrk_test": {"ready": True}},
    ],
    ids=["another image", "two images", "no ready worker", "no image"],
)
def test_without_the_one_image_that_it_ran_in_it_runs(stand: Stand, us: Counter, workers: dict[str, dict[str, Any]]) -> None:
    ran(stand, us)
    for worker, facts in workers.items():
        stand.store.worker_beat(worker, facts)
    assert runs(us)


def test_a_job_that_ran_in_another_image_than_was_expected_gives_no_result(stand: Stand, us: Counter) -> None:
    other = "sha256:" + "1" * 64
    stand.store.worker_beat("wrk_test", {"ready": True, "image": other})
    ran(stand, us)  # the image was changed before it ran
    assert runs(us)


def test_datasets_and_files_count_by_their_bytes(stand: Stand, us: Counter) -> None:
    stored = us.dataset(b"a\n1\n")
    ran(stand, us, dataset1=stored)
    taken(us, dataset1=stored)
    assert runs(us, dataset1=us.dataset(b"a\n2\n"))
    assert runs(us, dataset2=stored)
    assert runs(us)
    stand.worker.work()
    sent = {"job": (None, '{"cache": true}', "application/json"), "script": ("s.py", SCRIPT), "dataset1": ("t.csv", b"a\n1\n", CSV)}
    assert us.post("/v1/jobs", files=sent).status_code == 202, "a file is read by the script's sandbox; a dataset was before"
    stand.worker.work()
    assert us.post("/v1/jobs", files=sent).status_code == 200
    assert us.post("/v1/jobs", files={**sent, "dataset1": ("t.csv", b"a\n2\n", CSV)}).status_code == 202
    assert us.post("/v1/jobs", files={**sent, "dataset1": ("t.json", b"a\n1\n", "application/json")}).status_code == 202


def test_a_chain_of_jobs_is_found_as_a_whole(stand: Stand, us: Counter) -> None:
    first = ran(stand, us)
    second = ran(stand, us, script=SCRIPT + "# 2", dataset1={"job": first, "output": "result"})
    again = taken(us)["id"]
    found = taken(us, script=SCRIPT + "# 2", dataset1={"job": again, "output": "result"})
    assert found["cached_from"]["job"] == second
    assert runs(us, script=SCRIPT + "# 2", dataset1={"job": again, "output": "result2"})


def test_an_idempotency_key_gives_the_same_job_again_with_200(stand: Stand, us: Counter) -> None:
    ran(stand, us)
    answers = [us.submit(cache=True, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true"]
    assert answers[0].json() == answers[1].json()
    assert len({path.split("/")[3] for path in stand.kept()}) == 2


def test_who_would_wait_does_not_have_to(stand: Stand, us: Counter) -> None:
    ran(stand, us)
    answer = us.submit(cache=True, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.headers["preference-applied"], answer.json()["state"]) == (200, "wait=30", "succeeded")


def test_a_disk_without_room_for_a_run_has_room_for_an_earlier_result(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(stand, us)
    monkeypatch.setattr(stand.desk.blobs, "free_bytes", lambda: 10_000)
    assert us.submit().status_code == 503
    taken(us)


def test_usage_counts_it_as_one_that_did_not_run(stand: Stand, us: Counter) -> None:
    ran(stand, us)
    taken(us)
    (row,) = us.get("/v1/usage").json()["items"]
    assert (row["jobs"], row["succeeded"], row["cached"], row["cpu_seconds"]) == (2, 1, 1, 0.25)


def test_cache_is_true_or_false(us: Counter) -> None:
    assert pointers(us.submit(cache="yes")) == ["/cache"]


def test_a_job_that_was_taken_over_is_found_in_lists_and_can_not_be_cancelled(stand: Stand, us: Counter) -> None:
    ran(stand, us)
    again = taken(us, labels={"a": "b"})
    assert [job["id"] for job in us.get("/v1/jobs?label=a:b&state=succeeded").json()["items"]] == [again["id"]]
    assert us.post(f"/v1/jobs/{again['id']}/cancel").status_code == 409
    assert stand.worker.claim() is None


def tenant(stand: Stand) -> str:
    (path, *_) = stand.kept()
    return path.split("/")[1]
