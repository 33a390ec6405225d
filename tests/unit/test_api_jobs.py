"""/v1/jobs: submitting, waiting, cancelling, forgetting."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import pytest

from api import documents
from fumehood.blob_store import BlobStore
from fumehood.errors import BadField, Malformed
from fumehood.job import Job, Lane, State
from fumehood.outcome import Reason
from tests.services import until
from tests.unit.front_desk import ARROW, DISCONNECT, SCRIPT, Counter, Made, Stand, body, pointers, slug

ABSENT_JOB = f"job_{'0' * 32}"
FINAL_FIELDS = ("reason", "blame", "finished_at", "usage", "image", "erasure")


# submitting ------------------------------------------------------------------------------------------------------------


def test_a_job_is_accepted_with_its_record(stand: Stand, us: Counter) -> None:
    answer = us.submit(parameters={"n": [1, None, "x"]}, limits={"wall_seconds": 5}, labels={"team": "a b"})
    record = answer.json()
    assert (answer.status_code, answer.headers["location"], answer.headers["retry-after"]) == (202, record["links"]["self"], "1")
    assert (record["state"], record["queue_position"], record["attempt"]) == ("queued", 0, 0)
    assert (record["parameters"], record["limits"]["wall_seconds"], record["labels"]) == ({"n": [1, None, "x"]}, 5, {"team": "a b"})
    assert {name: record[name] for name in FINAL_FIELDS} == dict.fromkeys(FINAL_FIELDS)
    assert record["links"]["cancel"].endswith("/cancel")
    assert stand.kept() == [f"blobs/{stand.store.get_job(_tenant(stand), record['id']).tenant}/jobs/{record['id']}/script.py"]
    assert stand.queue.sent == [Lane.JOBS]


def test_a_finished_job_shows_everything(stand: Stand, us: Counter) -> None:
    job = us.job()
    stand.worker.work()
    record = us.get(f"/v1/jobs/{job}").json()
    assert {name: record[name] for name in ("state", "reason", "blame", "attempt", "attempts_max", "figures", "artifacts")} == {
        "state": "succeeded", "reason": "ok", "blame": "nobody", "attempt": 1, "attempts_max": 3, "figures": 2, "artifacts": 1,
    }  # fmt: skip
    assert record["result"] == {"bytes": 13, "rows": 2, "columns": [{"name": "a", "type": "int64", "nullable": False}]}
    assert record["result2"] == {"bytes": 13, "rows": None, "columns": []}
    assert record["usage"] == {"wall_seconds": 0.5, "cpu_seconds": 0.25, "memory_peak_bytes": 1000, "bytes_in": len(SCRIPT), "bytes_out": 5}
    assert record["erasure"] == {
        "version": "fumehood.erasure/1", "job": job, "attempt": 1, "fence": 1, "worker": "wrk_test",
        "container": "fumehood-test", "container_id": "c0" * 32, "began_at": "2023-11-14T22:13:10.000Z",
        "files": 7, "bytes": 1024, "erased_at": "2023-11-14T22:13:20.000Z", "key": None, "signature": None,
    }  # fmt: skip
    assert record["outputs"] == {"result": 13, "result2": 13, "log": 15, "files": 19}
    assert record["notes"][0]["to"] == "a (2)"
    assert record["milliseconds"] == {"run": 12.5}
    assert record["created_at"] <= record["started_at"] <= record["finished_at"]
    rests = ("inputs", "log", "figures", "artifacts", "result", "result2", "result/preview", "result2/preview")
    assert record["links"] == {
        "self": f"/v1/jobs/{job}",
        **{rest.replace("/", "_"): f"/v1/jobs/{job}/{rest}" for rest in rests},
        "image": f"/v1/images/{record['image']}/packages",
    }
    assert {us.get(record["links"][name]).status_code for name in record["links"] if name != "image"} == {200}


def test_a_failed_job_is_no_error_of_the_api(stand: Stand, us: Counter) -> None:
    job = us.job()
    error = {"type": "ValueError", "message": "half \ud800", "line": 7, "value": float("nan")}
    stand.worker.make = lambda *_: Made(
        Reason.SCRIPT_ERROR, "ValueError in line 7 \ud800", error, {"log": b"x"}, {"notes": "nonsense", "result": [1]}
    )
    stand.worker.work()
    answer = us.get(f"/v1/jobs/{job}")
    record = answer.json()
    assert (answer.status_code, record["state"], record["reason"], record["blame"]) == (200, "failed", "script_error", "tenant")
    assert record["error"] == {"type": "ValueError", "message": "half ?", "line": 7, "value": None}
    assert (record["message"], record["notes"], record["result"]) == ("ValueError in line 7 ?", [], None)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"script": None}, "/script"),
        ({"script": 5}, "/script"),
        ({"script": "x = '\0'"}, "/script"),
        ({"script": "#" * 2000}, "/script"),
        *(({"priority": each}, "/priority") for each in (11, -11, 1.0, "1", True, 10**30)),
        ({"dataset1": 5}, "/dataset1"),
        ({"dataset1": f"ds_{'0' * 32}"}, "/dataset1"),
        ({"dataset2": "\0"}, "/dataset2"),
        ({"dataset1": []}, "/dataset1"),
        ({"dataset1": {"job": ABSENT_JOB}}, "/dataset1/output"),
        ({"dataset1": {"job": ABSENT_JOB, "output": "log"}}, "/dataset1/output"),
        ({"dataset1": {"job": ABSENT_JOB, "output": "result", "rows": 1}}, "/dataset1/rows"),
        ({"dataset1": {"job": ABSENT_JOB, "output": "result"}}, "/dataset1/job"),
        ({"bundle": {"job": ABSENT_JOB, "output": "result"}}, "/bundle"),
        ({"bundle": "nonsense"}, "/bundle"),
        ({"parameters": []}, "/parameters"),
        ({"parameters": {"not an identifier": 1}}, "/parameters"),
        ({"parameters": {"class": 1}}, "/parameters"),
        ({"parameters": {"a": "x" * 65_536}}, "/parameters"),
        ({"limits": 5}, "/limits"),
        ({"limits": {"cpus": 0}}, "/limits/cpus"),
        ({"limits": {"cpus": -1}}, "/limits/cpus"),
        ({"limits": {"cpus": True}}, "/limits/cpus"),
        ({"limits": {"cpus": "1"}}, "/limits/cpus"),
        ({"limits": {"cpus": None}}, "/limits/cpus"),
        ({"limits": {"wall_seconds": 3601}}, "/limits/wall_seconds"),
        ({"limits": {"memory_bytes": 1.5e9 + 0.5}}, "/limits/memory_bytes"),
        ({"limits": {"memory_bytes": 10**200}}, "/limits/memory_bytes"),
        ({"limits": {"bundle_entries": 5}}, "/limits/bundle_entries"),
        ({"limits": {"memory_bytes": 2**28, "disk_bytes": 2**28}}, "/limits/disk_bytes"),
        ({"labels": {"": "a"}}, "/labels"),
        ({"labels": {"a:b": "a"}}, "/labels"),
        ({"labels": {"a" * 64: "a"}}, "/labels"),
        ({"labels": {"a": "b" * 129}}, "/labels/a"),
        ({"labels": {"a": "line\nbreak"}}, "/labels/a"),
        ({"labels": {"a": 5}}, "/labels/a"),
        ({"labels": {f"a{n}": "" for n in range(17)}}, "/labels"),
        ({"callback_url": 5}, "/callback_url"),
        ({"callback_url": ""}, "/callback_url"),
        ({"callback_url": "ftp://example.com/"}, "/callback_url"),
        ({"callback_url": "https://user:pw@example.com/"}, "/callback_url"),
        ({"callback_url": "http://127.0.0.1:8765/v1/jobs"}, "/callback_url"),
        ({"callback_url": "http://[::ffff:169.254.169.254]/latest/meta-data"}, "/callback_url"),
        ({"callback_url": "http://redis:6379/"}, "/callback_url"),
        ({"wat/er~": 1}, "/wat~1er~0"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_a_bad_field_is_named(narrow: Stand, document: dict[str, Any], pointer: str) -> None:
    answer = narrow.us.submit(**document)
    assert slug(answer) == "bad-request"
    assert pointers(answer) == [pointer]
    assert all(entry["detail"] for entry in answer.json()["errors"])
    assert (narrow.kept(), narrow.queue.sent, narrow.us.get("/v1/jobs").json()["items"]) == ([], [], [])


def test_every_bad_field_is_named_at_once(narrow: Stand) -> None:
    answer = narrow.us.submit(labels={"": ""}, parameters={"1": 1}, limits={"cpus": 0, "figures": -1}, bundle="x")
    assert sorted(pointers(answer)) == ["/bundle", "/labels", "/limits/cpus", "/limits/figures", "/parameters"]


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"[]", b"5", b'{"script": "a"} x', b'{"script": NaN}', b'{"limits": {"cpus": Infinity}}', b'{"limits": {"cpus": 1e999}}',
        b'{"script": "a", "script": "b"}', b'\xef\xbb\xbf{"script": "a"}',
        '{"script": "ä"}'.encode("latin-1"), '{"script": "a"}'.encode("utf-16"),
        b'{"script": "\\ud800"}', b'{"parameters": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}", b"[" * 100_000,
        b'{"parameters": {"a": ' + b"9" * 5000 + b"}}",
        b'{"parameters": {"a": [' + b"0," * 100_001 + b"0]}}", b"{'script': 1}", b'{"script": "a\nb"}',
    ],
    ids=lambda value: repr(value[:40]),
)  # fmt: skip
def test_malformed_json_is_400(narrow: Stand, document: bytes) -> None:
    answer = narrow.us.post("/v1/jobs", content=document, headers={"Content-Type": "application/json"})
    assert (answer.status_code, slug(answer)) == (400, "malformed")


def test_a_repeated_name_among_many_is_found_at_once() -> None:
    names = [f"n{number}" for number in range(20_000)]
    document = "{" + ",".join(f'"{name}":0' for name in [*names, names[-1]]) + "}"
    began = time.process_time()
    with pytest.raises(Malformed, match="'n19999' stands twice"):
        documents.parse_object(document.encode())
    assert time.process_time() - began < 1.0, "looking for the repeated name takes more than one pass"


@pytest.mark.parametrize("media_type", ["text/plain", "", "application/json; charset=latin-1", "application/x-www-form-urlencoded"])
def test_other_media_types_are_415(narrow: Stand, media_type: str) -> None:
    answer = narrow.us.post("/v1/jobs", content=b"{}", headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["available"]) == (415, ["application/json", "multipart/form-data"])


def test_a_document_above_the_limit_is_413(open_stand: Callable[..., Stand]) -> None:
    assert open_stand(document_bytes=100).us.submit(script="#" * 100).status_code == 413


def test_too_little_disk_refuses_a_job(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(disk_floor_bytes=2**60)
    answer = stand.us.submit()
    assert (answer.status_code, slug(answer)) == (503, "disk-full")
    stand.nothing_is_kept()


def test_an_upload_that_meets_the_floor_on_its_way_is_refused(open_stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.blob_files._LOOK_EVERY_BYTES", 256 * 1024)
    stand, mib = open_stand(disk_floor_bytes=20 * 2**20), 2**20
    incoming = stand.settings.home / "incoming"
    monkeypatch.setattr(BlobStore, "free_bytes", lambda _: 21 * mib - sum(path.stat().st_size for path in incoming.iterdir()))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield b"a,b\n" * (mib // 16)

    answers = [
        stand.us.post("/v1/datasets", content=chunks(), headers={"Content-Type": "text/csv"}),
        stand.us.post("/v1/jobs", files={"script": ("s.py", SCRIPT.encode()), "dataset1": ("a.csv", b"a,b\n" * mib)}),
    ]
    assert [(answer.status_code, slug(answer)) for answer in answers] == [(503, "disk-full")] * 2
    assert all("of the body" in answer.json()["detail"] and "retry-after" in answer.headers for answer in answers)
    stand.nothing_is_kept()
    assert stand.queue.sent == []


def test_redis_away_does_not_refuse_a_job(stand: Stand, us: Counter) -> None:
    stand.queue.away = stand.events.away = True
    job = us.job()
    stand.worker.work()
    assert us.get(f"/v1/jobs/{job}", params={"wait": "5"}).json()["state"] == "succeeded"


@pytest.mark.parametrize(
    ("script", "line", "words"),
    [
        ("import pandas\ndef azureml_main(:\n", 2, "line 2, column 18"),
        ("def main(a):\n    return a\n", None, "never defines azureml_main"),
        ("\nasync def azureml_main(a=None):\n    return a\n", 2, "async"),
        ("class azureml_main: pass\n", 1, "class"),
    ],
)
def test_a_script_that_cannot_work_is_refused_before_queueing(narrow: Stand, script: str, line: int | None, words: str) -> None:
    answer = narrow.us.submit(script=script)
    assert pointers(answer) == ["/script"]
    entry = answer.json()["errors"][0]
    assert words in entry["detail"]
    assert entry.get("line") == line


def test_a_syntax_error_shows_line_and_caret(us: Counter) -> None:
    entry = us.submit(script="def azureml_main(a):\n\treturn a +\n").json()["errors"][0]
    assert (entry["line"], entry["column"], entry["caret"]) == (2, 12, "\treturn a +\n\t          ^")


def test_a_script_that_takes_too_few_datasets_is_refused(us: Counter) -> None:
    script, dataset = "def azureml_main(a):\n    return a\n", us.dataset()
    assert us.submit(script=script, dataset1=dataset).status_code == 202
    assert us.submit(script=script, dataset2=dataset).status_code == 202
    assert pointers(us.submit(script=script, dataset1=dataset, dataset2=dataset)) == ["/script"]


@pytest.mark.parametrize("script", ["\ufeff" + SCRIPT, SCRIPT.replace("\n", "\r\n"), "\f" + SCRIPT, SCRIPT + "# ü 漢\n"])
def test_marks_line_ends_and_form_feeds_are_accepted(us: Counter, script: str) -> None:
    assert us.submit(script=script).status_code == 202


def test_an_older_service_checks_nothing(open_stand: Callable[..., Stand]) -> None:
    assert open_stand(image_python="3.99").us.submit(script="def main(:").status_code == 202


# inputs ----------------------------------------------------------------------------------------------------------------


def test_stored_inputs_are_named_and_not_copied(stand: Stand, us: Counter) -> None:
    csv, arrow, bundle = us.dataset(b"a\n1\n"), us.dataset(b"arrow", ARROW), us.dataset(b"PK", "application/zip")
    before = len(stand.kept())
    record = us.submit(dataset1=csv, dataset2=arrow, bundle=bundle).json()
    assert record["inputs"]["dataset1"] == {"dataset": csv, "format": "arrow", "bytes": 10}
    assert record["inputs"]["dataset2"] == {"dataset": arrow, "format": "arrow", "bytes": 11}
    assert record["inputs"]["bundle"] == {"dataset": bundle, "format": "zip", "bytes": 2}
    assert len(stand.kept()) == before + 1


def test_formats_must_fit_their_ports(us: Counter) -> None:
    table, bundle = us.dataset(), us.dataset(b"PK", "application/zip")
    assert pointers(us.submit(dataset1=bundle, bundle=table)) == ["/dataset1", "/bundle"]


def test_an_output_of_a_job_is_an_input_of_the_next(stand: Stand, us: Counter) -> None:
    first = us.job()
    reference = {"job": first, "output": "result2"}
    assert pointers(us.submit(dataset1=reference)) == ["/dataset1/job"]
    stand.worker.work()
    record = us.submit(dataset1=reference).json()
    assert record["inputs"]["dataset1"] == {**reference, "format": "arrow", "bytes": 13}
    assert us.delete(f"/v1/jobs/{first}").status_code == 409
    stand.worker.make = lambda *_: Made(Reason.SCRIPT_ERROR, outputs={"log": b""})
    failed = us.job()
    stand.worker.work()
    assert pointers(us.submit(dataset1={"job": failed, "output": "result"})) == ["/dataset1/output"]


def test_things_of_another_tenant_are_no_inputs(stand: Stand, us: Counter) -> None:
    job = stand.other.job()
    stand.worker.work()
    theirs = us.submit(
        dataset1=stand.other.dataset(), dataset2={"job": job, "output": "result"}, bundle=stand.other.dataset(b"PK", "application/zip")
    )
    assert pointers(theirs) == ["/dataset1", "/dataset2/job", "/bundle"]


def test_slow_scripts_hold_up_neither_files_nor_one_another_for_long(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.desk.CHECK_WAIT_SECONDS", 0.1)
    began, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_: Any, **__: Any) -> None:
        began.release()
        assert go_on.wait(20)

    monkeypatch.setattr(stand.desk.checker, "check", slow)
    with ThreadPoolExecutor(12) as pool:
        submits = [pool.submit(us.submit) for _ in range(12)]
        try:
            assert began.acquire(timeout=10)
            assert began.acquire(timeout=10)
            until(lambda: sum(submit.done() for submit in submits) == 10, seconds=10, what="the answers that did not wait for a check")
            assert us.upload().status_code == 201
        finally:
            go_on.set()
        assert [submit.result(20).status_code for submit in submits] == [202] * 12
    assert not began.acquire(blocking=False), "more than two checks at once"


def test_a_finding_counts_however_long_the_check_took(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.desk.CHECK_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(stand.desk.checker, "check", lambda *_, **__: threading.Event().wait(0.2) or BadField("/script", "is wrong"))
    assert pointers(us.submit()) == ["/script"]


# multipart ---------------------------------------------------------------------------------------------------------------

FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + end


def test_a_form_brings_script_and_files(stand: Stand, us: Counter) -> None:
    files = {
        "job": (None, json.dumps({"labels": {"a": "b"}}).encode(), "application/json"),
        "script": ("s.py", SCRIPT.encode(), "text/x-python"),
        "dataset1": ("t.csv", b"a\n1\n" * 200_000, "text/csv"),
        "dataset2": ("t.arrow", b"ARROW1", "application/octet-stream"),
        "bundle": ("m.zip", b"PK\r\n--not the boundary\r\n", "application/zip"),
    }
    answer = us.post("/v1/jobs", files=files)
    assert answer.status_code == 202, answer.text
    record = answer.json()
    assert record["labels"] == {"a": "b"}
    assert {port: (entry["format"], entry["bytes"]) for port, entry in record["inputs"].items()} == {
        "script": ("python", len(SCRIPT)), "dataset1": ("csv", 800_000), "dataset2": ("arrow", 6), "bundle": ("zip", 24),
    }  # fmt: skip
    job = stand.store.get_job(_tenant(stand), record["id"])
    for port, (_, data, _) in files.items():
        if port != "job":
            with stand.desk.blobs.open(job.tenant, job.inputs[port].blob) as blob:
                assert blob.read() == data


def test_a_form_without_document_is_enough(us: Counter) -> None:
    assert us.post("/v1/jobs", files={"script": ("s.py", SCRIPT.encode())}).status_code == 202


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 400, "malformed"),
        (b"nonsense", 400, "malformed"),
        (form(("name=script", SCRIPT.encode()), end=b""), 400, "malformed"),
        (form(("name=script", SCRIPT.encode()), end=b"--b"), 400, "malformed"),
        (form(("name=script", SCRIPT.encode()), ("name=job", b"{")), 400, "malformed"),
        (form(("name=script\r\n" + "\r\n".join(f"X-{n}: 1" for n in range(20)), SCRIPT.encode())), 400, "malformed"),
        (form(("name=script; x=" + "y" * 5000, SCRIPT.encode())), 400, "malformed"),
        (form(("name=script", SCRIPT.encode()), ("name=script", SCRIPT.encode())), 422, "bad-request"),
        (form(("name=script", SCRIPT.encode()), ("name=files", b"")), 422, "bad-request"),
        (form(("filename=script", SCRIPT.encode())), 422, "bad-request"),
        (form(("name=script", b"x\xff")), 422, "bad-request"),
        (form(("name=script", SCRIPT.encode()), ("name=job", b'{"script": "x"}')), 422, "bad-request"),
        (form(("name=script", SCRIPT.encode()), ("name=dataset1", b"a")), 415, "unsupported-format"),
        (form(("name=script", SCRIPT.encode()), ('name=dataset1; filename="a.zip"', b"a")), 415, "unsupported-format"),
        (form(("name=script", SCRIPT.encode()), ('name=bundle; filename="a.csv"', b"a")), 415, "unsupported-format"),
        (form(("name=script", b"#" * 2000)), 413, "too-large"),
        (form(("name=script", SCRIPT.encode()), ('name=dataset1; filename="a.csv"', b"a" * 101)), 413, "too-large"),
        (form(("name=script", SCRIPT.encode()), ('name=bundle; filename="a.zip"', b"a" * 51)), 413, "too-large"),
        (form(*[("name=script", b"")] * 10_000), 422, "bad-request"),
    ],
    ids=lambda value: repr(value[-60:]) if isinstance(value, bytes) else None,
)  # fmt: skip
def test_a_bad_form_leaves_nothing(narrow: Stand, content: bytes, status: int, kind: str) -> None:
    answer = narrow.us.post("/v1/jobs", content=content, headers=FORM)
    assert (answer.status_code, slug(answer)) == (status, kind)
    narrow.nothing_is_kept()
    assert narrow.queue.sent == []


@pytest.mark.parametrize("name", [b"a\x00.csv", b"a\x1b.csv", b"a\xed\xa0\x80.csv", b"\xff.csv", "a\u2028.csv".encode()])
def test_a_file_name_that_cannot_be_shown_is_refused(narrow: Stand, name: bytes) -> None:
    content = form(("name=script", SCRIPT.encode()), ('name=dataset1; filename="NAME"', b"a")).replace(b"NAME", name)
    answer = narrow.us.post("/v1/jobs", content=content, headers=FORM)
    assert pointers(answer) == ["/dataset1"]
    narrow.nothing_is_kept()


def test_a_file_name_in_another_script_is_fine(us: Counter) -> None:
    assert us.post("/v1/jobs", files={"script": ("s.py", SCRIPT.encode()), "dataset1": ("дані äß.csv", b"a\n1\n")}).status_code == 202


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"]
)
def test_a_form_needs_a_boundary(narrow: Stand, content_type: str) -> None:
    assert narrow.us.post("/v1/jobs", content=form(), headers={"Content-Type": content_type}).status_code == 400


def test_a_form_that_is_cut_off_leaves_nothing(stand: Stand) -> None:
    whole = form(("name=script", SCRIPT.encode()), ('name=dataset1; filename="a.csv"', b"a\n" * 500_000), end=b"")
    stand.exchange("POST", "/v1/jobs", [*body(whole, more=True), DISCONNECT], FORM)
    stand.nothing_is_kept()
    assert stand.us.get("/v1/jobs").json()["items"] == []


def test_when_the_row_cannot_be_written_the_blobs_go(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(stand.store), "submit", broken)
    answer = us.submit()
    assert (answer.status_code, slug(answer)) == (500, "internal")
    assert "secret" not in answer.text
    stand.nothing_is_kept()


# idempotency -------------------------------------------------------------------------------------------------------------

KEY = {"Idempotency-Key": "k-1"}


def test_the_same_request_again_gives_the_first_answer(stand: Stand, us: Counter) -> None:
    first, again = us.submit(headers=KEY), us.submit(headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert len(stand.kept()) == 1
    assert stand.queue.sent == [Lane.JOBS]


def test_another_request_with_the_key_is_refused(stand: Stand, us: Counter) -> None:
    us.submit(headers=KEY)
    answer = us.submit(headers=KEY, labels={"a": "b"})
    assert (answer.status_code, slug(answer)) == (422, "idempotency-reuse")
    assert len(stand.kept()) == 1


def test_a_refused_request_does_not_use_its_key_up(us: Counter) -> None:
    assert us.submit(headers=KEY, labels={"": ""}).status_code == 422
    assert us.submit(headers=KEY).status_code == 202


def test_a_key_belongs_to_its_tenant(stand: Stand, us: Counter) -> None:
    ours, theirs = us.submit(headers=KEY), stand.other.submit(headers=KEY)
    assert theirs.status_code == 202
    assert theirs.json()["id"] != ours.json()["id"]


def test_spelling_order_boundary_and_parts_do_not_matter(us: Counter) -> None:
    first = us.submit(headers=KEY, labels={"a": "1", "b": "2"})
    document = json.dumps({"labels": {"b": "2", "a": "1"}, "script": SCRIPT}, indent=3, ensure_ascii=True).encode()
    again = us.post("/v1/jobs", content=document, headers={**KEY, "Content-Type": "application/json"})
    parts = {"script": ("other.py", SCRIPT.encode()), "job": (None, b'{"labels": {"a": "1", "b": "2"}}', "application/json")}
    forms = [us.post("/v1/jobs", files=parts, headers=KEY) for _ in range(2)]
    assert {answer.json()["id"] for answer in (first, again, *forms)} == {first.json()["id"]}


def test_the_bytes_of_a_form_do_matter(us: Counter) -> None:
    files = {"script": ("s.py", SCRIPT.encode()), "dataset1": ("a.csv", b"a\n1\n")}
    assert us.post("/v1/jobs", files=files, headers=KEY).status_code == 202
    assert us.post("/v1/jobs", files=files, headers=KEY).headers["idempotency-replayed"] == "true"
    assert us.post("/v1/jobs", files={**files, "dataset1": ("a.csv", b"a\n2\n")}, headers=KEY).status_code == 422


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "tab\t"])
def test_a_bad_key_is_refused(narrow: Stand, key: str) -> None:
    assert pointers(narrow.us.submit(headers={"Idempotency-Key": key})) == ["/header/idempotency-key"]


def test_requests_at_once_with_one_key_make_one_job(stand: Stand, us: Counter) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: us.submit(headers=KEY), range(16)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert {slug(answer) for answer in answers if answer.status_code == 409} <= {"idempotency-busy"}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(us.get("/v1/jobs").json()["items"]) == len(stand.kept()) == 1


def test_while_the_first_is_handled_the_second_is_409(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, leave = threading.Event(), threading.Event()
    submit = type(stand.store).submit

    def slow(*arguments: Any, **named: Any) -> Any:
        inside.set()
        leave.wait(10)
        return submit(*arguments, **named)

    monkeypatch.setattr(type(stand.store), "submit", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(us.submit, headers=KEY)
        assert inside.wait(10)
        second = us.submit(headers=KEY)
        leave.set()
        assert (second.status_code, slug(second), first.result(10).status_code) == (409, "idempotency-busy", 202)


def test_two_desks_with_one_key_make_one_job(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process knows nothing of ours: only the row decides."""
    first = us.submit(headers=KEY)
    monkeypatch.setattr(type(stand.store), "find_idempotent", lambda *_: None)
    again = us.submit(headers=KEY)
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.json()["id"], "true")
    assert len(stand.kept()) == 1


# waiting -----------------------------------------------------------------------------------------------------------------


def test_prefer_wait_answers_200_when_the_job_ends_in_time(stand: Stand, us: Counter) -> None:
    stand.queue.awake.add(Lane.JOBS)
    answer = us.submit(headers={"Prefer": "respond-async, wait=30"})
    assert (answer.status_code, answer.json()["state"], answer.headers["preference-applied"]) == (200, "succeeded", "wait=30")


def test_prefer_wait_answers_202_when_it_does_not(us: Counter) -> None:
    answer = us.submit(headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"], answer.headers["preference-applied"]) == (202, "queued", "wait=1")


@pytest.mark.parametrize("preference", ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "handling=lenient", "await=5"])
def test_a_preference_that_makes_no_sense_is_ignored(us: Counter, preference: str) -> None:
    answer = us.submit(headers={"Prefer": preference})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


def test_waiting_sees_the_end_as_it_comes(stand: Stand, us: Counter) -> None:
    job = us.job()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(us.get, f"/v1/jobs/{job}", params={"wait": "30"})
        stand.worker.work()
        assert waiting.result(10).json()["state"] == "succeeded"


def test_a_submission_that_waits_reads_the_row_once(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    look = stand.store.get_job
    monkeypatch.setattr("api.waiting.POLL_SECONDS", ())  # a look that no news asked for would fail
    monkeypatch.setattr(stand.desk.store, "get_job", lambda tenant, job: looks.append(job) or look(tenant, job))
    stand.queue.awake.add(Lane.JOBS)
    record = us.submit(headers={"Prefer": "wait=30"}).json()
    assert record["state"] == "succeeded"
    assert looks == [record["id"]]


def test_waiting_sees_the_end_without_events(stand: Stand, us: Counter) -> None:
    job = us.job()
    stand.events.away = True
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(us.get, f"/v1/jobs/{job}", params={"wait": "30"})
        stand.worker.work()
        assert waiting.result(10).json()["state"] == "succeeded"


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon", ""])
def test_a_bad_wait_is_422(us: Counter, wait: str) -> None:
    assert us.get(f"/v1/jobs/{us.job()}", params={"wait": wait}).status_code == 422


def test_nobody_waits_for_a_client_that_is_gone(stand: Stand, us: Counter) -> None:
    path = f"/v1/jobs/{us.job()}"
    stand.exchange("GET", path, [*body(), DISCONNECT, DISCONNECT], query="wait=50")  # the stand's own deadline is the assertion


# cancelling, forgetting, listing -------------------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once(stand: Stand, us: Counter) -> None:
    job = us.job()
    answer = us.post(f"/v1/jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (202, "cancelled", "cancelled")
    assert answer.json()["erasure"]["container"] is None
    assert [event.kind for event in stand.events.published(job)][-1] == "end"
    again = us.post(f"/v1/jobs/{job}/cancel")
    assert (again.status_code, slug(again)) == (409, "conflict")


def test_a_running_job_is_marked_and_asking_again_is_fine(stand: Stand, us: Counter) -> None:
    job = us.job()
    claimed = stand.worker.claim()
    assert claimed is not None
    for _ in range(2):
        answer = us.post(f"/v1/jobs/{job}/cancel")
        assert (answer.status_code, answer.json()["state"], answer.json()["cancel_requested"]) == (202, "running", True)
    stand.worker.finish(claimed, Made(Reason.CANCELLED, outputs={"log": b""}))
    assert us.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
    assert us.post(f"/v1/jobs/{job}/cancel").status_code == 409


def test_a_final_job_is_forgotten_with_its_blobs(stand: Stand, us: Counter) -> None:
    job = us.job()
    assert us.delete(f"/v1/jobs/{job}").status_code == 409
    stand.worker.work()
    assert stand.events.published(job) != []
    assert us.delete(f"/v1/jobs/{job}").status_code == 204
    assert stand.events.published(job) == [], "the live log outlived its job"
    assert us.get(f"/v1/jobs/{job}").status_code == us.delete(f"/v1/jobs/{job}").status_code == 404
    stand.nothing_is_kept()


def test_lists_are_filtered_and_paged(stand: Stand, us: Counter) -> None:
    old = [us.job(labels={"team": "a:b"}) for _ in range(3)]
    stand.worker.work()
    new = us.job(labels={"team": "c"})
    assert [item["id"] for item in us.get("/v1/jobs").json()["items"]] == [new, *old[::-1]]
    assert [item["id"] for item in us.get("/v1/jobs", params={"state": "queued"}).json()["items"]] == [new]
    page = us.get("/v1/jobs", params={"label": "team:a:b", "limit": "2"})
    assert [item["id"] for item in page.json()["items"]] == old[:0:-1]
    path = page.headers["link"].removesuffix('>; rel="next"').removeprefix("<")
    assert [item["id"] for item in us.get(path).json()["items"]] == old[:1]
    assert us.get(path).json()["next"] is None


def test_several_labels_must_all_be_there(us: Counter) -> None:
    both = [us.job(labels={"team": "blue", "run": "1", "n": str(n)}) for n in range(3)]
    us.job(labels={"team": "blue"})
    us.job(labels={"run": "1"})
    page = us.get("/v1/jobs", params={"label": ["team:blue", "run:1"], "limit": "2"})
    assert [item["id"] for item in page.json()["items"]] == both[:0:-1]
    following = us.get(page.headers["link"].removesuffix('>; rel="next"').removeprefix("<")).json()
    assert ([item["id"] for item in following["items"]], following["next"]) == (both[:1], None)
    assert us.get("/v1/jobs", params={"label": ["team:blue", "team:red"]}).json()["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"state": "lost"},
        {"label": "team"},
        {"label": ":x"},
        {"label": "two words:x"},
        {"label": "team:line\nbreak"},
        {"label": "team:\0"},
        {"label": f"team:{'x' * 129}"},
        {"label": ["team:a", "team"]},
        {"label": [f"l{n}:" for n in range(17)]},
        {"state": ["queued", "running"]},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "!"},
        {"offset": "1"},
    ],
)
def test_a_bad_query_is_422(narrow: Stand, query: dict[str, Any]) -> None:
    answer = narrow.us.get("/v1/jobs", params=query)
    assert (answer.status_code, slug(answer)) == (422, "bad-request")


CALLS = [
    ("get", ""), ("delete", ""), ("post", "/cancel"), ("get", "/log"), ("get", "/result"), ("get", "/result2"), ("get", "/figures"),
    ("get", "/figures/0"), ("get", "/artifacts"), ("get", "/artifacts/models/x"), ("get", "/result/preview"), ("get", "/result2/preview"),
    ("get", "/inputs"), ("get", "/inputs/script"), ("head", "/inputs/script"), ("head", "/result"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "rest"), CALLS)
def test_what_is_not_yours_is_not_there(stand: Stand, us: Counter, verb: str, rest: str) -> None:
    theirs = stand.other.job()
    stand.worker.work()
    upper = theirs.upper().replace("JOB", "job")
    answers = [getattr(us, verb)(f"/v1/jobs/{name}{rest}") for name in (theirs, ABSENT_JOB, "x", upper, f"job_{'0' * 31}%00", "..%2f..")]
    assert {answer.status_code for answer in answers[:-1]} == {404}
    assert len({answer.content for answer in answers[:-1]}) == 1
    assert answers[-1].status_code in (404, 405)
    assert stand.other.get(f"/v1/jobs/{theirs}").status_code == 200


@pytest.mark.parametrize("name", ["x", "job_", f"job_{'0' * 31}%00", f"JOB_{'0' * 32}", "%F0%9F%98%80"])
def test_an_id_that_we_never_give_out_does_not_reach_the_store(narrow: Stand, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(type(narrow.store), "get_job", asked)
    monkeypatch.setattr(type(narrow.store), "get_dataset", asked)
    assert narrow.us.get(f"/v1/jobs/{name}").status_code == 404
    text = unquote(name)
    assert pointers(narrow.us.submit(dataset1=text, dataset2={"job": text, "output": "result"})) == ["/dataset1", "/dataset2/job"]


def test_errands_are_nobodys_to_see(stand: Stand, us: Counter) -> None:
    seen: list[Job] = []
    make = stand.worker.make
    stand.worker.make = lambda job, content: (seen.append(job), make(job, content))[1]  # type: ignore[func-returns-value]
    finish = stand.worker.finish
    answers: list[Any] = []
    refused: list[str] = []

    def look(job: Job, *rest: Any) -> Job:
        answers.append(us.get(f"/v1/jobs/{job.id}"))
        answers.append(us.post(f"/v1/jobs/{job.id}/cancel"))
        refused.append(us.submit(dataset1={"job": job.id, "output": "result"}).json()["errors"][0]["detail"])
        return finish(job, *rest)

    stand.worker.finish = look  # type: ignore[method-assign, assignment]
    us.dataset()
    assert [answer.status_code for answer in answers] == [404, 404]
    assert seen[0].state is State.RUNNING
    assert refused == [f"there is no job {seen[0].id!r}"]


def _tenant(stand: Stand) -> str:
    tenant = stand.store.tenant_of_key(stand.key)
    assert tenant is not None
    return tenant.id


def test_the_first_job_of_a_fresh_service_runs(stand: Stand, us: Counter) -> None:
    job = us.job()
    assert stand.queue.take_ticket(Lane.JOBS)
    stand.worker.work()
    assert until(lambda: us.get(f"/v1/jobs/{job}").json()["state"] == "succeeded", seconds=5, what="success")
