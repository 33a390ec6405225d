"""/v1/scripts/{script}/score over HTTP: what a call is given, what it is answered, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from api.call_tables import missing_table
from fumehood.errors import NotFound, StoreUnavailable
from fumehood.job import Job, Kind, Lane, State
from fumehood.outcome import Reason
from tests.services import until
from tests.unit.front_desk import ARROW, CSV, DISCONNECT, SCRIPT, Counter, Made, Stand, body, pointers, ran, slug
from tests.unit.stores import version_of
from worker.expected import expected_of

JSON = "application/json"
COLUMN = {"name": "a", "type": "int64", "nullable": False}
PARAMETERS = {
    "n": {"type": "int", "default": 2},
    "x": {"type": "float", "default": 0.5},
    "word": {"type": "str", "default": "w"},
    "flag": {"type": "bool", "default": False},
}
SAID: dict[str, Any] = {
    "entry": {"parameters": [], "init": False},
    "schemas": {"inputs": {"dataset1": [COLUMN]}, "outputs": {"result": [COLUMN]}},
}


class Callee:
    """Plays the worker: a version's check goes well, and a call is answered with what the test says."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.calls: list[Job] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[Job, bytes], Made] = lambda job, content: Made(outputs={"result": b"[%s]" % content})
        self._usual = stand.worker.make
        stand.worker.make = self._make

    def _make(self, job: Job, content: bytes) -> Made:
        if job.kind is Kind.CHECK:
            made = ran()
            columns = {**SAID["schemas"], **({} if "dataset1" in job.inputs else {"inputs": {}})}
            made.report = {**made.report, **SAID, "schemas": columns}
            return made
        if job.kind is Kind.SCORE:
            self.calls.append(job)
            self.bodies.append(content)
            return self.answer(job, content)
        return self._usual(job, content)

    def publish(self, name: str = "score", **document: Any) -> None:
        document = {"script": SCRIPT, "sample": self.stand.us.dataset(), "parameters": PARAMETERS, **document}
        answer = self.stand.us.put(f"/v1/scripts/{name}", json=document, headers={"Prefer": "wait=20"})
        assert (answer.status_code, answer.json()["state"]) == (201, "ready"), answer.text


@pytest.fixture
def callee(stand: Stand) -> Callee:
    stand.queue.awake = set(Lane)
    made = Callee(stand)
    made.publish()
    return made


def score(us: Counter, content: bytes = b"a\n1\n", *, script: str = "score", headers: dict[str, str] | None = None, **query: Any) -> Any:
    return us.post(f"/v1/scripts/{script}/score", content=content, headers={"Content-Type": CSV, **(headers or {})}, params=query)


# the answer --------------------------------------------------------------------------------------------------------------


def test_a_call_is_answered_with_the_result_and_says_which_job_and_version_it_was(callee: Callee, us: Counter) -> None:
    answer = score(us)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"[a\n1\n]", JSON)
    (job,) = callee.calls
    assert answer.headers["fumehood-job"] == job.id
    assert answer.headers["fumehood-script"] == "score/1"
    assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Accept", "no-store")
    assert "etag" not in answer.headers
    record = us.get(f"/v1/jobs/{job.id}").json()
    assert (record["state"], record["inputs"]["dataset1"]["bytes"]) == ("succeeded", 4)


def test_the_job_has_the_versions_files_columns_defaults_and_limits(callee: Callee, us: Counter) -> None:
    callee.publish("limited", limits={"wall_seconds": 7, "memory_bytes": 2**28})
    score(us, script="limited", n="3")
    (job,) = callee.calls
    version = callee.stand.store.get_version(job.tenant, "limited", 1)
    assert job.inputs["script"] == version.inputs["script"]
    assert (expected_of(job, callee.stand.store), job.inputs["dataset1"].format) == ({"schema": {"dataset1": [COLUMN]}}, "csv")
    assert job.inputs["dataset1"].blob == f"jobs/{job.id}/dataset1"
    assert job.parameters == {"n": 3, "x": 0.5, "word": "w", "flag": False}
    assert (job.kind, job.limits.wall_seconds, job.limits.memory_bytes, job.labels) == (Kind.SCORE, 7, 2**28, {})


@pytest.mark.parametrize(
    ("accept", "format", "media_type"),
    [
        (None, "json", JSON),
        ("*/*", "json", JSON),
        ("text/csv", "csv", CSV),
        (f"text/html, {ARROW};q=0.5", "arrow", ARROW),
        ("application/*;q=0.1, application/x-ndjson", "ndjson", "application/x-ndjson"),
    ],
)
def test_the_caller_chooses_the_format_and_the_sandbox_writes_it(
    callee: Callee, us: Counter, accept: str | None, format: str, media_type: str
) -> None:
    answer = score(us, headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200
    assert (callee.calls[0].target_format, answer.headers["content-type"].partition(";")[0]) == (format, media_type)


def test_nothing_runs_for_a_caller_who_takes_no_format_of_a_table(callee: Callee, us: Counter) -> None:
    answer = score(us, headers={"Accept": "image/png"})
    assert (answer.status_code, slug(answer)) == (406, "not-acceptable")
    assert callee.calls == []


def test_a_result_without_columns_is_an_empty_answer(callee: Callee, us: Counter) -> None:
    callee.answer = lambda job, content: Made()
    answer = score(us, headers={"Accept": CSV})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["fumehood-job"] == callee.calls[0].id


def test_a_body_may_be_json_or_of_a_version_without_a_sample_nothing(callee: Callee, us: Counter) -> None:
    callee.publish("bare", sample=None)
    given = b'{"columns": ["a"], "values": [[1]]}'
    assert score(us, given, headers={"Content-Type": f"{JSON}; charset=utf-8"}).status_code == 200
    assert us.post("/v1/scripts/bare/score").status_code == 200
    assert [("dataset1" in job.inputs and job.inputs["dataset1"].format) for job in callee.calls] == ["json", False]
    assert callee.bodies[0] == given


def test_a_forgotten_table_is_named_and_nothing_runs(callee: Callee, us: Counter) -> None:
    for content, headers in ((b"", {}), (b"", {"Content-Type": JSON})):
        answer = us.post("/v1/scripts/score/score", content=content, headers=headers)
        assert (answer.status_code, slug(answer)) == (422, "bad-request")
        assert answer.json()["errors"] == [{"pointer": "/body", "detail": "is missing; expected a table with the column a"}]
    assert callee.calls == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "a table without columns"),
        (["a", "b, c"], "a table with the columns a, b, c"),
        (["\x1b\ud800", "n\n"], "a table with the columns \\x1b?, n\\n"),
        ([f"{number}{'x' * 99}" for number in range(10_000)], ", ".join(f"{number}{'x' * 59}" for number in range(10)) + " and 9,990 more"),
    ],
)
def test_the_columns_of_a_missing_table_are_named_as_far_as_a_line_holds_them(names: list[str], expected: str) -> None:
    columns = [{**COLUMN, "name": name} for name in names]
    told = missing_table(replace(version_of()[0], schemas={"inputs": {"dataset1": columns}, "outputs": {}}))
    assert told is not None
    assert told.startswith("is missing; expected a table with")
    assert told.endswith(expected)
    assert len(told) < 1000


def test_the_result_of_a_call_is_had_as_that_of_a_job_in_every_format(callee: Callee, us: Counter) -> None:
    callee.answer = lambda job, content: Made(outputs={"result": b"a\n7\n", "result2": b"ARROW1-second"})
    job = score(us, headers={"Accept": CSV}).headers["fumehood-job"]
    stored = us.get(f"/v1/jobs/{job}/result")
    assert (stored.content, stored.headers["content-type"]) == (b"a\n7\n", CSV)
    assert us.get(f"/v1/jobs/{job}/result", headers={"Accept": CSV, "Range": "bytes=0-0"}).content == b"a"
    made = us.get(f"/v1/jobs/{job}/result", headers={"Accept": ARROW})
    assert (made.status_code, made.content) == (200, b"arrow of a\n7\n")
    assert us.get(f"/v1/jobs/{job}/result2").headers["content-type"] == ARROW
    assert us.get(f"/v1/jobs/{job}/result/preview").json()["head"]["rows"] == [["a\n7\n"]]
    other = us.job(dataset1={"job": job, "output": "result"}, dataset2={"job": job, "output": "result2"})
    inputs = us.get(f"/v1/jobs/{other}").json()["inputs"]
    assert (inputs["dataset1"]["format"], inputs["dataset2"]["format"]) == ("csv", "arrow")


# which version -----------------------------------------------------------------------------------------------------------


def test_a_version_an_alias_or_the_latest_is_called(callee: Callee, us: Counter) -> None:
    callee.publish()
    assert us.put("/v1/scripts/score/aliases/prod", json={"versions": [{"number": 1}]}).status_code == 200
    asked: list[dict[str, Any]] = [{}, {"version": 1}, {"alias": "prod"}, {"alias": "latest"}]
    assert [score(us, **query).headers["fumehood-script"] for query in asked] == ["score/2", "score/1", "score/1", "score/2"]


def test_the_calls_of_an_alias_are_shared_as_it_says(callee: Callee, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    callee.publish()
    shares = [{"number": 1, "share": 90}, {"number": 2, "share": 10}]
    assert us.put("/v1/scripts/score/aliases/canary", json={"versions": shares}).status_code == 200
    draws = iter([0.0, 0.89, 0.9, 0.99])
    monkeypatch.setattr("api.calls.random.random", lambda: next(draws))
    called = [score(us, alias="canary").headers["fumehood-script"] for _ in range(4)]
    assert called == ["score/1", "score/1", "score/2", "score/2"]


@pytest.mark.parametrize(
    ("script", "query", "status"),
    [
        ("other", {}, 404),
        ("No", {}, 404),
        ("score", {"version": 7}, 404),
        ("score", {"version": 0}, 404),
        ("score", {"version": 2**70}, 404),
        ("score", {"alias": "prod"}, 404),
        ("score", {"alias": "No such"}, 404),
        ("score", {"version": "one"}, 422),
        ("score", {"version": 1, "alias": "latest"}, 422),
        ("score", {"version": [1, 1]}, 422),
    ],
)
def test_a_version_that_is_not_there_is_not_called(callee: Callee, us: Counter, script: str, query: dict[str, Any], status: int) -> None:
    assert score(us, script=script, **query).status_code == status
    assert callee.calls == []


def test_only_a_version_that_is_ready_is_called(callee: Callee, us: Counter) -> None:
    callee.stand.queue.awake = {Lane.ERRANDS}
    for name in ("score", "young"):
        assert us.put(f"/v1/scripts/{name}", json={"script": SCRIPT}).status_code == 202
    assert [slug(score(us, version=2)), slug(score(us, script="young"))] == ["conflict"] * 2
    callee.stand.queue.awake = set(Lane)


# parameters --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"n": "-7"}, {"n": -7}),
        ({"x": "1"}, {"x": 1}),
        ({"x": "-1.5e3"}, {"x": -1500.0}),
        ({"word": ""}, {"word": ""}),
        ({"word": "5"}, {"word": "5"}),
        ({"flag": "true"}, {"flag": True}),
    ],
)
def test_a_parameter_in_the_address_is_read_by_its_type(
    callee: Callee, us: Counter, query: dict[str, str], expected: dict[str, Any]
) -> None:
    assert score(us, **query).status_code == 200
    assert callee.calls[0].parameters == {"n": 2, "x": 0.5, "word": "w", "flag": False} | expected


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("0.5", 0.5), ("true", True), ("null", None), ("[1]", "[1]"), ("1_000", "1_000"), ("1e999", "1e999")]
)
def test_one_without_a_type_is_what_its_text_is_in_json(callee: Callee, us: Counter, text: str, value: Any) -> None:
    SAID["entry"]["parameters"] = [{"name": "any", "type": None, "required": True}]
    try:
        callee.publish("untyped", parameters=None)
    finally:
        SAID["entry"]["parameters"] = []
    assert score(us, script="untyped", any=text).status_code == 200
    assert callee.calls[0].parameters == {"any": value}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"n": "1.5"}, ["/query/n"]),
        ({"n": "1_000"}, ["/query/n"]),
        ({"n": ""}, ["/query/n"]),
        ({"x": "nan", "flag": "yes"}, ["/query/x", "/query/flag"]),
        ({"x": "1e999"}, ["/query/x"]),
        ({"m": "1"}, ["/query/m"]),
        ({"n": ["1", "2"]}, ["/query/n"]),
        ({"a/b": "1"}, ["/query/a/b"]),
    ],
)
def test_a_parameter_that_the_version_does_not_have_so_is_named(
    callee: Callee, us: Counter, query: dict[str, Any], expected: list[str]
) -> None:
    assert pointers(score(us, **query)) == expected
    assert callee.calls == []


NEEDING = {
    "factor": {"type": "float", "example": 2.0},
    "count": {"type": "int", "example": 1},
    "other": {"type": "str", "default": None},
}


def test_a_parameter_without_a_default_has_to_be_said(callee: Callee, us: Counter) -> None:
    callee.publish("needing", parameters=NEEDING)
    assert score(us, script="needing").json()["errors"] == [
        {"pointer": "/query/factor", "detail": "is missing; expected a number"},
        {"pointer": "/query/count", "detail": "is missing; expected a whole number"},
    ]
    assert pointers(score(us, script="needing", count="x", version=1)) == ["/query/count", "/query/factor"]
    assert callee.calls == []
    assert score(us, script="needing", count="2", factor="1").status_code == 200


def test_what_only_the_function_knows_need_not_be_said(callee: Callee, us: Counter) -> None:
    """A default that no JSON says, and a function that takes whatever it is given."""
    for name, entry in (
        ("signature", {"parameters": [{"name": "any", "type": None, "required": False}]}),
        ("open", {"parameters": [], "more": True}),
    ):
        usual = dict(SAID["entry"])
        SAID["entry"].update(entry)
        try:
            callee.publish(name, parameters=None)
        finally:
            SAID["entry"].clear()
            SAID["entry"].update(usual)
        assert score(us, script=name).status_code == 200
    assert [call.parameters for call in callee.calls] == [{}, {}]


def test_a_refused_parameter_says_what_was_found_and_what_expected(callee: Callee, us: Counter) -> None:
    told = [score(us, **query).json()["errors"][0]["detail"] for query in ({"n": "x"}, {"m": "1"})]
    assert told == ["is the string 'x'; expected a whole number", "there is no parameter 'm'; the parameters are n, x, word, flag"]


@pytest.mark.parametrize("name", ["version", "alias"])
def test_a_parameter_with_the_name_of_what_a_call_says_of_itself_is_not_published(us: Counter, name: str) -> None:
    answer = us.put("/v1/scripts/score", json={"script": SCRIPT, "parameters": {name: {"type": "int", "default": 1}}})
    assert pointers(answer) == [f"/parameters/{name}"]


# what cannot be taken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/zip", "multipart/form-data; boundary=x"])
def test_a_table_of_no_known_format_is_refused(callee: Callee, us: Counter, media_type: str) -> None:
    answer = score(us, headers={"Content-Type": media_type})
    assert (answer.status_code, slug(answer)) == (415, "unsupported-format")
    assert JSON in answer.json()["available"]


def test_a_table_is_bounded_and_a_refused_call_leaves_nothing(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(dataset_bytes=100)
    stand.queue.awake = set(Lane)
    Callee(stand).publish(sample=None)
    before = stand.kept()
    assert slug(score(stand.us, b"a\n" * 100)) == "too-large"
    assert slug(score(stand.us, headers={"Content-Type": "text/plain"})) == "unsupported-format"
    assert pointers(score(stand.us, nothing="1")) == ["/query/nothing"]
    assert stand.kept() == before


def test_a_version_that_is_deleted_meanwhile_is_absent_and_leaves_nothing(
    callee: Callee, us: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = callee.stand.kept()

    def gone(*_: Any, **__: Any) -> Any:
        raise NotFound("the script has no version of this number")

    monkeypatch.setattr(type(callee.stand.store), "submit", gone)
    assert slug(score(us)) == "not-found"
    assert callee.stand.kept() == before


def test_more_calls_at_once_than_a_version_takes_are_too_many(callee: Callee, us: Counter) -> None:
    callee.publish("narrow", concurrency=1)
    callee.stand.queue.awake = {Lane.ERRANDS}
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(score(us, script="narrow")))
    first.start()
    until(lambda: us.get("/v1/jobs", params={"state": "queued"}).json()["items"], seconds=10, what="a call that waits")
    second = score(us, script="narrow")
    assert (second.status_code, slug(second), second.headers["retry-after"]) == (429, "busy-script", "1")
    assert "limit" in second.json()["detail"]
    callee.stand.queue.awake = set(Lane)
    assert score(us).status_code == 200, "another script is not busy"
    first.join(20)
    assert [answer.status_code for answer in answers] == [200]
    assert score(us, script="narrow").status_code == 200


# how it can end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "status", "kind"),
    [
        (Reason.SCRIPT_ERROR, 400, "script-failed"),
        (Reason.TIMED_OUT, 400, "script-failed"),
        (Reason.OUT_OF_MEMORY, 400, "script-failed"),
        (Reason.BAD_ENTRY_POINT, 400, "script-failed"),
        (Reason.BAD_RETURN, 400, "script-failed"),
        (Reason.CRASHED, 400, "script-failed"),
        (Reason.BAD_INPUT, 422, "bad-input"),
        (Reason.BAD_PARAMETERS, 422, "bad-input"),
    ],
)
def test_a_failure_of_the_tenants_is_told_as_one(callee: Callee, us: Counter, reason: Reason, status: int, kind: str) -> None:
    callee.answer = lambda job, content: Made(reason, "what went wrong")
    answer = score(us)
    problem = answer.json()
    assert (answer.status_code, slug(answer)) == (status, kind)
    assert (problem["detail"], problem["reason"], problem["job"]) == ("what went wrong", reason, callee.calls[0].id)


def test_a_scripts_error_is_told_as_in_the_record_of_the_job(callee: Callee, us: Counter) -> None:
    error = {"type": "ZeroDivisionError", "message": "division by zero", "line": 3, "traceback": "Traceback …"}
    callee.answer = lambda job, content: Made(Reason.SCRIPT_ERROR, "ZeroDivisionError: division by zero", error=error)
    problem = score(us).json()
    assert (problem["status"], problem["error"], problem["detail"]) == (400, error, "ZeroDivisionError: division by zero")
    assert us.get(f"/v1/jobs/{problem['job']}").json()["error"] == error


def test_each_column_that_is_not_as_the_sample_had_it_is_named(callee: Callee, us: Counter) -> None:
    notes = [
        {"kind": "unexpected_column", "column": "a/b", "from": "string", "to": "double", "text": "Column 'a/b' is string."},
        {"kind": "warning", "text": "of something else"},
        {"kind": "unexpected_column", "column": "c", "from": "", "to": "int64", "text": "Column 'c' is missing."},
    ]
    callee.answer = lambda job, content: Made(Reason.BAD_INPUT, "Column 'a/b' is string.", report={"notes": notes})
    answer = score(us)
    assert pointers(answer) == ["/body/a~1b", "/body/c"]
    assert [entry["detail"] for entry in answer.json()["errors"]] == ["Column 'a/b' is string.", "Column 'c' is missing."]


def test_a_failure_of_the_services_says_nothing_of_the_script(callee: Callee, us: Counter) -> None:
    error = {"type": "ValueError", "message": "of the script", "traceback": ""}
    callee.answer = lambda job, content: Made(Reason.SANDBOX_ERROR, "the engine at /run did not answer", error=error)
    answer = score(us)
    assert (answer.status_code, slug(answer), answer.headers["retry-after"]) == (503, "unavailable", "5")
    assert "of the script" not in answer.text
    assert "engine" not in answer.text
    assert answer.json()["job"] == callee.calls[0].id


def test_a_call_that_somebody_cancels_is_a_conflict(callee: Callee, us: Counter) -> None:
    callee.stand.queue.awake = {Lane.ERRANDS}
    answers: list[Any] = []
    call = threading.Thread(target=lambda: answers.append(score(us)))
    call.start()
    waiting = until(lambda: us.get("/v1/jobs", params={"state": "queued"}).json()["items"], seconds=10, what="a call that waits")
    assert us.post(f"/v1/jobs/{waiting[0]['id']}/cancel").status_code == 202
    call.join(20)
    (answer,) = answers
    assert (answer.status_code, slug(answer), answer.json()["reason"]) == (409, "score-cancelled", "cancelled")


def test_a_call_that_takes_too_long_is_cancelled_and_named(callee: Callee, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.scoring.SCORE_SECONDS", 0.2)
    callee.stand.queue.awake = {Lane.ERRANDS}
    answer = score(us)
    assert (answer.status_code, slug(answer)) == (504, "score-unfinished")
    record = us.get(f"/v1/jobs/{answer.json()['job']}").json()
    assert (record["state"], record["cancel_requested"]) == ("cancelled", True)


def test_a_call_that_ends_at_the_last_moment_is_answered(callee: Callee, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.scoring.SCORE_SECONDS", 0.2)
    callee.stand.queue.awake = {Lane.ERRANDS}
    stand, cancel = callee.stand, type(callee.stand.store).request_cancel

    def late(store: Any, tenant: str, job_id: str) -> Job:
        stand.worker.work(Lane.JOBS)
        return cancel(store, tenant, job_id)

    monkeypatch.setattr(type(stand.store), "request_cancel", late)
    assert score(us).status_code == 200


def test_a_caller_who_goes_away_cancels_the_call(callee: Callee, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.waiting.GONE_SECONDS", 0.05)
    callee.stand.queue.awake = {Lane.ERRANDS}
    callee.stand.exchange("POST", "/v1/scripts/score/score", [*body(b"a\n1\n"), DISCONNECT], {"Content-Type": CSV})
    (job,) = [job for job in callee.stand.store.list_jobs(callee.stand.store.list_tenants()[0][0].id)[0] if job.kind is Kind.SCORE]
    assert job.state is State.CANCELLED


def test_a_call_that_cannot_be_waited_for_is_cancelled(callee: Callee, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the job store does not answer")

    monkeypatch.setattr("api.scoring.wait_final", away)
    callee.stand.queue.awake = {Lane.ERRANDS}
    assert slug(score(us)) == "store-unavailable"
    until(lambda: us.get("/v1/jobs", params={"state": "cancelled"}).json()["items"], seconds=10, what="a call that is cancelled")
