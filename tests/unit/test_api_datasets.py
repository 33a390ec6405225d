"""/v1/datasets: what is stored, what is refused, and that a refusal leaves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.errands import describe_limits, profile_limits
from fumehood.dataset import FORMATS
from fumehood.errors import NotFound
from fumehood.job import Job, Lane
from fumehood.limits import CEILING, MIB
from fumehood.outcome import Blame, Reason
from fumehood.settings import Settings
from tests.services import until
from tests.unit.front_desk import ARROW, CSV, DISCONNECT, Counter, Made, Stand, body, pointers, slug

ZIP = "application/zip"


def test_an_upload_is_described_and_stored(stand: Stand, us: Counter) -> None:
    answer = us.upload(b"a,b\n1,2\n3,4\n", params={"name": "numbers.csv"})
    record = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == record["links"]["self"] == f"/v1/datasets/{record['id']}"
    assert {name: record[name] for name in ("name", "format", "bytes", "rows")} == {
        "name": "numbers.csv",
        "format": "csv",
        "bytes": 12,
        "rows": 3,
    }
    assert record["columns"] == [{"name": "a", "type": "int64", "nullable": True}]
    assert us.get(answer.headers["location"]).json() == record


@pytest.mark.parametrize("format", FORMATS)
def test_the_media_type_or_else_the_ending_of_the_name_says_the_format(us: Counter, format: str) -> None:
    media_types, endings = FORMATS[format]
    for number, media in enumerate(media_types):
        answer = us.upload(f"{number}".encode(), f"{media.upper()}; charset=utf-8", params={"name": "numbers.csv"})
        assert (answer.status_code, answer.json()["format"]) == (201, format)
    for ending in endings:
        for media in ("application/octet-stream", "application/x-www-form-urlencoded", "nonsense", ""):
            answer = us.upload(f"{ending} {media}".encode(), media, params={"name": f"a.b{ending.upper()}"})
            assert (answer.status_code, answer.json()["format"]) == (201, format)


def test_neither_media_type_nor_name_is_415_with_both_lists(us: Counter) -> None:
    answer = us.upload(b"x", "application/octet-stream", params={"name": "numbers.xlsx"})
    assert (answer.status_code, slug(answer)) == (415, "unsupported-format")
    assert "numbers.xlsx" in answer.json()["detail"]
    assert ".parquet" in answer.json()["detail"]
    assert set(answer.json()["available"]) == {media for media_types, _ in FORMATS.values() for media in media_types}


@pytest.mark.parametrize("format", FORMATS)
def test_an_errand_has_room_for_what_its_format_grows_to(tmp_path: Path, format: str) -> None:
    settings = Settings(home=tmp_path)
    assert describe_limits(settings, format=format, size_bytes=1).output_bytes >= MIB
    large = describe_limits(settings, format=format, size_bytes=2**40)
    assert large.output_bytes == (MIB if format == "zip" else settings.ceiling.output_bytes)
    assert large.reserved_bytes >= large.file_bytes >= large.output_bytes


def test_nothing_of_the_errand_stays(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    errands: list[str] = []
    make = stand.worker.make

    def note(job: Job, content: bytes) -> Made:
        errands.append(job.id)
        return make(job, content)

    monkeypatch.setattr(stand.worker, "make", note)
    dataset = us.dataset()
    assert [path.split("/", 2)[2] for path in stand.kept()] == [f"datasets/{dataset}/original", f"datasets/{dataset}/table"]
    assert stand.store.queued(Lane.ERRANDS) == 0
    assert us.get("/v1/jobs").json()["items"] == []
    assert [stand.events.published(errand) for errand in errands] == [[]]


def test_a_zip_has_no_table(stand: Stand, us: Counter) -> None:
    dataset = us.dataset(b"PK", ZIP)
    assert [path.rsplit("/", 1)[1] for path in stand.kept()] == ["original"]
    assert us.get(f"/v1/datasets/{dataset}").json()["format"] == "zip"


def test_the_same_bytes_and_format_give_the_same_record(stand: Stand, us: Counter) -> None:
    first, again, other_format = us.upload(), us.upload(params={"name": "another name"}), us.upload(media_type=ARROW)
    assert (first.status_code, again.status_code, other_format.status_code) == (201, 200, 201)
    assert again.json() == first.json()
    assert other_format.json()["id"] != first.json()["id"]
    assert len(stand.kept()) == 4


def test_the_same_bytes_at_once_make_one_dataset(stand: Stand, us: Counter) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: us.upload(b"a,b\n" * 1000), range(6)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(stand.kept()) == 2


def test_of_two_desks_with_the_same_bytes_the_later_gives_way(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both looked before the other wrote: only the row decides."""
    first = us.dataset()
    monkeypatch.setattr(type(stand.store), "find_dataset", lambda *_, **__: None)
    again = us.upload()
    assert (again.status_code, again.json()["id"]) == (200, first)
    assert len(stand.kept()) == 2


def test_the_equal_bytes_of_another_tenant_are_unnoticeable(stand: Stand, us: Counter) -> None:
    ours, theirs = us.upload(), stand.other.upload()
    assert theirs.status_code == 201
    assert theirs.json()["id"] != ours.json()["id"]


@pytest.mark.parametrize("media_type", ["text/csv; charset=utf-8", "TEXT/CSV", "application/csv"])
def test_a_media_type_is_read_without_its_parameters(us: Counter, media_type: str) -> None:
    assert us.upload(media_type=media_type).json()["format"] == "csv"


@pytest.mark.parametrize("media_type", ["image/png", "text/plain", "", "nonsense"])
def test_an_unknown_media_type_is_refused_with_the_list(narrow: Stand, media_type: str) -> None:
    answer = narrow.us.upload(media_type=media_type)
    assert (answer.status_code, slug(answer)) == (415, "unsupported-format")
    assert CSV in answer.json()["available"]
    narrow.nothing_is_kept()


def test_a_compressed_body_is_refused(us: Counter) -> None:
    answer = us.post("/v1/datasets", content=b"a", headers={"Content-Type": CSV, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["available"]) == (415, ["identity"])


@pytest.mark.parametrize(
    ("content", "status", "kind", "sentence"),
    [
        (b"bad,bytes", 422, "bad-request", "line 2 has 3 fields; expected 2"),
        (b"huge,bytes", 422, "bad-request", "reading the bytes takes more than 2,147,483,648 bytes of memory, which is the limit"),
        (b"slow,bytes", 422, "bad-request", "the bytes are too large to be read within 5 seconds"),
        (b"broken,bytes", 503, "unavailable", "the sandbox failed (sandbox_error); nothing was stored"),
    ],
)
def test_what_the_sandbox_refuses_is_told_and_not_stored(
    stand: Stand, us: Counter, content: bytes, status: int, kind: str, sentence: str
) -> None:
    answer = us.upload(content)
    assert (answer.status_code, slug(answer), answer.json()["detail"]) == (status, kind, sentence)
    assert ("retry-after" in answer.headers) == (status == 503)
    stand.nothing_is_kept()
    assert us.get("/v1/datasets").json()["items"] == []


@pytest.mark.parametrize(("wait", "wall"), [(30, 25), (120, 115), (6, 3), (0.1, 0.1), (100_000, CEILING.wall_seconds)])
def test_an_errand_ends_before_the_request_that_waits_for_it(tmp_path: Path, wait: float, wall: float) -> None:
    settings = Settings(home=tmp_path, errand_wait_seconds=wait)
    described = describe_limits(settings, format="csv", size_bytes=1)
    assert described.wall_seconds == profile_limits(settings).wall_seconds == wall


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.blame is Blame.TENANT])
def test_no_refusal_of_an_upload_speaks_of_a_script(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch, reason: Reason) -> None:
    """The worker's words are about a script, but for those of `bad_input`; the other reasons only a script's run can have."""
    words = "line 2" if reason is Reason.BAD_INPUT else "The script needed more"
    monkeypatch.setattr(stand.worker, "make", lambda *_: Made(reason, words))
    answer = us.upload()
    assert (answer.status_code, slug(answer)) == (422, "bad-request")
    of_runs = {Reason.SCRIPT_ERROR, Reason.BAD_ENTRY_POINT, Reason.BAD_PARAMETERS, Reason.BAD_RETURN}
    assert ("script" in answer.json()["detail"]) == (reason in of_runs)


def test_without_a_free_sandbox_nothing_is_stored(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(errand_wait_seconds=0.2)
    stand.queue.awake.clear()
    answer = stand.us.upload()
    assert (answer.status_code, slug(answer)) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    until(lambda: stand.store.queued(Lane.ERRANDS) == 0, seconds=5, what="the cancelled errand")
    stand.nothing_is_kept()
    assert stand.worker.claim(Lane.ERRANDS) is None


def test_a_description_that_takes_too_long_is_cancelled_and_forgotten(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(errand_wait_seconds=0.3)
    stand.queue.awake.clear()
    claimed: list[Any] = []

    def claim(lane: Lane) -> bool:
        claimed.append(stand.worker.claim(lane))
        return True

    stand.queue.send_ticket = claim  # type: ignore[method-assign]
    answer = stand.us.upload()
    assert (answer.status_code, answer.json()["detail"]) == (503, "the sandbox had not ended within 0.3 seconds; nothing was stored")
    errand = until(lambda: stand.store.get_job(claimed[0].tenant, claimed[0].id), seconds=5, what="the errand")
    until(lambda: stand.store.get_job(errand.tenant, errand.id).cancel_requested, seconds=5, what="a cancel")
    stand.nothing_is_kept()
    with stand.desk.blobs.incoming() as incoming:
        incoming.write(b"x")
        stand.desk.blobs.keep(incoming, errand.tenant, errand.inputs["dataset1"].blob)
    stand.worker.finish(errand, Made(Reason.CANCELLED, outputs={"log": b"x"}))
    until(lambda: _is_gone(stand, errand), seconds=10, what="the errand's end")


def _is_gone(stand: Stand, job: Any) -> bool:
    try:
        stand.store.get_job(job.tenant, job.id)
    except NotFound:
        return True
    return False


def test_redis_away_does_not_keep_an_upload_from_being_described(stand: Stand, us: Counter) -> None:
    stand.events.away = True
    assert us.upload().status_code == 201


def test_a_length_above_the_limit_is_refused_before_reading(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(dataset_bytes=10)
    answer = stand.us.upload(b"12345678901")
    assert (answer.status_code, slug(answer)) == (413, "too-large")
    assert (answer.json()["limit"], answer.json()["value"]) == (10, 11)
    stand.nothing_is_kept()


def test_a_body_without_length_is_counted(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(dataset_bytes=10, bundle_bytes=5)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"123456"
        yield b"789012"

    assert stand.us.upload(chunks()).status_code == 413  # type: ignore[arg-type]
    assert stand.us.upload(b"123456", ZIP).status_code == 413
    assert stand.us.upload(b"1234567890").status_code == 201
    assert stand.us.upload(b"12345", ZIP).status_code == 201


def test_an_upload_that_is_cut_off_leaves_nothing(stand: Stand) -> None:
    stand.exchange("POST", "/v1/datasets", [*body(b"a,b\n" * 300_000, more=True), DISCONNECT], {"Content-Type": CSV})
    stand.nothing_is_kept()
    assert stand.queue.sent == []


def test_a_client_that_stops_sending_is_dropped(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(body_idle_seconds=0.1)
    sent = stand.exchange("POST", "/v1/datasets", body(b"a,b\n", more=True), {"Content-Type": CSV})
    assert sent[0]["status"] == 408
    stand.nothing_is_kept()


def test_an_empty_body_is_refused(us: Counter) -> None:
    assert us.upload(b"").status_code == 422


@pytest.mark.parametrize("name", ["x" * 256, "line\nbreak", "nul\x00", "\x85"])
def test_a_name_that_cannot_be_shown_is_refused(narrow: Stand, name: str) -> None:
    assert pointers(narrow.us.upload(params={"name": name})) == ["/query/name"]


@pytest.mark.parametrize("escaped", ["%ED%A0%80", "%FF", "a%00b", "a%E2%80%A8b", "%C2%85"])
def test_a_name_whose_bytes_are_no_text_is_refused(narrow: Stand, escaped: str) -> None:
    assert pointers(narrow.us.post(f"/v1/datasets?name={escaped}", content=b"a\n", headers={"Content-Type": CSV})) == ["/query/name"]


def test_too_little_disk_refuses_an_upload(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(disk_floor_bytes=2**60)
    answer = stand.us.upload()
    assert (answer.status_code, slug(answer)) == (503, "disk-full")
    assert "retry-after" in answer.headers
    stand.nothing_is_kept()


# lists and deletion ------------------------------------------------------------------------------------------------------


def test_pages_come_newest_first_and_end(us: Counter) -> None:
    made = [us.dataset(f"a\n{n}\n".encode()) for n in range(5)]
    seen, query = [], {"limit": "2"}
    while True:
        page = us.get("/v1/datasets", params=query)
        seen += [item["id"] for item in page.json()["items"]]
        if page.json()["next"] is None:
            assert "link" not in page.headers
            break
        assert page.headers["link"].endswith('rel="next"')
        query = {**query, "cursor": page.json()["next"]}
    assert seen == made[::-1]


def test_a_list_may_be_of_one_name(us: Counter) -> None:
    made = [us.upload(f"a\n{n}\n".encode(), params={"name": name}).json()["id"] for n, name in enumerate(["a&b.csv", "b.csv", "a&b.csv"])]
    page = us.get("/v1/datasets", params={"name": "a&b.csv", "limit": "1"})
    assert [item["id"] for item in page.json()["items"]] == [made[2]]
    following = us.get(page.headers["link"].removesuffix('>; rel="next"').removeprefix("<")).json()
    assert ([item["id"] for item in following["items"]], following["next"]) == ([made[0]], None)
    assert us.get("/v1/datasets", params={"name": "a"}).json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"cursor": "nonsense!"},
        {"unknown": "1"},
        {"limit": ["1", "2"]},
        {"name": ["a", "b"]},
        {"name": "a\0"},
    ],
)
def test_a_bad_query_is_422(narrow: Stand, query: dict[str, Any]) -> None:
    answer = narrow.us.get("/v1/datasets", params=query)
    assert (answer.status_code, slug(answer)) == (422, "bad-request")
    assert answer.json()["errors"]


def test_deleting_forgets_record_and_bytes(stand: Stand, us: Counter) -> None:
    path = f"/v1/datasets/{us.dataset()}"
    assert us.delete(path).status_code == 204
    assert us.get(path).status_code == us.get(f"{path}/content").status_code == us.delete(path).status_code == 404
    stand.nothing_is_kept()


def test_a_dataset_that_a_waiting_job_needs_is_not_deleted(stand: Stand, us: Counter) -> None:
    dataset = us.dataset()
    job = us.job(dataset1=dataset)
    answer = us.delete(f"/v1/datasets/{dataset}")
    assert (answer.status_code, slug(answer)) == (409, "conflict")
    assert us.get(f"/v1/datasets/{dataset}/content").status_code == 200
    stand.worker.work()
    assert us.get(f"/v1/jobs/{job}").json()["state"] == "succeeded"
    assert us.delete(f"/v1/datasets/{dataset}").status_code == 204


@pytest.mark.parametrize(("verb", "rest"), [("get", ""), ("get", "/content"), ("get", "/preview"), ("delete", "")])
def test_what_is_not_yours_is_not_there(stand: Stand, us: Counter, verb: str, rest: str) -> None:
    theirs = stand.other.dataset()
    absent = f"ds_{'0' * 32}"
    answers = [getattr(us, verb)(f"/v1/datasets/{name}{rest}") for name in (theirs, absent, "x", f"ds_{'0' * 31}%00")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
