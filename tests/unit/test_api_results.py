"""Logs, result tables, figures and artifacts: what a run left, as it is served."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.results import _text
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.outcome import Reason
from tests.services import until
from tests.unit.front_desk import ARROW, CSV, Counter, Made, Stand, ran, slug

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def job(stand: Stand, us: Counter) -> str:
    """A job that succeeded."""
    name = us.job()
    stand.worker.work()
    return name


def events(text: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, kind, data) of a stream, read as the standard says; comments are left out, and progress, which has no id."""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields and fields["event"] != "progress":
            yield fields["id"], fields["event"], json.loads(fields["data"])


# the log ---------------------------------------------------------------------------------------------------------------


def test_a_log_is_served_as_text_with_replacement(us: Counter, job: str) -> None:
    answer = us.get(f"/v1/jobs/{job}/log")
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, "text/plain; charset=utf-8", "hello\nwörld \ufffd\n")
    assert (answer.headers["x-content-type-options"], answer.headers["vary"]) == ("nosniff", "Accept")


def test_a_character_across_two_pieces_is_whole(stand: Stand, us: Counter) -> None:
    text = "ä" * 50_000
    stand.worker.make = lambda *_: Made(outputs={"log": b"x" + text.encode()})
    job = us.job()
    stand.worker.work()
    assert us.get(f"/v1/jobs/{job}/log").text == "x" + text
    told = list(events(us.get(f"/v1/jobs/{job}/log", headers=EVENTS).text))
    assert "".join(data["text"] for _, kind, data in told if kind == "log") == "x" + text


def test_a_running_job_says_what_it_has_said_so_far(stand: Stand, us: Counter) -> None:
    name = us.job()
    assert us.get(f"/v1/jobs/{name}/log").text == ""
    assert stand.worker.claim() is not None
    stand.events.publish(name, "log", {"attempt": 0, "offset": 0, "text": "of an attempt that was lost\n"})
    stand.events.publish(name, "log", {"attempt": 1, "offset": 0, "text": "hello\n"})
    assert us.get(f"/v1/jobs/{name}/log").text == "hello\n"


def test_what_a_running_job_has_said_is_sent_part_by_part(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader gets all of it, and none of it is gathered; a job that never falls silent is not followed."""
    name = us.job()
    assert stand.worker.claim() is not None
    for number in range(50):
        stand.events.publish(name, "log", {"attempt": 1, "offset": number, "text": f"{number},"})
    monkeypatch.setattr("api.live_log.SO_FAR_SECONDS", 0.5)
    job = stand.store.get_job(_tenant(stand), name)

    async def slowly() -> list[bytes]:
        pieces = []
        async for piece in _text(stand.desk, job):
            pieces.append(piece)
            await asyncio.sleep(0.02)
        return pieces

    assert stand.served.run(slowly()) == [f"{number},".encode() for number in range(50)]
    chatting = threading.Event()

    def chat() -> None:
        for number in itertools.count():
            if chatting.wait(0.01):
                return
            stand.events.publish(name, "log", {"attempt": 1, "offset": number, "text": "x"})

    with ThreadPoolExecutor(1) as pool:
        pool.submit(chat)
        try:
            assert us.get(f"/v1/jobs/{name}/log").status_code == 200
        finally:
            chatting.set()


def test_a_job_without_a_log_has_an_empty_one(us: Counter) -> None:
    name = us.job()
    us.post(f"/v1/jobs/{name}/cancel")
    assert us.get(f"/v1/jobs/{name}/log").text == ""


def test_other_forms_of_a_log_are_406(us: Counter, job: str) -> None:
    answer = us.get(f"/v1/jobs/{job}/log", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["available"]) == (406, ["text/plain", "text/event-stream"])


def test_events_come_live_and_end(stand: Stand, us: Counter) -> None:
    name = us.job()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(us.get, f"/v1/jobs/{name}/log", headers=EVENTS)
        claimed = stand.worker.claim()
        assert claimed is not None
        stand.events.publish(name, "state", {"state": "running", "reason": None})
        stand.events.publish(name, "log", {"attempt": 1, "offset": 0, "text": "a\n\nevent: end\ndata: {}\n\n"})
        stand.worker.finish(claimed)
        answer = following.result(20)
    assert answer.headers["content-type"] == "text/event-stream"
    told = list(events(answer.text))
    assert [kind for _, kind, _ in told] == ["state", "log", "end"]
    assert told[1][2]["text"] == "a\n\nevent: end\ndata: {}\n\n"
    assert told[2][2] == {"state": "succeeded", "reason": "ok"}
    assert [tuple(map(int, event_id.split("-"))) for event_id, _, _ in told] == sorted(
        tuple(map(int, event_id.split("-"))) for event_id, _, _ in told
    )


def test_a_final_job_is_told_again_from_the_stored_log(stand: Stand, us: Counter, job: str) -> None:
    stand.events.away = True
    told = list(events(us.get(f"/v1/jobs/{job}/log", headers=EVENTS).text))
    assert [(kind, data) for _, kind, data in told] == [
        ("log", {"attempt": 1, "offset": 0, "text": "hello\nwörld \ufffd\n"}),
        ("end", {"state": "succeeded", "reason": "ok"}),
    ]


def test_following_goes_on_behind_the_last_event(stand: Stand, us: Counter, job: str) -> None:
    path, told = f"/v1/jobs/{job}/log", list(events(us.get(f"/v1/jobs/{job}/log", headers=EVENTS).text))
    rest = list(events(us.get(path, headers={**EVENTS, "Last-Event-ID": told[0][0]}).text))
    assert rest == told[1:]
    assert list(events(us.get(path, headers={**EVENTS, "Last-Event-ID": "nonsense"}).text)) == told
    live = stand.events.published(job)[-1].id
    assert [kind for _, kind, _ in events(us.get(path, headers={**EVENTS, "Last-Event-ID": f"{int(live.split('-')[0]) - 1}-0"}).text)] == [
        "end"
    ]


@pytest.mark.parametrize("offset", [15, 10**6, 2**63 - 1, 10**19 - 1])
def test_a_last_event_beyond_the_log_means_its_end(us: Counter, job: str, offset: int) -> None:
    told = list(events(us.get(f"/v1/jobs/{job}/log", headers=EVENTS | {"Last-Event-ID": "9999999999999-0"}).text))
    assert [kind for _, kind, _ in told] == ["log", "end"]
    answer = us.get(f"/v1/jobs/{job}/log", headers=EVENTS | {"Last-Event-ID": f"9999999999999-{offset}"})
    assert list(events(answer.text)) == told[-1:]


def test_a_follower_comes_back_after_redis_was_wiped(stand: Stand, us: Counter) -> None:
    """Its last event is known to nobody any more: while the job runs it gets what is new, and after the end the whole log."""
    name = us.job()
    claimed, path = stand.worker.claim(), f"/v1/jobs/{name}/log"
    assert claimed is not None
    stand.events.publish(name, "log", {"attempt": 1, "offset": 0, "text": "hel"})
    last = stand.events.published(name)[-1].id
    stand.events.forget(name)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(us.get, path, headers=EVENTS | {"Last-Event-ID": last})
        stand.events.publish(name, "log", {"attempt": 1, "offset": 3, "text": "lo\n"})
        stand.worker.finish(claimed)
        told = list(events(following.result(20).text))
    assert [(kind, data.get("offset")) for _, kind, data in told] == [("log", 3), ("end", None)]
    stand.events.forget(name)
    again = list(events(us.get(path, headers=EVENTS | {"Last-Event-ID": told[-1][0]}).text))
    assert [(kind, data.get("offset")) for _, kind, data in again] == [("log", 0), ("end", None)]
    rest = list(events(us.get(path, headers=EVENTS | {"Last-Event-ID": again[0][0]}).text))
    assert rest == again[1:]


def test_progress_tells_how_many_jobs_are_ahead(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.live_log.PLACE_SECONDS", 0.05)
    monkeypatch.setattr("api.live_log.POLL_SECONDS", 0.01)
    first, name = us.job(), us.job()
    asked: list[None] = []
    follow = stand.events.follow
    monkeypatch.setattr(stand.events, "follow", lambda *given, **named: asked.append(None) or follow(*given, **named))
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(us.get, f"/v1/jobs/{name}/log", headers=EVENTS)
        until(lambda: len(asked) > 2, seconds=10, what="a few silent rounds")
        us.post(f"/v1/jobs/{first}/cancel")
        seen = len(asked)
        until(lambda: len(asked) > seen + 1, seconds=10, what="a round after the cancel")
        us.post(f"/v1/jobs/{name}/cancel")
        text = following.result(20).text
    assert [block for block in text.split("\n\n") if "progress" in block] == [
        'event: progress\ndata: {"queue_position": 1, "estimated_start_at": null}',
        'event: progress\ndata: {"queue_position": 0, "estimated_start_at": null}',
    ]


def test_without_redis_a_follower_gets_the_stored_log_and_the_end(stand: Stand, us: Counter) -> None:
    stand.events.away = True
    name = us.job()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(us.get, f"/v1/jobs/{name}/log", headers=EVENTS)
        stand.worker.work()
        assert [kind for _, kind, _ in events(following.result(20).text)] == ["log", "end"]


def test_a_job_that_is_cancelled_while_followed_ends_the_stream(us: Counter) -> None:
    name = us.job()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(us.get, f"/v1/jobs/{name}/log", headers=EVENTS)
        us.post(f"/v1/jobs/{name}/cancel")
        assert [data for _, kind, data in events(following.result(20).text) if kind == "end"] == [
            {"state": "cancelled", "reason": "cancelled"}
        ]


def test_a_silent_stream_is_kept_alive(stand: Stand, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.live_log.KEEP_ALIVE_SECONDS", 0.0)
    monkeypatch.setattr("api.live_log.PLACE_SECONDS", 0.05)
    monkeypatch.setattr("api.live_log.POLL_SECONDS", 0.01)
    name, asked, follow = us.job(), [], stand.events.follow

    def counted(*arguments: Any, **named: Any) -> Any:
        asked.append(named)
        return follow(*arguments, **named)

    monkeypatch.setattr(stand.events, "follow", counted)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(us.get, f"/v1/jobs/{name}/log", headers=EVENTS)
        until(lambda: len(asked) > 3, seconds=10, what="a few silent rounds")
        us.post(f"/v1/jobs/{name}/cancel")
        assert ": keep-alive\n\n" in following.result(20).text


# tables ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "expected"), [("result", b"ARROW1-result"), ("result2", b"ARROW1-second")])
def test_a_result_is_an_arrow_file_or_made_into_another_form(stand: Stand, us: Counter, job: str, output: str, expected: bytes) -> None:
    path, before = f"/v1/jobs/{job}/{output}", stand.kept()
    arrow, csv = us.get(path), us.get(path, headers={"Accept": CSV})
    assert (arrow.headers["content-type"], arrow.content) == (ARROW, expected)
    assert (csv.headers["content-type"].split(";")[0], csv.content) == (CSV, b"csv of " + expected)
    assert us.get(path, headers={"Range": "bytes=0-5"}).content == b"ARROW1"
    assert us.get(path, headers={"If-None-Match": arrow.headers["etag"]}).status_code == 304
    assert us.get(path, headers={"Accept": "image/png"}).json()["available"] == [
        ARROW,
        *(FORMATS[name][0][0] for name in TABLE_FORMATS[1:]),
    ]
    assert arrow.headers["content-disposition"].startswith(f'attachment; filename="{job}-{output}.arrow"; ')
    assert stand.kept() == before


@pytest.mark.parametrize("rest", ["result", "result2", "figures", "figures/0", "artifacts", "artifacts/x"])
def test_what_is_not_there_yet_is_409(stand: Stand, us: Counter, rest: str) -> None:
    name = us.job()
    answers = [us.get(f"/v1/jobs/{name}/{rest}")]
    stand.worker.claim()
    answers.append(us.get(f"/v1/jobs/{name}/{rest}"))
    assert [(answer.status_code, slug(answer)) for answer in answers] == [(409, "not-finished")] * 2


def test_a_failed_or_cancelled_job_has_no_result(stand: Stand, us: Counter) -> None:
    stand.worker.make = lambda *_: Made(Reason.TIMED_OUT, outputs={"log": b"x"})
    failed = us.job()
    stand.worker.work()
    cancelled = us.job()
    us.post(f"/v1/jobs/{cancelled}/cancel")
    for name in (failed, cancelled):
        answer = us.get(f"/v1/jobs/{name}/result")
        assert (answer.status_code, slug(answer)) == (404, "not-found")
    assert us.get(f"/v1/jobs/{failed}/log").text == "x"


# figures and artifacts -----------------------------------------------------------------------------------------------------


def test_figures_are_listed_and_sent(us: Counter, job: str) -> None:
    items = us.get(f"/v1/jobs/{job}/figures").json()["items"]
    assert [(item["n"], item["name"], item["media_type"], item["bytes"]) for item in items] == [
        (0, "plot one.png", "image/png", 8),
        (1, "b.svg", "image/svg+xml", 6),
    ]
    png, svg = (us.get(item["href"]) for item in items)
    assert (png.content, svg.content) == (b"\x89PNG-one", b"<svg/>")
    assert png.headers["content-disposition"] == "inline; filename=\"plot one.png\"; filename*=UTF-8''plot%20one.png"
    assert svg.headers["content-disposition"].startswith("attachment;")
    assert us.get(items[0]["href"], headers={"Range": "bytes=1-3"}).content == b"PNG"


def test_artifacts_are_found_by_their_names(us: Counter, job: str) -> None:
    item = us.get(f"/v1/jobs/{job}/artifacts").json()["items"][0]
    assert (item["name"], item["href"]) == ("models/ä b.bin", f"/v1/jobs/{job}/artifacts/models/%C3%A4%20b.bin")
    answer = us.get(item["href"])
    assert (answer.content, answer.headers["content-disposition"]) == (
        b"model",
        "attachment; filename=\"_ b.bin\"; filename*=UTF-8''%C3%A4%20b.bin",
    )


@pytest.mark.parametrize("rest", ["figures/0", "figures/1", "artifacts/models/%C3%A4%20b.bin"])
def test_no_browser_runs_what_a_script_left(us: Counter, job: str, rest: str) -> None:
    headers = us.get(f"/v1/jobs/{job}/{rest}").headers
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("rest", ["figures/2", "figures/-1", "artifacts/nothing", "artifacts/models", "artifacts/b.svg"])
def test_a_file_that_is_not_there_is_404(us: Counter, job: str, rest: str) -> None:
    assert slug(us.get(f"/v1/jobs/{job}/{rest}")) == "not-found"


def test_failed_jobs_keep_their_files(stand: Stand, us: Counter) -> None:
    made = ran()
    made.reason = Reason.TIMED_OUT
    stand.worker.make = lambda *_: made
    name = us.job()
    stand.worker.work()
    assert us.get(f"/v1/jobs/{name}").json()["state"] == "failed"
    assert us.get(f"/v1/jobs/{name}/figures/0").content == b"\x89PNG-one"


@pytest.mark.parametrize(
    "entry",
    [
        {"role": "figure", "name": "a.png", "offset": 0, "bytes": 100},
        {"role": "figure", "name": "a.png", "offset": -1, "bytes": 1},
        {"role": "figure", "name": "a.png", "offset": 2**70, "bytes": 1},
        {"role": "figure", "name": "a.png", "offset": True, "bytes": 1},
        {"role": "figure", "name": "", "offset": 0, "bytes": 1},
        {"role": "artifact", "name": "..", "offset": 0, "bytes": 1},
        {"role": "artifact", "name": "a/../../b", "offset": 0, "bytes": 1},
        {"role": "artifact", "name": "./a", "offset": 0, "bytes": 1},
        {"role": "artifact", "name": "/etc/passwd", "offset": 0, "bytes": 1},
        {"role": "artifact", "name": "a//b", "offset": 0, "bytes": 1},
        {"role": "figure", "name": 5, "offset": 0, "bytes": 1},
        {"role": "other", "name": "a.png", "offset": 0, "bytes": 1},
        "nonsense",
    ],
)
def test_a_forged_list_of_files_reaches_nothing_but_its_own_blob(stand: Stand, us: Counter, entry: Any) -> None:
    stand.worker.make = lambda *_: Made(outputs={"files": b"0123456789"}, report={"files": [entry]})
    name = us.job()
    stand.worker.work()
    assert us.get(f"/v1/jobs/{name}/figures").json() == us.get(f"/v1/jobs/{name}/artifacts").json() == {"items": []}
    assert us.get(f"/v1/jobs/{name}/figures/0").status_code == 404


@pytest.mark.parametrize("media_type", ["text/html\r\nSet-Cookie: a=b", "no type", "", None, "a/" + "b" * 100])
def test_a_forged_media_type_is_plain_bytes(stand: Stand, us: Counter, media_type: Any) -> None:
    entry = {"role": "figure", "name": "a\r\nb\u202e/\ud800.png", "media_type": media_type, "offset": 0, "bytes": 1}
    stand.worker.make = lambda *_: Made(outputs={"files": b"0"}, report={"files": [entry]})
    name = us.job()
    stand.worker.work()
    answer = us.get(f"/v1/jobs/{name}/figures/0")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert "\r" not in answer.headers["content-disposition"]
    assert "set-cookie" not in answer.headers


def test_a_blob_that_went_missing_is_404_and_no_crash(stand: Stand, us: Counter, job: str) -> None:
    stand.desk.blobs.delete(_tenant(stand), f"jobs/{job}")
    assert [us.get(f"/v1/jobs/{job}/{rest}").status_code for rest in ("result", "figures/0", "log")] == [404, 404, 200]


def _tenant(stand: Stand) -> str:
    return until(lambda: stand.store.tenant_of_key(stand.key), seconds=1, what="the tenant").id
