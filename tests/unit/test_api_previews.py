"""Previews: made once by a sandbox, kept beside the table, and gone with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.schemas import Preview
from fumehood.job import Job, Kind
from fumehood.outcome import Reason
from tests.services import until
from tests.unit.front_desk import ARROW, Counter, Made, Stand, profile, slug


@pytest.fixture
def errands(stand: Stand) -> list[Job]:
    """Every job that the worker makes something of."""
    seen: list[Job] = []
    make = stand.worker.make
    stand.worker.make = lambda job, content: (seen.append(job), make(job, content))[1]  # type: ignore[func-returns-value]
    return seen


@pytest.fixture
def job(stand: Stand, us: Counter) -> str:
    name = us.job()
    stand.worker.work()
    return name


def profiles(errands: list[Job]) -> list[Job]:
    return [errand for errand in errands if errand.kind is Kind.PROFILE]


def test_a_preview_is_made_once_and_kept(stand: Stand, us: Counter, errands: list[Job]) -> None:
    dataset = us.dataset(b"1,2\n")
    path = us.get(f"/v1/datasets/{dataset}").json()["links"]["preview"]
    first, again = us.get(path), us.get(path)
    assert first.status_code == 200
    assert first.json() == again.json() == profile(b"ARROW11,2\n")
    assert (first.headers["content-type"], first.headers["x-content-type-options"]) == ("application/json", "nosniff")
    assert first.headers["cache-control"] == "private, no-cache"
    (errand,) = profiles(errands)
    assert (errand.inputs["dataset1"].format, errand.inputs["dataset1"].dataset) == ("arrow", dataset)
    assert errand.limits.output_bytes == 2 * 2**20
    assert [kept.split("/", 2)[2] for kept in stand.kept()] == [
        f"datasets/{dataset}/{name}" for name in ("original", "preview.json", "table")
    ]
    assert us.get("/v1/jobs").json()["items"] == []


def test_a_preview_has_validators_and_ranges(us: Counter) -> None:
    path = f"/v1/datasets/{us.dataset()}/preview"
    whole = us.get(path)
    assert us.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert us.get(path, headers={"Range": "bytes=0-4"}).content == whole.content[:5]
    assert us.head(path).headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(("output", "table"), [("result", b"ARROW1-result"), ("result2", b"ARROW1-second")])
def test_results_have_previews_that_go_with_their_job(
    stand: Stand, us: Counter, errands: list[Job], job: str, output: str, table: bytes
) -> None:
    path = us.get(f"/v1/jobs/{job}").json()["links"][f"{output}_preview"]
    assert us.get(path).json() == us.get(path).json() == profile(table)
    (errand,) = profiles(errands)
    assert errand.inputs["dataset1"].source == {"job": job, "output": output}
    before = us.get(f"/v1/jobs/{job}").json()
    assert before["outputs"].keys() == {"result", "result2", "log", "files"}
    assert us.delete(f"/v1/jobs/{job}").status_code == 204
    stand.nothing_is_kept()


def test_a_dataset_takes_its_preview_along(stand: Stand, us: Counter) -> None:
    dataset = us.dataset()
    us.get(f"/v1/datasets/{dataset}/preview")
    assert us.delete(f"/v1/datasets/{dataset}").status_code == 204
    assert us.get(f"/v1/datasets/{dataset}/preview").status_code == 404
    stand.nothing_is_kept()


def test_asking_at_once_is_harmless(stand: Stand, us: Counter) -> None:
    dataset = us.dataset()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: us.get(f"/v1/datasets/{dataset}/preview"), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    until(lambda: len(stand.kept()) == 3, seconds=5, what="original, table and one preview")


def test_a_dataset_deleted_while_its_preview_is_linked_leaves_nothing(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = us.dataset()
    link = stand.desk.blobs.link

    def too_late(*arguments: Any) -> int:
        assert us.delete(f"/v1/datasets/{dataset}").status_code == 204
        return link(*arguments)

    def elsewhere(*arguments: Any) -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(too_late, *arguments).result(10)

    monkeypatch.setattr(stand.desk.blobs, "link", elsewhere)
    answer = us.get(f"/v1/datasets/{dataset}/preview")
    assert (answer.status_code, slug(answer)) == (404, "not-found")
    stand.nothing_is_kept()


def test_a_zip_has_no_preview(us: Counter) -> None:
    dataset = us.dataset(b"PK", "application/zip")
    assert "preview" not in us.get(f"/v1/datasets/{dataset}").json()["links"]
    answer = us.get(f"/v1/datasets/{dataset}/preview")
    assert (answer.status_code, answer.json()["detail"]) == (404, "a zip has no preview; tables have one")


def test_a_preview_that_is_not_there_yet_or_never_is(stand: Stand, us: Counter) -> None:
    name = us.job()
    assert slug(us.get(f"/v1/jobs/{name}/result/preview")) == "not-finished"
    stand.worker.make = lambda *_: Made(Reason.SCRIPT_ERROR)
    stand.worker.work()
    assert us.get(f"/v1/jobs/{name}/result/preview").status_code == 404


@pytest.mark.parametrize(("reason", "status"), [(Reason.SANDBOX_ERROR, 503), (Reason.TIMED_OUT, 422), (Reason.OUT_OF_MEMORY, 422)])
def test_a_preview_that_fails_is_told_and_tried_again(stand: Stand, us: Counter, reason: Reason, status: int) -> None:
    dataset = us.dataset(b"a", ARROW)
    before, make = stand.kept(), stand.worker.make
    stand.worker.make = lambda *_: Made(reason)
    assert us.get(f"/v1/datasets/{dataset}/preview").status_code == status
    assert stand.kept() == before
    stand.worker.make = make
    assert us.get(f"/v1/datasets/{dataset}/preview").status_code == 200


def test_the_schema_holds_what_the_runner_may_say() -> None:
    column = {"name": "t", "type": "timestamp[us]", "count": 2, "nulls": 1, "distinct": None, "distinct_exact": False}
    told = {"min": "2025-01-01", "max": None, "mean": 1.5, "std": 0.5, "histogram": {"edges": [0, 1, 2], "counts": [1, 1]}, "top": None}
    numbers = {**column, **told, "min": -1, "max": 2.5, "top": [[True, 2], [None, 1], ["x", 1]]}
    Preview.model_validate(
        {"rows": 3, "columns": [column | told, numbers], "head": {"columns": ["t"], "rows": [["x", 1, 1.5, None, True]]}}
    )
