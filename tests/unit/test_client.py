"""The client: what it repeats and what it does not, what it raises, and how it reads events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fumehood.client.body import Upload
from fumehood.client.errors import (
    Broken,
    ClientError,
    InTheWay,
    KeyRefused,
    NotThere,
    ServiceProblem,
    TooBusy,
    Unreachable,
    Unusable,
)  # fmt: skip
from fumehood.client.events import LINE_BYTES_MAX, ServerEvent, read_events
from fumehood.client.following import batch_progress, follow_all, follow_batch
from fumehood.client.surface import ATTEMPTS_MAX, BACKOFF_SECONDS, Surface
from fumehood.client.watching import Patience
from fumehood.client.wire import each_now

Handler = Callable[[httpx.Request], httpx.Response]
JOB = {"id": "job_1", "state": "succeeded"}


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(pauses: list[float]) -> Iterator[Callable[[Handler], Surface]]:
    opened: list[Surface] = []

    def make(handler: Handler) -> Surface:
        opened.append(Surface("http://desk", "fh_key", transport=httpx.MockTransport(handler), sleep=pauses.append))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def script(tmp_path: Path) -> Upload:
    (tmp_path / "script.py").write_bytes(b"def azureml_main(): ...\n")
    return Upload(path=tmp_path / "script.py", media_type="text/x-python")


def problem(status: int, slug: str = "x", **more: Any) -> httpx.Response:
    document = {"type": f"urn:fumehood:problem:{slug}", "title": "t", "status": status, "detail": "what was wrong", **more}
    return httpx.Response(status, json=document, headers={"Content-Type": "application/problem+json", "Retry-After": "7"})


class Line:
    """Answers in turn; an exception is raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.read())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


# repeating -------------------------------------------------------------------------------------------------------------


def test_a_submission_is_repeated_after_a_broken_connection_with_the_same_key_and_files(
    client: Callable[[Handler], Surface], script: Upload, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    line = Line(httpx.ReadError("reset"), httpx.ConnectError("refused"), httpx.Response(202, json=JOB))

    record = client(line).submit(
        script, {"dataset1": Upload(path=tmp_path / "a.csv", media_type="text/csv"), "dataset2": "ds_1"}, {"parameters": {"n": 1}}
    )

    assert record == JOB
    assert len({request.headers["idempotency-key"] for request in line.requests}) == 1
    for request, body in zip(line.requests, line.bodies, strict=True):
        assert body.count(b"x\n1\n") == 1
        assert body.count(b"def azureml_main(): ...\n") == 1
        assert json.dumps({"parameters": {"n": 1}, "dataset2": "ds_1"}).encode() in body
        assert int(request.headers["content-length"]) == len(body)


def test_a_file_s_name_cannot_end_its_header(client: Callable[[Handler], Surface], script: Upload) -> None:
    line = Line(httpx.Response(202, json=JOB))

    client(line).submit(script, {"dataset1": replace(script, name='a"\r\nX: y\r\n.csv')}, {})

    assert b'filename="a%22%0D%0AX: y%0D%0A.csv"\r\n' in line.bodies[0]


def test_two_submissions_have_different_keys(client: Callable[[Handler], Surface], script: Upload) -> None:
    line = Line(httpx.Response(202, json=JOB), httpx.Response(202, json=JOB))
    one = client(line)
    one.submit(script, {}, {})
    one.submit(script, {}, {})

    assert line.requests[0].headers["idempotency-key"] != line.requests[1].headers["idempotency-key"]


def test_repeating_ends_and_says_what_the_last_try_met(client: Callable[[Handler], Surface], script: Upload, pauses: list[float]) -> None:
    line = Line(*[httpx.ConnectError("refused")] * 10)

    with pytest.raises(Unreachable, match="http://desk cannot be reached: refused"):
        client(line).submit(script, {}, {})

    assert len(line.requests) == ATTEMPTS_MAX
    assert pauses == sorted(pauses)
    assert len(pauses) == ATTEMPTS_MAX - 1


def test_a_submission_that_is_still_being_handled_is_asked_for_again(client: Callable[[Handler], Surface], script: Upload) -> None:
    line = Line(httpx.ReadTimeout("slow"), problem(409, "idempotency-busy"), httpx.Response(202, json=JOB))

    assert client(line).submit(script, {}, {}) == JOB


@pytest.mark.parametrize("status", [401, 409, 422, 429, 500, 503])
def test_an_answer_is_never_asked_for_twice(client: Callable[[Handler], Surface], script: Upload, status: int) -> None:
    line = Line(problem(status))

    with pytest.raises(ServiceProblem):
        client(line).submit(script, {}, {})

    assert len(line.requests) == 1


def test_who_is_too_fast_for_a_moment_waits_as_long_as_it_is_told(
    client: Callable[[Handler], Surface], script: Upload, pauses: list[float]
) -> None:
    too_fast = problem(429, "quota-exceeded", quota="requests_per_second")
    too_fast.headers["Retry-After"] = "2"
    line = Line(too_fast, httpx.Response(202, json=JOB))

    assert client(line).submit(script, {}, {}) == JOB
    assert pauses == [2]


@pytest.mark.parametrize(("quota", "seconds"), [("queued_jobs", 2), ("requests_per_second", 6)])
def test_another_quota_and_a_long_wait_are_told_at_once(
    client: Callable[[Handler], Surface], script: Upload, quota: str, seconds: int
) -> None:
    answer = problem(429, "quota-exceeded", quota=quota)
    answer.headers["Retry-After"] = str(seconds)
    line = Line(answer)

    with pytest.raises(TooBusy) as caught:
        client(line).submit(script, {}, {})

    assert (len(line.requests), caught.value.retry_after_seconds, caught.value.problem["quota"]) == (1, seconds, quota)


def test_what_is_read_is_counted_for_a_progress_bar(client: Callable[[Handler], Surface], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 200_000)
    counted: list[int] = []
    line = Line(httpx.Response(201, json={"id": "ds_1"}))

    client(line).upload_dataset(Upload(path=path, media_type="text/csv"), on_bytes=counted.append)

    assert sum(counted) == 200_000
    assert len(counted) > 2
    assert (line.requests[0].headers["content-length"], line.requests[0].headers["content-type"]) == ("200000", "text/csv")
    assert line.requests[0].url.params["name"] == "a.csv"


# problems --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Unusable), (401, KeyRefused), (403, KeyRefused), (404, NotThere), (406, Unusable), (409, InTheWay), (410, NotThere),
        (413, Unusable), (415, Unusable), (422, Unusable), (429, TooBusy), (500, Broken), (502, Broken), (503, TooBusy),
    ],
)  # fmt: skip
def test_a_problem_becomes_a_typed_error_with_all_it_says(
    client: Callable[[Handler], Surface], status: int, kind: type[ServiceProblem]
) -> None:
    answer = problem(status, "some-slug", errors=[{"pointer": "/limits/cpus", "detail": "too many"}])

    with pytest.raises(ServiceProblem) as caught:
        client(Line(answer)).job("job_1")

    error = caught.value
    assert type(error) is kind
    assert (error.status, error.slug, error.detail, error.retry_after_seconds) == (status, "some-slug", "what was wrong", 7)
    assert [(field.pointer, field.detail) for field in error.errors] == [("/limits/cpus", "too many")]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<h1>It works</h1>"),
        httpx.Response(200, json=["no", "object"]),
        httpx.Response(302, headers={"Location": "http://elsewhere/"}),
        httpx.Response(502, html="<h1>Bad gateway</h1>"),
    ],
    ids=["page", "list", "redirect", "gateway"],
)
def test_what_is_no_fumehood_is_said_to_be_none(client: Callable[[Handler], Surface], answer: httpx.Response) -> None:
    with pytest.raises(Broken, match="is this the address of a Fumehood"):
        client(Line(answer)).job("job_1")


def test_an_answer_without_an_end_is_given_up(client: Callable[[Handler], Surface], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.client.surface.DOCUMENT_BYTES_MAX", 1000)

    with pytest.raises(Broken, match="longer than 1,000 bytes"):
        client(Line(httpx.Response(200, json={"long": "x" * 2000}))).job("job_1")


def test_a_download_that_breaks_off_is_an_error(client: Callable[[Handler], Surface]) -> None:
    def half() -> Iterator[bytes]:
        yield b"first half"
        raise httpx.RemoteProtocolError("peer closed connection")

    taken: list[bytes] = []
    with pytest.raises(Unreachable, match="peer closed"), client(Line(httpx.Response(200, content=half()))).content("/x") as response:
        taken.extend(response.iter_bytes())
    assert taken == [b"first half"]


@pytest.mark.parametrize("url", ["desk", "ftp://desk", "http://", "http://desk:port", ""])
def test_an_address_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    with pytest.raises(ClientError, match="the address"):
        Surface(url, None)


def test_a_job_id_cannot_lead_to_another_address(client: Callable[[Handler], Surface]) -> None:
    line = Line(httpx.Response(200, json=JOB))
    client(line).job("../datasets?x#y")

    assert line.requests[0].url.raw_path == b"/v1/jobs/..%2Fdatasets%3Fx%23y"


def test_the_key_travels_in_its_header_and_only_there(client: Callable[[Handler], Surface], script: Upload) -> None:
    line = Line(httpx.Response(202, json=JOB))
    client(line).submit(script, {}, {})

    assert line.requests[0].headers["authorization"] == "Bearer fh_key"
    assert b"fh_key" not in line.bodies[0]
    assert "fh_key" not in str(line.requests[0].url)


def test_pages_are_followed_to_the_last(client: Callable[[Handler], Surface]) -> None:
    line = Line(
        httpx.Response(200, json={"items": [{"id": "a"}], "next": "c/2"}), httpx.Response(200, json={"items": [{"id": "b"}], "next": None})
    )

    assert [job["id"] for job in client(line).jobs(state="failed", label=None)] == ["a", "b"]
    assert [dict(request.url.params) for request in line.requests] == [{"state": "failed"}, {"state": "failed", "cursor": "c/2"}]


def test_a_service_that_is_not_ready_still_says_how_its_parts_are(client: Callable[[Handler], Surface]) -> None:
    parts = {"ready": False, "parts": {"redis": {"ok": False, "detail": "does not answer"}}}

    assert client(Line(httpx.Response(503, json=parts))).ready() == parts


# events ----------------------------------------------------------------------------------------------------------------
STREAM = (
    'id: 1-0\nevent: state\ndata: {"state": "running"}\n\n: keep-alive\n\nid: 2-0\r\nevent: log\r\ndata: {"text": "a\u2028b\x85c"}\r\n\r\n'
).encode()


def told(chunks: list[bytes]) -> list[ServerEvent]:
    async def come() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return list(each_now(read_events(come())))


@pytest.mark.parametrize("width", [1, 2, 7, 1000])
def test_events_are_read_however_they_are_cut(width: int) -> None:
    chunks = [STREAM[n : n + width] for n in range(0, len(STREAM), width)]

    assert told(chunks) == [
        ServerEvent("state", "1-0", {"state": "running"}),
        ServerEvent("tick"),
        ServerEvent("log", "2-0", {"text": "a\u2028b\x85c"}),
    ]


def test_an_event_that_the_end_cut_short_is_dropped() -> None:
    assert told([b'id: 1\nevent: log\ndata: {"text": "x"}\n']) == []


@pytest.mark.parametrize("stream", [b"data: [1]\n\n", b"data: {\n\n", b"x" * (LINE_BYTES_MAX + 1)])
def test_a_stream_that_is_not_ours_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        told([stream])


def events(*frames: bytes, then: Exception | None = None) -> httpx.Response:
    def stream() -> Iterator[bytes]:
        yield from frames
        if then is not None:
            raise then

    return httpx.Response(200, content=stream(), headers={"Content-Type": "text/event-stream"})


def test_a_broken_stream_is_taken_up_behind_the_last_event(client: Callable[[Handler], Surface]) -> None:
    line = Line(
        events(b'id: 5-0\nevent: log\ndata: {"text": "a"}\n\n', then=httpx.ReadError("reset")),
        httpx.Response(200, json={"id": "job_1", "state": "running"}),
        events(b'id: 6-0\nevent: log\ndata: {"text": "b"}\n\nid: 7-0\nevent: end\ndata: {}\n\n'),
    )

    assert [event.data.get("text") for event in client(line).follow("job_1")] == ["a", "b", None]
    assert "last-event-id" not in line.requests[0].headers
    assert line.requests[2].headers["last-event-id"] == "5-0"


def test_who_stops_listening_closes_the_connection(client: Callable[[Handler], Surface]) -> None:
    answer = events(b'id: 5-0\nevent: log\ndata: {"text": "a"}\n\n', then=AssertionError())
    listening = client(Line(answer)).follow("job_1")

    next(listening)
    assert not answer.is_closed
    listening.close()  # type: ignore[attr-defined]
    assert answer.is_closed


def test_following_ends_with_the_job_where_no_event_says_so(client: Callable[[Handler], Surface]) -> None:
    assert list(client(Line(events(), httpx.Response(200, json=JOB))).follow("job_1")) == []


def test_following_ends_with_an_error_where_the_service_stays_away(client: Callable[[Handler], Surface]) -> None:
    line = Line(events(then=httpx.ReadError("reset")), *[httpx.ConnectError("refused")] * ATTEMPTS_MAX)

    with pytest.raises(Unreachable, match="refused"):
        list(client(line).follow("job_1"))


def test_waiting_asks_until_the_job_is_final(client: Callable[[Handler], Surface], pauses: list[float]) -> None:
    line = Line(
        httpx.Response(200, json={"state": "queued"}), httpx.Response(200, json={"state": "running"}), httpx.Response(200, json=JOB)
    )

    assert client(line).wait("job_1") == JOB
    assert all(request.url.params["wait"] for request in line.requests)
    assert len(pauses) == 2


# a batch's events, and those of all --------------------------------------------------------------------------------------

BATCH = {"id": "bat_1", "finished_at": None, "counts": {"queued": 1}}
PROGRESS = b'id: 5-0\nevent: progress\ndata: {"counts": {"queued": 1}}\n\n'
ENDED = b'id: 7-0\nevent: end\ndata: {"counts": {"queued": 0}}\n\n'


def test_a_broken_stream_of_a_batch_is_taken_up_behind_the_last_id(client: Callable[[Handler], Surface], pauses: list[float]) -> None:
    item = b'event: item\ndata: {"number": 0}\n\n'
    line = Line(events(PROGRESS, item, then=httpx.ReadError("reset")), httpx.Response(200, json=BATCH), events(item, ENDED))
    told = list(each_now(follow_batch(client(line).later, "bat_1")))
    assert [event.kind for event in told] == ["progress", "item", "item", "end"]
    assert "last-event-id" not in line.requests[0].headers
    assert line.requests[2].headers["last-event-id"] == "5-0"
    assert pauses == [BACKOFF_SECONDS]


def test_without_a_stream_the_progress_of_a_batch_is_asked_for(client: Callable[[Handler], Surface]) -> None:
    done = {**BATCH, "finished_at": "2025-01-01T00:00:00.000Z"}
    for refusal in (problem(404), problem(503)):
        line = Line(refusal, httpx.Response(200, json=BATCH), httpx.Response(200, json=done))
        assert list(each_now(batch_progress(client(line).later, BATCH, Patience(None, "bat_1")))) == [BATCH, done]
        assert [request.url.path for request in line.requests] == ["/v1/batches/bat_1/events", "/v1/batches/bat_1", "/v1/batches/bat_1"]


def test_all_events_are_followed_over_several_connections(client: Callable[[Handler], Surface]) -> None:
    job = b'id: 6-0\nevent: job\ndata: {"id": "job_1", "state": "queued"}\n\n'
    broken = events(job, then=httpx.ReadError("reset"))
    line = Line(events(job), httpx.Response(200, json={}), broken, *[httpx.ConnectError("no")] * ATTEMPTS_MAX)
    told = each_now(follow_all(client(line).later, after="4-0"))
    assert [next(told).kind, next(told).kind] == ["job", "job"]
    with pytest.raises(Unreachable):
        next(told)
    assert [line.requests[n].headers["last-event-id"] for n in (0, 2)] == ["4-0", "6-0"]


def test_events_are_followed_for_as_long_as_was_asked(client: Callable[[Handler], Surface]) -> None:
    line = Line(events(PROGRESS))
    assert [event.kind for event in each_now(follow_all(client(line).later, seconds=0))] == ["progress"]
    assert line.requests[0].url.params["seconds"] == "0.000"
