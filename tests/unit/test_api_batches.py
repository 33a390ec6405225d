"""/v1/batches over HTTP, with a worker that makes the endings up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.batch_schemas import BatchItemDocument
from fumehood.job import Job, Kind
from fumehood.outcome import Reason
from tests.unit.front_desk import ARROW, CSV, SCRIPT, Made, Stand, pointers, ran, slug

PATH = "/v1/batches"


def submit(stand: Stand, items: list[dict[str, Any]] | None, headers: dict[str, str] | None = None, **document: Any) -> Any:
    given = {} if items is None else {"items": items}
    return stand.us.post(PATH, json={"script": SCRIPT, **given, **document}, headers=headers)


def batch(stand: Stand, count: int, **document: Any) -> dict[str, Any]:
    answer = submit(stand, [{"parameters": {"n": number}} for number in range(count)], **document)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def send(stand: Stand, tables: list[tuple[str, bytes, str]], parts: dict[str, Any] | None = None, **document: Any) -> Any:
    files = [("item", table) for table in tables] + list((parts or {}).items())
    return stand.us.post(PATH, files=[("batch", (None, json.dumps({"script": SCRIPT, **document}).encode(), "application/json")), *files])


def chunk_ran(stand: Stand, reasons: list[Reason]) -> Job:
    """What the worker makes of the next chunk: each good item returns `table <number>`, and each prints a line."""
    job = stand.worker.claim()
    assert job is not None
    assert job.kind is Kind.CHUNK
    result, log, said = b"", b"", []
    for item, reason in zip(stand.store.chunk_of(job).items, reasons, strict=True):
        result += bytes(-len(result) % 64)
        table, line = f"table {item.number}".encode(), f"lïne {item.number}\n".encode()
        good = reason is Reason.OK
        window = {"rows": item.number, "columns": [], "offset": len(result), "bytes": len(table)}
        said.append(
            {
                "number": item.number,
                "reason": reason.value,
                "message": "" if good else "it failed",
                "error": None if good else {"type": "ValueError", "message": "no", "traceback": "Traceback"},
                "result": window if good else None,
                "log": {"offset": len(log), "bytes": len(line), "truncated": False},
                "milliseconds": 4.0,
            }
        )
        result, log = result + table, log + line
    return stand.worker.finish(job, Made(outputs={"result": result, "log": log}, report={"items": said}))


def test_a_batch_is_acknowledged_with_its_counts_and_every_item_is_a_job(stand: Stand) -> None:
    record = batch(stand, 3, labels={"team": "blue"}, parameters={"shared": 1})
    assert record["counts"] == {"queued": 3, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert (record["isolation"], record["items"], record["labels"], record["finished_at"]) == ("item", 3, {"team": "blue"}, None)
    jobs = stand.us.get("/v1/jobs").json()["items"]
    first = stand.us.get(jobs[-1]["links"]["self"]).json()
    assert (first["batch"], first["item"], first["parameters"]) == (record["id"], 0, {"n": 0, "shared": 1})
    assert 1 <= len(stand.queue.sent) <= 3


def test_items_end_one_by_one_and_keep_what_their_jobs_left(stand: Stand) -> None:
    record = batch(stand, 2)
    stand.worker.work()
    here = f"{PATH}/{record['id']}"
    now = stand.us.get(here, params={"wait": 5}).json()
    assert now["counts"]["succeeded"] == 2
    assert now["finished_at"]
    items = stand.us.get(f"{here}/items").json()["items"]
    assert [(item["number"], item["state"], item["reason"], item["rows"]) for item in items] == [
        (0, "succeeded", "ok", 2),
        (1, "succeeded", "ok", 2),
    ]
    one = stand.us.get(items[1]["links"]["self"]).json()
    assert one["result"]["bytes"] == len(ran().outputs["result"])
    assert one["erasure"]["container"]
    assert stand.us.get(one["links"]["result"]).content == b"ARROW1-result"
    assert stand.us.get(one["links"]["result2"]).content == b"ARROW1-second"
    assert stand.us.get(one["links"]["log"]).text == "hello\nwörld �\n"
    assert stand.us.get(one["links"]["job"]).json()["id"] == one["job"]


def test_the_items_of_a_chunk_have_windows_of_what_it_left(stand: Stand) -> None:
    record = batch(stand, 3, isolation="batch")
    assert stand.us.get("/v1/jobs").json()["items"] == []
    chunk_ran(stand, [Reason.OK, Reason.TIMED_OUT, Reason.OK])
    here = f"{PATH}/{record['id']}"
    assert stand.us.get(here).json()["counts"]["failed"] == 1
    second, third = (stand.us.get(f"{here}/items/{number}").json() for number in (1, 2))
    assert (second["state"], second["reason"], second["blame"], second["error"]["type"]) == ("failed", "timed_out", "tenant", "ValueError")
    assert (second["job"], second["result"], second["milliseconds"]) == (None, None, 4.0)
    assert stand.us.get(f"{here}/items/1/result").status_code == 404
    answer = stand.us.get(third["links"]["result"])
    assert (answer.content, answer.headers["content-type"]) == (b"table 2", ARROW)
    assert answer.headers["etag"] != stand.us.get(f"{here}/items/0/result").headers["etag"]
    assert stand.us.get(third["links"]["result"], headers={"Range": "bytes=6-"}).content == b"2"
    assert stand.us.get(third["links"]["log"]).text == "lïne 2\n"
    assert (third["rows"], third["log"]["bytes"]) == (2, 8)


def test_a_window_is_converted_like_any_table(stand: Stand) -> None:
    record = batch(stand, 2, isolation="batch")
    chunk = chunk_ran(stand, [Reason.OK, Reason.OK])
    seen: list[Job] = []
    made = stand.worker.make
    stand.worker.make = lambda job, content: seen.append(job) or made(job, content)  # type: ignore[func-returns-value]
    answer = stand.us.get(f"{PATH}/{record['id']}/items/1/result", headers={"Accept": CSV})
    assert answer.content.startswith(b"csv of ")
    given = seen[0].inputs["dataset1"]
    assert (given.offset, given.bytes, given.source) == (64, 7, {"job": chunk.id, "output": "result"})


def test_a_chunk_that_ended_as_a_whole_has_no_log_of_its_items(stand: Stand) -> None:
    record = batch(stand, 1, isolation="batch")
    claimed = stand.worker.claim()
    assert claimed is not None
    stand.worker.finish(claimed, Made(Reason.OUT_OF_MEMORY, "too much", outputs={"log": b"of all items"}))
    item = stand.us.get(f"{PATH}/{record['id']}/items/0").json()
    assert (item["state"], item["reason"], item["message"], item["log"]["bytes"]) == ("failed", "out_of_memory", "too much", 0)
    assert stand.us.get(item["links"]["log"]).text == ""


def test_many_tables_come_as_parts_and_lie_in_one_file(stand: Stand) -> None:
    answer = send(stand, [("ä b.csv", b"a\n1\n", CSV), ("two", b"ARROW1", ARROW), ("three.csv", b"a\n3\n", "application/octet-stream")])
    record = answer.json()
    assert answer.status_code == 202, answer.text
    assert len([path for path in stand.kept() if path.endswith("/pack")]) == 1
    assert len(stand.kept()) == 2
    items = stand.us.get(f"{PATH}/{record['id']}/items").json()["items"]
    assert [item["name"] for item in items] == ["ä b.csv", "two", "three.csv"]
    inputs = [stand.us.get(f"/v1/jobs/{item['job']}/inputs/dataset1") for item in items]
    assert [given.content for given in inputs] == [b"a\n1\n", b"ARROW1", b"a\n3\n"]
    assert inputs[1].headers["content-type"] == ARROW
    job = stand.store.get_item(stand.store.list_batches(_tenant(stand))[0][0].tenant, record["id"], 2).job
    assert job.inputs["dataset1"].offset == 128


def test_parts_and_document_may_speak_of_the_same_items(stand: Stand) -> None:
    answer = send(stand, [("a.csv", b"a\n1\n", CSV), ("b.csv", b"a\n2\n", CSV)], items=[{"parameters": {"n": 1}}, {"name": "second"}])
    assert answer.status_code == 202, answer.text
    items = stand.us.get(f"{PATH}/{answer.json()['id']}/items").json()["items"]
    assert [item["name"] for item in items] == ["a.csv", "second"]
    assert stand.us.get(f"/v1/jobs/{items[0]['job']}").json()["parameters"] == {"n": 1}
    assert stand.us.get(f"/v1/jobs/{items[1]['job']}/inputs/dataset1").content == b"a\n2\n"


def _tenant(stand: Stand) -> str:
    found = stand.store.tenant_of_key(stand.key)
    assert found is not None
    return found.id


def test_stored_tables_and_earlier_outputs_are_items_too(stand: Stand) -> None:
    dataset, first = stand.us.dataset(), stand.us.job()
    stand.worker.work()
    answer = submit(stand, [{"dataset1": dataset}, {"dataset1": {"job": first, "output": "result"}, "dataset2": dataset}], dataset2=dataset)
    assert answer.status_code == 202, answer.text
    assert stand.us.delete(f"/v1/datasets/{dataset}").status_code == 409


def test_all_items_that_cannot_be_taken_are_named_and_nothing_is_stored(stand: Stand) -> None:
    gone = "ds_" + "0" * 32
    output = {"job": "x", "output": "result"}
    items = [{}, {"dataset1": gone}, {"parameters": {"not a name": 1}}, {"name": "two\nlines"}, {"dataset2": output}]
    assert pointers(submit(stand, items, labels={"": "x"})) == [
        "/labels",
        "/items/1/dataset1",
        "/items/2/parameters",
        "/items/3/name",
        "/items/4/dataset2/job",
    ]
    assert pointers(submit(stand, [{"dataset": gone}])) == ["/items/0/dataset"]
    assert pointers(submit(stand, [])) == ["/items"]
    assert pointers(submit(stand, None)) == ["/items"]
    assert pointers(submit(stand, [{}] * 10_001)) == ["/items"]
    assert pointers(submit(stand, [{}], isolation="none")) == ["/isolation"]
    assert pointers(send(stand, [("a.csv", b"a\n", CSV), ("b.xlsx", b"PK", "application/zip")])) == ["/items/1/dataset1"]
    assert pointers(send(stand, [("a.csv", b"a\n", CSV)], items=[{}, {}])) == ["/items"]
    assert pointers(send(stand, [("a.csv", b"a\n", CSV)], items=[{"dataset1": gone}])) == ["/items/0/dataset1"]
    stand.nothing_is_kept()
    assert stand.us.get(PATH).json()["items"] == []


def test_a_script_that_is_certainly_wrong_is_refused(stand: Stand) -> None:
    assert pointers(submit(stand, [{}], script="def other(): ...")) == ["/script"]
    assert pointers(stand.us.post(PATH, json={"items": [{}]})) == ["/script"]


def test_the_same_key_gives_the_same_batch(stand: Stand) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = submit(stand, [{}], key), submit(stand, [{}], key)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert slug(submit(stand, [{}, {}], key)) == "idempotency-reuse"
    assert slug(stand.us.submit(headers=key)) == "idempotency-reuse"
    assert len(stand.us.get(PATH).json()["items"]) == 1
    assert len(stand.kept()) == 1


@pytest.mark.parametrize("isolation", ["item", "batch"])
def test_a_cancel_ends_what_waits_and_wakes_who_waits_for_it(stand: Stand, isolation: str) -> None:
    record = batch(stand, 30, isolation=isolation)
    here = f"{PATH}/{record['id']}"
    answer = stand.us.post(f"{here}/cancel")
    assert (answer.status_code, answer.json()["cancel_requested"], answer.json()["counts"]["cancelled"]) == (202, True, 30)
    assert stand.us.get(here, params={"wait": 20}).json()["finished_at"]
    assert slug(stand.us.post(f"{here}/cancel")) == "conflict"
    assert {item["reason"] for item in stand.us.get(f"{here}/items").json()["items"]} == {"cancelled"}


def test_a_batch_is_forgotten_as_a_whole(stand: Stand) -> None:
    record = batch(stand, 2)
    here, items = f"{PATH}/{record['id']}", stand.us.get(f"{PATH}/{record['id']}/items").json()["items"]
    assert slug(stand.us.delete(here)) == "conflict"
    stand.worker.work()
    assert slug(stand.us.delete(f"/v1/jobs/{items[0]['job']}")) == "conflict"
    assert stand.us.delete(here).status_code == 204
    assert stand.us.get(here).status_code == 404
    assert stand.us.get(f"/v1/jobs/{items[0]['job']}").status_code == 404
    stand.nothing_is_kept()


def test_others_do_not_see_it(stand: Stand) -> None:
    record = batch(stand, 1)
    here = f"{PATH}/{record['id']}"
    for method, path in (("get", here), ("get", f"{here}/items"), ("get", f"{here}/items/0"), ("get", f"{here}/items/0/result"),
                         ("get", f"{here}/items/0/log"), ("post", f"{here}/cancel"), ("delete", here)):  # fmt: skip
        assert slug(getattr(stand.other, method)(path)) == "not-found", path
    assert stand.other.get(PATH).json()["items"] == []
    assert slug(stand.us.get(f"{here}/items/1")) == "not-found"
    assert slug(stand.us.get(f"{here}/items/0/log")) == "not-finished"
    assert slug(stand.us.get(f"{PATH}/bat_x")) == "not-found"


def test_items_and_batches_come_page_by_page(stand: Stand) -> None:
    made = [batch(stand, 5)["id"] for _ in range(3)]
    page = stand.us.get(PATH, params={"limit": 2})
    assert [each["id"] for each in page.json()["items"]] == made[:0:-1]
    assert 'rel="next"' in page.headers["link"]
    found, cursor = [], None
    while True:
        asked = {"limit": 2, "state": "queued"} | ({"cursor": cursor} if cursor else {})
        page = stand.us.get(f"{PATH}/{made[0]}/items", params=asked).json()
        found += [item["number"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [0, 1, 2, 3, 4]


def test_what_all_items_share_is_counted_for_each_that_is_a_job(stand: Stand) -> None:
    """A request of 60 kB must not become hundreds of megabytes of rows."""
    items: list[dict[str, Any]] = [{"parameters": {"n": number}} for number in range(600)]
    answer = submit(stand, items, parameters={"shared": "x" * 60_000})
    assert pointers(answer) == ["/parameters"]
    assert "the limit is 33,554,432, or take isolation batch" in answer.json()["errors"][0]["detail"]
    assert submit(stand, items, parameters={"shared": "x" * 60_000}, isolation="batch").status_code == 202
    assert submit(stand, items[:500], parameters={"shared": "x" * 60_000}).status_code == 202


def test_faults_are_looked_for_until_there_are_as_many_as_are_told(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Any] = []
    validate = BatchItemDocument.model_validate
    monkeypatch.setattr(BatchItemDocument, "model_validate", lambda entry: looked_at.append(entry) or validate(entry))
    answer = stand.us.post(PATH, json={"script": SCRIPT, "items": [{"wrong": 1}] * 9000})
    assert pointers(answer) == [f"/items/{number}/wrong" for number in range(50)]
    assert len(looked_at) == 50


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({f"f{number}": 0 for number in range(65)}, ""),
        ({"labels": {f"f{number}": 0 for number in range(65)}}, "/labels"),
        ({"items": [{"dataset1": {f"f{number}": 0 for number in range(65)}}]}, "/items/0/dataset1"),
        ({"items": [0] * 10_001}, "/items"),
    ],
)
def test_what_is_far_too_wide_is_one_fault(document: dict[str, Any], pointer: str, stand: Stand) -> None:
    assert pointers(stand.us.post(PATH, json=document)) == [pointer]


def test_an_item_that_failed_runs_again_and_its_record_says_how_often(stand: Stand) -> None:
    record = batch(stand, 2, on_failure="stop")
    here = f"/v1/batches/{record['id']}"
    first = stand.worker.claim()
    assert first is not None
    stand.worker.finish(first, Made(Reason.SCRIPT_ERROR, "ValueError: no"))
    stopped = stand.us.get(here).json()
    assert (stopped["on_failure"], stopped["stopped_by"], stopped["counts"]["cancelled"]) == ("stop", 0, 1)
    again = stand.us.post(f"{here}/items/0/retry")
    assert (again.status_code, again.json()["retries"], again.json()["state"]) == (202, 1, "queued"), again.text
    assert slug(stand.us.post(f"{here}/items/0/retry")) == "conflict"
    assert stand.us.get(f"{here}/result").status_code == 409
    assert stand.us.get(f"{here}/items/1/log").status_code == 200
    everything = stand.us.post(f"{here}/retry").json()
    assert (everything["counts"]["queued"], everything["stopped_by"], everything["finished_at"]) == (2, None, None)
    assert stand.us.post("/v1/batches/bat_0/retry").status_code == 404
