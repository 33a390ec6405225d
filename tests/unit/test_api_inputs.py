"""Inputs and images: what a job was given, and what it ran in; enough to run it again elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from fumehood.image import Image
from tests.unit.front_desk import ARROW, CSV, SCRIPT, Counter, Stand, slug

DIGEST = "sha256:" + "0" * 64  # the image that the front desk's worker says it runs


def items(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


# inputs ----------------------------------------------------------------------------------------------------------------


def test_inputs_are_listed_and_come_as_the_sandbox_got_them(stand: Stand, us: Counter) -> None:
    earlier, dataset = us.job(), us.dataset(b"a\n1\n")
    stand.worker.work()
    job = us.job(dataset1=dataset, dataset2={"job": earlier, "output": "result2"})
    listed = items(us.get(us.get(f"/v1/jobs/{job}").json()["links"]["inputs"]))
    arrow = {"media_type": ARROW, "format": "arrow"}
    nothing = {"dataset": None, "source": None}
    assert [{name: value for name, value in item.items() if name != "href"} for item in listed] == [
        {"port": "script", "name": "script.py", "media_type": "text/x-python", "format": "python", "bytes": len(SCRIPT), **nothing},
        {"port": "dataset1", "name": "dataset1.arrow", **arrow, "bytes": 10, **nothing, "dataset": dataset},
        {"port": "dataset2", "name": "dataset2.arrow", **arrow, "bytes": 13, **nothing, "source": {"job": earlier, "output": "result2"}},
    ]
    assert [us.get(item["href"]).content for item in listed] == [SCRIPT.encode(), b"ARROW1a\n1\n", b"ARROW1-second"]


def test_files_sent_with_the_job_come_as_they_were(us: Counter) -> None:
    files = {"script": ("s.py", SCRIPT.encode()), "dataset1": ("a.jsonl", b'{"a": 1}\n'), "bundle": ("b.zip", b"PK")}
    job = us.post("/v1/jobs", files=files).json()["id"]
    listed = items(us.get(f"/v1/jobs/{job}/inputs"))
    assert [(item["port"], item["name"], item["format"]) for item in listed] == [
        ("script", "script.py", "python"),
        ("dataset1", "dataset1.ndjson", "ndjson"),
        ("bundle", "bundle.zip", "zip"),
    ]
    answer = us.get(listed[1]["href"], headers={"Range": "bytes=0-3"})
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (206, b'{"a"', "application/x-ndjson")


def test_no_browser_runs_a_script(us: Counter) -> None:
    headers = us.get(f"/v1/jobs/{us.job()}/inputs/script").headers
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["content-disposition"].startswith('attachment; filename="script.py"')
    assert (headers["content-type"], headers["x-content-type-options"]) == ("text/x-python", "nosniff")


def test_a_port_that_is_not_connected_is_404(us: Counter) -> None:
    job = us.job()
    answer = us.get(f"/v1/jobs/{job}/inputs/dataset1")
    assert (answer.status_code, answer.json()["detail"]) == (404, "the job has no such input; it has script")
    assert us.get(f"/v1/jobs/{job}/inputs/nonsense").status_code == 404


def test_an_input_that_was_deleted_since_is_404(stand: Stand, us: Counter) -> None:
    dataset = us.dataset()
    job = us.job(dataset1=dataset)
    stand.worker.work()
    assert us.delete(f"/v1/datasets/{dataset}").status_code == 204
    answer = us.get(f"/v1/jobs/{job}/inputs/dataset1")
    assert (answer.status_code, answer.json()["detail"]) == (404, "the bytes of dataset1 were deleted since")
    assert us.get(f"/v1/jobs/{job}/inputs/script").status_code == 200


# images ----------------------------------------------------------------------------------------------------------------


def test_a_record_leads_to_the_packages_of_its_image(stand: Stand, us: Counter) -> None:
    stand.store.keep_image(Image(digest=DIGEST, python="3.13.1", packages={"pandas": "3.0.1", "NumPy": "2.4.6", "zlib": "1"}))
    job = us.job()
    stand.worker.work()
    assert items(us.get(us.get(f"/v1/jobs/{job}").json()["links"]["image"])) == [
        {"name": "NumPy", "version": "2.4.6"},
        {"name": "pandas", "version": "3.0.1"},
        {"name": "zlib", "version": "1"},
    ]


def test_images_are_listed_and_the_current_one_is_marked(stand: Stand, us: Counter) -> None:
    assert items(us.get("/v1/images")) == []
    other = "sha256:" + "1" * 64
    stand.store.keep_image(Image(digest=other))
    stand.store.keep_image(Image(digest=DIGEST, python="3.13.1", packages={"pandas": "3.0.1"}))
    stand.store.worker_beat("wrk_1", {"image": DIGEST})
    assert items(us.get("/v1/images")) == [
        {"digest": DIGEST, "python": "3.13.1", "packages": 1, "current": True},
        {"digest": other, "python": None, "packages": None, "current": False},
    ]
    answer = us.get(f"/v1/images/{other}/packages")
    assert (answer.status_code, answer.json()["detail"]) == (404, "the image does not say what is in it")


@pytest.mark.parametrize("digest", [DIGEST, "x", "sha256:", f"{DIGEST}%00", DIGEST.upper()])
def test_an_image_that_is_not_known_is_404(stand: Stand, us: Counter, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can be none does not reach the store: databases differ in what text they take."""
    asked: list[str] = []
    get_image = stand.store.get_image
    monkeypatch.setattr(type(stand.store), "get_image", lambda _, name: (asked.append(name), get_image(name))[1])  # type: ignore[func-returns-value]
    answer = us.get(f"/v1/images/{digest}/packages")
    assert (answer.status_code, slug(answer)) == (404, "not-found")
    assert asked == ([digest] if digest == DIGEST else [])


def test_a_stored_dataset_is_listed_in_its_own_format_only_where_it_is_no_table(us: Counter) -> None:
    bundle = us.dataset(b"PK", "application/zip")
    job = us.job(bundle=bundle, dataset1=us.dataset(b"a\n", CSV))
    assert [(item["port"], item["format"]) for item in items(us.get(f"/v1/jobs/{job}/inputs"))] == [
        ("script", "python"),
        ("dataset1", "arrow"),
        ("bundle", "zip"),
    ]
