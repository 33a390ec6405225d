"""/compat/studio over HTTP: clients of Azure Machine Learning Studio (classic) with another address and key, and what they are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fumehood.errors import StoreUnavailable
from fumehood.job import Job, Kind, Lane
from fumehood.outcome import Reason
from tests.unit.front_desk import CSV, SCRIPT, Counter, Made, Stand, body, ran, slug
from worker.expected import expected_of

ROOT = "/compat/studio/workspaces/w/services"
JSON = "application/json"
COLUMN = {"name": "a", "type": "int64", "nullable": False}
ENVELOPE = b'{"Inputs": {"input1": {"ColumnNames": ["a"], "Values": [["1"]]}}, "GlobalParameters": {"n": "3"}}'
PARAMETERS = {
    "n": {"type": "int", "default": 2},
    "x": {"type": "float", "default": 0.5},
    "word": {"type": "str", "default": "w"},
    "flag": {"type": "bool", "default": False},
}
ERROR = {"type": "ValueError", "message": "no", "traceback": "Traceback: no", "file": "script.py", "line": 2, "source": "", "frames": []}


class Service:
    """Plays the worker: a version's check goes well, and a call is answered with what the test says."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.jobs: list[Job] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[Job], Made] = lambda job: Made(outputs={"result": b'{"ColumnNames":["a"],"Values":[["1"]]}'})
        stand.queue.awake = set(Lane)
        self._usual = stand.worker.make
        stand.worker.make = self._make

    def _make(self, job: Job, content: bytes) -> Made:
        if job.kind is Kind.CHECK:
            inputs = {"dataset1": [COLUMN]} if "dataset1" in job.inputs else {}
            made, columns = ran(), {"inputs": inputs, "outputs": {"result": [COLUMN]}}
            made.report = {**made.report, "entry": {"parameters": [], "init": False}, "schemas": columns}
            return made
        if job.kind.runs_scripts:
            self.jobs.append(job)
            self.bodies.append(content)
            return self.answer(job)
        return self._usual(job, content)

    def publish(self, name: str = "stretch", **said: Any) -> None:
        document = {"script": SCRIPT, "sample": self.stand.us.dataset(), "parameters": PARAMETERS, **said}
        answer = self.stand.us.put(f"/v1/scripts/{name}", json=document, headers={"Prefer": "wait=20"})
        assert (answer.status_code, answer.json()["state"]) == (201, "ready"), answer.text


@pytest.fixture
def service(stand: Stand) -> Service:
    made = Service(stand)
    made.publish()
    return made


def execute(us: Counter, content: bytes = ENVELOPE, *, service: str = "stretch", **query: str) -> Any:
    given = {"api-version": "2.0", **query}
    return us.post(f"{ROOT}/{service}/execute", content=content, headers={"Content-Type": JSON}, params=given)


def told(answer: Any) -> tuple[int, str, str]:
    """Status, code, and the code of the details, of an answer that is a problem, too, and agrees with itself."""
    slug(answer)
    document = answer.json()
    error = document["error"]
    assert (document["status"], error["message"]) == (answer.status_code, document["detail"])
    assert error["details"]
    assert all(detail.keys() == {"code", "target", "message"} for detail in error["details"])
    return answer.status_code, error["code"], error["details"][0]["code"]


# calls -------------------------------------------------------------------------------------------------------------------


def test_a_call_is_answered_with_the_frame_around_what_the_sandbox_wrote(service: Service, us: Counter) -> None:
    answer = execute(us)
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert answer.content == b'{"Results":{"output1":{"type":"table","value":{"ColumnNames":["a"],"Values":[["1"]]}}}}'
    (job,) = service.jobs
    assert (answer.headers["fumehood-job"], answer.headers["fumehood-script"]) == (job.id, "stretch/1")
    assert answer.json()["Results"]["output1"]["value"]["Values"] == [["1"]]


def test_the_request_goes_into_the_sandbox_as_it_came(service: Service, us: Counter) -> None:
    for content in (ENVELOPE, b"no JSON at all", b'{"Inputs": [' * 10_000):
        execute(us, content)
    assert service.bodies == [ENVELOPE, b"no JSON at all", b'{"Inputs": [' * 10_000]
    job = service.jobs[0]
    types = {"n": "int", "x": "float", "word": "str", "flag": "bool"}
    expected = {"schema": {"dataset1": [COLUMN]}, "parameter_types": types}
    assert (job.inputs["dataset1"].format, expected_of(job, service.stand.store)) == ("studio", expected)
    # What stands in the document is read there, and goes over these.
    assert job.parameters == {"n": 2, "x": 0.5, "word": "w", "flag": False}


@pytest.mark.parametrize(
    ("query", "form"),
    [
        ({}, "studio"),
        ({"details": "false"}, "studio"),
        ({"details": "true"}, "studio-types"),
        ({"details": "True"}, "studio-types"),
        ({"format": "swagger"}, "studio-records"),
        ({"format": "swagger", "details": "true"}, "studio-records"),
    ],
)
def test_the_query_chooses_the_form_of_the_answer(service: Service, us: Counter, query: dict[str, str], form: str) -> None:
    assert execute(us, **query).status_code == 200
    assert service.jobs[0].target_format == form


def test_records_stand_in_the_answer_by_themselves(service: Service, us: Counter) -> None:
    service.answer = lambda job: Made(outputs={"result": b'[{"a":"1"}]'})
    assert execute(us, format="swagger").json() == {"Results": {"output1": [{"a": "1"}]}}


def test_the_older_name_and_no_query_at_all_do_as_well(service: Service, us: Counter) -> None:
    for path in ("execute", "score"):
        assert us.post(f"{ROOT}/stretch/{path}", content=ENVELOPE).status_code == 200


def test_a_large_answer_comes_whole(service: Service, us: Counter) -> None:
    rows = b",".join([b'["%d"]' % number for number in range(500_000)])
    service.answer = lambda job: Made(outputs={"result": b'{"ColumnNames":["a"],"Values":[' + rows + b"]}"})
    assert len(execute(us).json()["Results"]["output1"]["value"]["Values"]) == 500_000


def test_a_service_may_name_a_version_or_an_alias(service: Service, us: Counter) -> None:
    service.publish()
    us.put("/v1/scripts/stretch/aliases/prod", json={"versions": [{"number": 1}]})
    called = [execute(us, service=name).headers["fumehood-script"] for name in ("stretch", "stretch@1", "stretch@prod", "stretch@latest")]
    assert called == ["stretch/2", "stretch/1", "stretch/1", "stretch/2"]


def test_a_job_that_was_a_call_is_one_of_ours_like_any(service: Service, us: Counter) -> None:
    job = execute(us).headers["fumehood-job"]
    given = us.get(f"/v1/jobs/{job}/inputs").json()["items"][-1]
    assert (given["port"], given["format"], given["media_type"], given["name"]) == ("dataset1", "studio", JSON, "dataset1.json")
    assert us.get(f"/v1/jobs/{job}/inputs/dataset1").content == ENVELOPE
    result = us.get(f"/v1/jobs/{job}/result")
    assert (result.headers["content-type"], result.json()) == (JSON, {"ColumnNames": ["a"], "Values": [["1"]]})
    assert us.get(f"/v1/jobs/{job}/result", headers={"Accept": CSV}).status_code == 406
    assert us.get(f"/v1/jobs/{job}/result/preview").status_code == 404
    refused = us.submit(dataset1={"job": job, "output": "result"})
    assert refused.json()["errors"][0]["detail"].startswith(f"job {job} has left an answer in the form studio; expected a table (")


# refusals ----------------------------------------------------------------------------------------------------------------

ENDINGS = [
    # How the call ends, and what is told.
    (Made(Reason.SCRIPT_ERROR, "ValueError: no (line 2)", error=ERROR), (400, "ModuleExecutionError", "ModuleExecutionError")),
    (Made(Reason.BAD_RETURN, "it returned None"), (400, "ModuleExecutionError", "ModuleExecutionError")),
    (Made(Reason.BAD_INPUT, "The request is no JSON"), (400, "BadArgument", "InputParseError")),
    (Made(Reason.BAD_PARAMETERS, "no such parameter"), (400, "BadArgument", "UserParameterInvalid")),
    (Made(Reason.OUT_OF_MEMORY, "too much"), (413, "MemoryQuotaViolation", "OutOfMemoryLimit")),
    (Made(Reason.TIMED_OUT, "too long"), (408, "RequestTimeout", "ScoreRequestTimeout")),
    (Made(Reason.SANDBOX_ERROR, "the engine is away"), (503, "ServiceUnavailable", "NoMoreResources")),
]


@pytest.mark.parametrize(("made", "expected"), ENDINGS, ids=[made.reason for made, _ in ENDINGS])
def test_a_call_that_fails_is_told_in_their_words(service: Service, us: Counter, made: Made, expected: tuple[int, str, str]) -> None:
    service.answer = lambda job: made
    answer = execute(us)
    assert told(answer) == expected
    assert (answer.json()["job"], answer.json()["reason"]) == (service.jobs[-1].id, made.reason)
    if made.reason is not Reason.SANDBOX_ERROR:
        assert answer.json()["error"]["message"] == made.message


def test_a_script_error_shows_its_traceback(service: Service, us: Counter) -> None:
    service.answer = lambda job: Made(Reason.SCRIPT_ERROR, "ValueError: no (line 2)", error=ERROR)
    (detail,) = execute(us).json()["error"]["details"]
    assert detail == {"code": "ModuleExecutionError", "target": service.jobs[0].id, "message": "ValueError: no (line 2)\nTraceback: no"}


def test_columns_that_do_not_fit_are_told_one_by_one(service: Service, us: Counter) -> None:
    noted = [{"kind": "unexpected_column", "column": name, "text": f"Column {name!r} is not expected."} for name in ("a/b", "c")]
    service.answer = lambda job: Made(Reason.BAD_INPUT, "Column 'a/b' is not expected.", report={"notes": noted})
    assert execute(us).json()["error"] == {
        "code": "BadArgument",
        "message": "Column 'a/b' is not expected.",
        "details": [
            {"code": "InputMismatchError", "target": "a/b", "message": "Column 'a/b' is not expected."},
            {"code": "InputMismatchError", "target": "c", "message": "Column 'c' is not expected."},
        ],
    }


@pytest.mark.parametrize(
    ("name", "query", "content", "expected"),
    [
        ("nobody", {}, ENVELOPE, (404, "NotFound", "WebServiceNotFound")),
        ("Not-A-Name", {}, ENVELOPE, (404, "NotFound", "WebServiceNotFound")),
        ("stretch@7", {}, ENVELOPE, (404, "NotFound", "WebServiceNotFound")),
        ("stretch@99999999999999999999999", {}, ENVELOPE, (404, "NotFound", "WebServiceNotFound")),
        ("stretch@", {}, ENVELOPE, (404, "NotFound", "WebServiceNotFound")),
        ("stretch@x@y", {}, ENVELOPE, (404, "NotFound", "WebServiceNotFound")),
        ("stretch", {}, b"", (400, "BadArgument", "BadParameterValue")),
        ("stretch", {"api-version": "1.0"}, ENVELOPE, (400, "BadArgument", "BadParameterValue")),
        ("stretch", {"details": "perhaps"}, ENVELOPE, (400, "BadArgument", "BadParameterValue")),
        ("stretch", {"format": "xml"}, ENVELOPE, (400, "BadArgument", "BadParameterValue")),
        ("stretch", {"n": "3"}, ENVELOPE, (400, "BadArgument", "BadParameterValue")),
    ],
)
def test_what_cannot_be_called_runs_nothing(
    service: Service, us: Counter, name: str, query: dict[str, str], content: bytes, expected: tuple[int, str, str]
) -> None:
    assert told(execute(us, content, service=name, **query)) == expected
    assert service.jobs == []


def test_without_a_known_key_nothing_is_read(service: Service, stand: Stand, us: Counter) -> None:
    us.headers = {"Authorization": "Bearer nobodys"}
    answer = execute(us)
    assert told(answer) == (401, "Unauthorized", "ScoreRequestUnauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="fumehood"'
    stand.us.headers = {}
    assert stand.exchange("POST", f"{ROOT}/stretch/execute", [])[0]["status"] == 401


def test_another_tenant_finds_no_service(service: Service, stand: Stand) -> None:
    assert told(execute(stand.other)) == (404, "NotFound", "WebServiceNotFound")


def test_a_body_beyond_the_limit_is_refused(service: Service, open_stand: Callable[..., Stand]) -> None:
    small = open_stand(dataset_bytes=1000)
    Service(small).publish()
    assert told(execute(small.us, b"x" * 1001)) == (413, "BadArgument", "RequestBodyInvalid")


def test_a_client_whose_body_stops_is_let_go(open_stand: Callable[..., Stand]) -> None:
    stand = open_stand(body_idle_seconds=0.1)
    Service(stand).publish()
    start, content = stand.exchange("POST", f"{ROOT}/stretch/execute", body(b"{", more=True))[:2]
    assert (start["status"], json.loads(content["body"])["error"]["code"]) == (408, "RequestTimeout")


def test_a_busy_service_says_when_to_come_again(service: Service, us: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(type(service.stand.store), "version_for", away)
    answer = execute(us)
    assert (told(answer), "retry-after" in answer.headers) == ((503, "ServiceUnavailable", "NoMoreResources"), True)
