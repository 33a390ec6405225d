"""Contents: which form a client gets, ranges, validators, HEAD, and names for files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from api.content import choose_media
from api.tables import named
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.errors import NotAcceptable
from tests.unit.front_desk import ARROW, CSV, Counter, Made, Stand, body, slug

ZIP = "application/zip"
MEDIA = {name: FORMATS[name][0][0] for name in FORMATS}


def content(us: Counter, dataset: str, **headers: str) -> Any:
    return us.get(f"/v1/datasets/{dataset}/content", headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("accept", "media_type", "expected"),
    [
        ("*/*", CSV, b"a,b\n1,2\n"),
        ("text/*", CSV, b"a,b\n1,2\n"),
        (ARROW, ARROW, b"ARROW1a,b\n1,2\n"),
        (f"{CSV};q=0.2, {ARROW};q=0.9", ARROW, b"ARROW1a,b\n1,2\n"),
        (f"{ARROW};q=0, */*", CSV, b"a,b\n1,2\n"),
    ],
)
def test_accept_chooses_among_what_is_stored(us: Counter, accept: str, media_type: str, expected: bytes) -> None:
    answer = content(us, us.dataset(), Accept=accept)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0], answer.content) == (200, media_type, expected)
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["content-length"] == str(len(expected))


def test_csv_of_an_arrow_dataset_is_made_in_a_sandbox_and_gone_after(stand: Stand, us: Counter) -> None:
    dataset = us.dataset(b"arrow bytes", ARROW)
    before = stand.kept()
    answer = content(us, dataset, Accept=CSV)
    assert (answer.status_code, answer.content) == (200, b"csv of ARROW1arrow bytes")
    assert stand.kept() == before
    assert "etag" not in answer.headers


def test_a_reader_that_crawls_keeps_a_stored_file_but_not_one_made_for_it(
    stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, app = us.dataset(b"arrow bytes that are stored", ARROW), stand.app

    async def crawling(scope: Any, receive: Any, send: Any) -> None:
        async def slowly(message: Any) -> None:
            await asyncio.sleep(0.05)
            await send(message)

        await app(scope, receive, slowly)

    monkeypatch.setattr(stand, "app", crawling)
    monkeypatch.setattr("api.content.CHUNK_BYTES", 1)
    monkeypatch.setattr("api.content.SEND_SECONDS", 0.5)
    stored, made = (stand.exchange("GET", f"/v1/datasets/{dataset}/content", body(), {"Accept": media}) for media in (ARROW, CSV))
    assert b"".join(message["body"] for message in stored[1:]) == b"arrow bytes that are stored"
    assert not stored[-1]["more_body"]
    sent = b"".join(message["body"] for message in made[1:])
    assert b"csv of ARROW1arrow bytes that are stored".startswith(sent)
    assert len(sent) <= 10
    assert made[-1]["more_body"], "an answer that was cut off looks complete"


def test_a_conversion_without_a_free_sandbox_is_503(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(errand_wait_seconds=0.3)
    dataset = stand.us.dataset(b"arrow bytes", ARROW)
    stand.queue.awake.clear()
    answer = content(stand.us, dataset, Accept=CSV)
    assert (answer.status_code, slug(answer)) == (503, "unavailable")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("stored", FORMATS)
def test_what_cannot_be_had_is_406_with_the_list(us: Counter, stored: str) -> None:
    answer = content(us, us.dataset(b"bytes", MEDIA[stored]), Accept="image/png")
    others = [MEDIA[name] for name in TABLE_FORMATS if name != stored] if stored != "zip" else []
    assert (answer.status_code, slug(answer), answer.json()["available"]) == (406, "not-acceptable", [MEDIA[stored], *others])
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("wanted", TABLE_FORMATS)
@pytest.mark.parametrize("stored", TABLE_FORMATS)
def test_every_table_comes_in_every_format(stand: Stand, us: Counter, stored: str, wanted: str) -> None:
    """The stored bytes and the Arrow form without a sandbox, the others by one errand."""
    dataset, errands = us.dataset(b"1,2\n", MEDIA[stored]), []
    make = stand.worker.make
    stand.worker.make = lambda job, given: (errands.append(job), make(job, given))[1]  # type: ignore[func-returns-value]
    answer = content(us, dataset, Accept=MEDIA[wanted])
    made = [] if wanted in (stored, "arrow") else [wanted]
    expected = b"1,2\n" if wanted == stored else b"ARROW11,2\n" if wanted == "arrow" else f"{wanted} of ARROW11,2\n".encode()
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, MEDIA[wanted], expected)
    assert [job.target_format for job in errands] == made
    assert ("etag" in answer.headers, answer.headers["cache-control"]) == (not made, "no-store" if made else "private, no-cache")
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{dataset}{FORMATS[wanted][1][0]}"')


@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_any_name_of_a_media_type_will_do(us: Counter, format: str) -> None:
    dataset = us.dataset(b"1,2\n", MEDIA[format])
    for media in FORMATS[format][0]:
        assert content(us, dataset, Accept=f"{media};q=0.5, image/png").headers["content-type"] == MEDIA[format]


def test_a_table_without_columns_is_no_text_at_all(stand: Stand, us: Counter) -> None:
    dataset = us.dataset(b"x", ARROW)
    stand.worker.make = lambda *_: Made()
    answer = content(us, dataset, Accept=CSV)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("b/b", "b/b"),
        ("", "a/a"),
        ("*/*", "a/a"),
        ("A/A", "a/a"),
        ("b/*, */*;q=0.9", "b/b"),
        ("a/a;q=0.1, b/b;q=0.2", "b/b"),
        ("a/a; q=0.001, b/b; Q=0.0", "a/a"),
        ("*/*, a/a;q=0", "b/b"),
        ("a/*;q=0, */*", "b/b"),
        ("a/a;level=1;q=0.2, b/b;q=0.3", "b/b"),
        ("b/b;q=1.9, a/a", "a/a"),
        ("b/b;q=x, a/a;q=0.9", "b/b"),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", "a/a"),
        ("c/c", None),
        ("a/a;q=0, b/b;q=0", None),
        ("*/*;q=0", None),
        (",", None),
    ],
)
def test_weights_and_wildcards_choose_as_the_standard_says(accept: str, chosen: str | None) -> None:
    if chosen is None:
        with pytest.raises(NotAcceptable):
            choose_media(accept, ["a/a", "b/b"])
    else:
        assert choose_media(accept, ["a/a", "b/b"]) == chosen


def test_several_accept_headers_are_one(stand: Stand, us: Counter) -> None:
    fields = [*us.headers.items(), ("Accept", "image/png"), ("Accept", ARROW)]
    answer = stand.served.request("GET", f"/v1/datasets/{us.dataset()}/content", headers=fields)
    assert answer.headers["content-type"] == ARROW


# names --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("numbers.csv", "csv", "numbers.csv"),
        ("NUMBERS.CSV", "csv", "NUMBERS.CSV"),
        ("numbers.csv", "arrow", "numbers.arrow"),
        ("numbers.CSV", "parquet", "numbers.parquet"),
        ("v1.2 numbers", "csv", "v1.2 numbers.csv"),
        ("v1.2", "json", "v1.2.json"),
        ("a.b.jsonl", "ndjson", "a.b.jsonl"),
        ("a.b.jsonl", "json", "a.b.json"),
        ("a.arrows", "arrow", "a.arrow"),
        ("a.arrow", "arrow-stream", "a.arrows"),
        ("a.csv.zip", "zip", "a.csv.zip"),
        (".csv", "arrow", ".csv.arrow"),
        ("ds_1", "csv", "ds_1.csv"),
    ],
)
def test_a_file_name_ends_as_its_format_does(name: str, format: str, expected: str) -> None:
    assert named(name, format) == expected


def test_a_file_name_cannot_break_out_of_its_header(us: Counter) -> None:
    name = 'a"; b=c/\\ä.csv'
    dataset = us.upload(params={"name": name}).json()["id"]
    told = content(us, dataset).headers["content-disposition"]
    assert told == "attachment; filename=\"a__ b_c___.csv\"; filename*=UTF-8''a%22%3B%20b%3Dc%2F%5C%C3%A4.csv"


# ranges and validators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "status", "expected", "content_range"),
    [
        ("bytes=0-2", 206, b"a,b", "bytes 0-2/8"),
        ("bytes=4-", 206, b"1,2\n", "bytes 4-7/8"),
        ("bytes=-2", 206, b"2\n", "bytes 6-7/8"),
        ("bytes=-100", 206, b"a,b\n1,2\n", "bytes 0-7/8"),
        ("bytes=6-100", 206, b"2\n", "bytes 6-7/8"),
        ("bytes=0-0,2-3", 200, b"a,b\n1,2\n", None),
        ("bytes=3-1", 200, b"a,b\n1,2\n", None),
        ("lines=1-2", 200, b"a,b\n1,2\n", None),
        ("bytes=-", 200, b"a,b\n1,2\n", None),
    ],
)
def test_stored_bytes_honour_a_single_range(us: Counter, wanted: str, status: int, expected: bytes, content_range: str | None) -> None:
    answer = content(us, us.dataset(), Range=wanted)
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, expected, content_range)


@pytest.mark.parametrize("wanted", ["bytes=8-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_is_a_problem(us: Counter, wanted: str) -> None:
    answer = content(us, us.dataset(), Range=wanted)
    assert (answer.status_code, slug(answer), answer.headers["content-range"]) == (416, "range-not-satisfiable", "bytes */8")


def test_an_etag_saves_sending_again_and_guards_a_range(us: Counter) -> None:
    dataset = us.dataset()
    etag = content(us, dataset).headers["etag"]
    assert content(us, dataset, If_None_Match=etag).status_code == 304
    assert content(us, dataset, If_None_Match='"other"').status_code == 200
    assert content(us, dataset, If_None_Match=etag, Accept=ARROW).status_code == 200
    assert content(us, dataset, Range="bytes=0-0", If_Range=etag).status_code == 206
    assert content(us, dataset, Range="bytes=0-0", If_Range='"other"').status_code == 200
    assert content(us, dataset, Range="bytes=0-0", If_Range=f"W/{etag}").status_code == 200
    assert content(us, dataset, Range="bytes=0-0", If_Range="Wed, 21 Oct 2015 07:28:00 GMT").status_code == 200
    assert (
        content(us, dataset, If_None_Match=f'"other", W/{etag}').status_code == content(us, dataset, If_None_Match="*").status_code == 304
    )


def test_what_did_not_change_is_told_without_content(us: Counter) -> None:
    dataset = us.dataset()
    first = content(us, dataset)
    again = content(us, dataset, If_None_Match=first.headers["etag"])
    kept = ("etag", "vary", "cache-control", "x-content-type-options")
    assert {name: again.headers[name] for name in kept} == {name: first.headers[name] for name in kept}
    assert (again.content, "content-type" in again.headers) == (b"", False)


# HEAD ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(stand: Stand, us: Counter) -> str:
    name = us.job(dataset1=us.dataset(b"input,a\n"))
    stand.worker.work()
    return name


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "/result",
        "/result2",
        "/figures",
        "/figures/0",
        "/artifacts/models/%C3%A4%20b.bin",
        "/inputs",
        "/inputs/script",
        "/inputs/dataset1",
    ],
)
def test_head_is_get_without_its_content(us: Counter, job: str, rest: str) -> None:
    path = f"/v1/jobs/{job}{rest}"
    got, asked = us.get(path), us.head(path)
    assert (asked.status_code, asked.content) == (200, b"")
    differ = ("x-request-id",)
    assert {k: v for k, v in asked.headers.items() if k not in differ} == {k: v for k, v in got.headers.items() if k not in differ}
    assert int(asked.headers["content-length"]) == len(got.content) > 0


def test_head_knows_validators_and_no_ranges(us: Counter) -> None:
    path = f"/v1/datasets/{us.dataset()}/content"
    etag = us.head(path).headers["etag"]
    assert us.head(path, headers={"If-None-Match": etag}).status_code == 304
    assert us.head(path, headers={"Range": "bytes=0-1"}).status_code == us.head(path, headers={"Range": "bytes=100-"}).status_code == 200


@pytest.mark.parametrize(("rest", "accept"), [("content", "application/json"), ("preview", "*/*")])
def test_head_makes_nothing(stand: Stand, us: Counter, rest: str, accept: str) -> None:
    path, sent = f"/v1/datasets/{us.dataset()}/{rest}", len(stand.queue.sent)
    answer = us.head(path, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"], "content-length" in answer.headers) == (200, "application/json", False)
    assert len(stand.queue.sent) == sent


def test_head_of_a_live_log_ends(stand: Stand, us: Counter) -> None:
    answer = us.head(f"/v1/jobs/{us.job()}/log", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "text/event-stream", b"")


def test_head_of_what_is_not_there_is_404_without_content(us: Counter) -> None:
    answers = [us.head(f"/v1/datasets/ds_{'0' * 32}"), us.head("/nowhere")]
    assert [(answer.status_code, answer.content, answer.headers["content-type"]) for answer in answers] == [
        (404, b"", "application/problem+json")
    ] * 2


def test_a_large_content_comes_whole_and_in_pieces(us: Counter) -> None:
    data = bytes(range(256)) * 4096
    dataset = us.dataset(data)
    assert content(us, dataset).content == data
    assert content(us, dataset, Range="bytes=300000-900000").content == data[300_000:900_001]
