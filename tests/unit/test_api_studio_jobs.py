"""/compat/studio/…/jobs over HTTP: the batch calls of clients of Azure Machine Learning Studio (classic)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fumehood.job import Kind, Lane
from fumehood.outcome import Reason
from tests.services import until
from tests.unit.front_desk import CSV, Counter, Made, Stand, ran
from tests.unit.test_api_studio import COLUMN, ROOT, Service, told
from worker.expected import expected_of

SECRET = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0"
QUERY = {"api-version": "2.0"}


@pytest.fixture
def service(stand: Stand) -> Service:
    """Its version was checked without a table, so a job need not have one."""
    made = Service(stand)
    made.publish(sample=None)
    made.answer = lambda job: ran()
    return made


def submit(us: Counter, document: Any, *, service: str = "stretch") -> Any:
    return us.post(f"{ROOT}/{service}/jobs", json=document, params=QUERY)


def submitted(us: Counter, document: Any) -> str:
    answer = submit(us, document)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    return str(answer.json())


def read(us: Counter, job: str, *, service: str = "stretch") -> Any:
    return us.get(f"{ROOT}/{service}/jobs/{job}", params=QUERY)


def ended(us: Counter, job: str) -> dict[str, Any]:
    until(lambda: read(us, job).json()["StatusCode"] > 1, seconds=20, what="the job's end")
    record: dict[str, Any] = read(us, job).json()
    return record


def test_a_job_goes_the_whole_way_of_a_batch_call(service: Service, us: Counter) -> None:
    service.publish()
    table = us.dataset()
    service.stand.queue.awake = {Lane.ERRANDS}
    document = {
        "Inputs": {"input1": {"ConnectionString": SECRET, "RelativeLocation": table}},
        "Outputs": {"output1": {"ConnectionString": SECRET, "RelativeLocation": "results/out.csv"}},
        "GlobalParameters": {"n": "7", "flag": "True", "word": "5", "x": ""},
    }
    job = submitted(us, document)
    assert us.post(f"{ROOT}/stretch/jobs/{job}/start", params=QUERY).status_code == 204
    waiting = read(us, job).json()
    assert (waiting["StatusCode"], waiting["Results"], waiting["Details"], waiting["StartTime"]) == (0, None, None, None)
    service.stand.worker.work(Lane.JOBS)
    record = read(us, job).json()
    assert (record["StatusCode"], list(record["Results"]), record["Details"]) == (4, ["output1", "output2"], None)
    assert record["CreatedAt"] <= record["StartTime"] <= record["EndTime"]
    place = record["Results"]["output1"]
    address = place["BaseLocation"] + place["RelativeLocation"] + place["SasBlobToken"]
    assert address == f"http://desk{ROOT}/stretch/jobs/{job}/outputs/output1"
    answer = us.get(address.removeprefix("http://desk"))
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, CSV, b"csv of ARROW1-result")
    (ran_job,) = service.jobs
    assert (ran_job.kind, ran_job.parameters) == (Kind.SCRIPT, {"n": 7, "x": 0.5, "word": "5", "flag": True})
    assert (ran_job.inputs["dataset1"].dataset, expected_of(ran_job, service.stand.store)) == (table, {"schema": {"dataset1": [COLUMN]}})
    # What opens the client's own storage is not ours to keep.
    assert "AccountKey" not in service.stand.log.getvalue() + us.get(f"/v1/jobs/{job}").text + us.get(f"/v1/jobs/{job}/inputs").text


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"Inputs": None, "GlobalParameters": None},
        {"Input": {"RelativeLocation": "TABLE"}},
        {"Inputs": {"input2": {"RelativeLocation": "TABLE"}}},
        {"Inputs": {"first": {"RelativeLocation": "/v1/datasets/TABLE/content"}, "second": {"RelativeLocation": "TABLE"}}},
        {"Inputs": {"input1": {"BaseLocation": "http://desk/", "RelativeLocation": "x/TABLE", "SasBlobToken": "?sig"}}, "Output": {}},
        {"Inputs": {"input1": {"RelativeLocation": "JOB/outputs/output2"}}},
        {"Inputs": {"input1": {"RelativeLocation": "JOB"}, "input2": None}},
    ],
)
def test_an_input_is_a_dataset_or_what_another_job_left(service: Service, us: Counter, document: dict[str, Any]) -> None:
    job = submitted(us, {})
    ended(us, job)
    table = us.dataset()
    given = json.loads(json.dumps(document).replace("TABLE", table).replace("JOB", job))
    ended(us, submitted(us, given))
    connected = {port: one.dataset or one.source for port, one in service.jobs[-1].inputs.items() if port.startswith("dataset")}
    names = str(document)
    expected: dict[str, Any] = {}
    if "TABLE" in names:
        expected = {"dataset2" if "input2" in names else "dataset1": table} | ({"dataset2": table} if "second" in names else {})
    if "JOB" in names:
        expected = {"dataset1": {"job": job, "output": "result2" if "output2" in names else "result"}}
    assert connected == expected


REFUSED = [
    # Document, where the fault is, and what is said.
    ({"Inputs": {"input1": {"ConnectionString": SECRET, "RelativeLocation": "c/in.csv"}}}, "/Inputs/input1/RelativeLocation", "fetches"),
    ({"Inputs": {"input1": {"ColumnNames": ["a"], "Values": [["1"]]}}}, "/Inputs/input1", "A table itself goes to `execute`"),
    ({"Inputs": {"input1": [{"a": "1"}]}}, "/Inputs/input1", "is an array of 1; expected an object whose RelativeLocation"),
    ({"Inputs": {"input1": {"RelativeLocation": f"ds_{0:032}"}}}, "/Inputs/input1", "there is no dataset"),
    ({"Inputs": {"input1": {"RelativeLocation": f"job_{0:032}"}}}, "/Inputs/input1/job", "there is no job"),
    ({"Inputs": {"input1": {"RelativeLocation": f"ds_{0:032}/ds_{1:032}"}}}, "/Inputs/input1/RelativeLocation", "leads out"),
    ({"Inputs": {"input1": {"RelativeLocation": f"job_{0:032}/outputs/output3"}}}, "/Inputs/input1/RelativeLocation", "leads out"),
    ({"Inputs": {"input1": {"RelativeLocation": 5}}}, "/Inputs/input1/RelativeLocation", "leads out"),
    ({"Inputs": []}, "/Inputs", "is an array of 0; expected an object of at most 2 inputs"),
    ({"Inputs": {"a": None, "b": None, "c": None}}, "/Inputs", "expected an object of at most 2 inputs"),
    ({"Input": {}, "Inputs": {}}, "/Input", "stands beside Inputs; say one of them"),
    ({"inputs": {}}, "/inputs", "the members are Input, Inputs, Output, Outputs, GlobalParameters"),
    ({"GlobalParameters": []}, "/GlobalParameters", "is an array of 0; expected an object"),
    ({"GlobalParameters": {"n": "many"}}, "/GlobalParameters/n", "expected a whole number"),
    ({"GlobalParameters": {"m": 1}}, "/GlobalParameters/m", "there is no parameter 'm'"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "target", "sentence"), REFUSED, ids=[target for _, target, _ in REFUSED])
def test_what_cannot_be_a_job_is_told_with_its_place(
    service: Service, us: Counter, document: dict[str, Any], target: str, sentence: str
) -> None:
    answer = submit(us, document)
    assert told(answer) == (400, "BadArgument", "UserParameterInvalid" if "Parameters/" in target else "BadParameterValue")
    (detail,) = answer.json()["error"]["details"]
    assert detail["target"] == target
    assert sentence in detail["message"]
    assert "AccountKey" not in answer.text + service.stand.log.getvalue()


def test_a_job_has_the_table_and_the_parameters_that_its_version_needs(service: Service, us: Counter) -> None:
    service.publish("needing", parameters={"factor": {"type": "float", "example": 2.0}})
    for said in ({}, {"GlobalParameters": {"factor": ""}}, {"GlobalParameters": {"factor": None}}):
        answer = submit(us, said, service="needing")
        assert told(answer) == (400, "BadArgument", "UserParameterInvalid")
        details = {detail["target"]: (detail["code"], detail["message"]) for detail in answer.json()["error"]["details"]}
        assert details == {
            "/GlobalParameters/factor": ("UserParameterInvalid", "is missing; expected a number"),
            "/Inputs/input1": ("BadParameterValue", "is missing; expected a table with the column a"),
        }
    document = {"Inputs": {"input1": {"RelativeLocation": us.dataset()}}, "GlobalParameters": {"factor": "3"}}
    assert submit(us, document, service="needing").status_code == 200


def test_a_body_that_is_no_document_is_told(service: Service, us: Counter) -> None:
    for content in (b"", b"[", b'"x"'):
        answer = us.post(f"{ROOT}/stretch/jobs", content=content)
        assert told(answer) == (400, "BadArgument", "RequestBodyInvalid")


def test_a_job_that_fails_says_why(service: Service, us: Counter) -> None:
    service.answer = lambda job: Made(Reason.SCRIPT_ERROR, "ValueError: no (line 2)")
    record = ended(us, submitted(us, {}))
    assert (record["StatusCode"], record["Results"], record["Details"]) == (2, None, "ValueError: no (line 2)")


def test_a_job_is_cancelled_and_asking_again_is_fine(service: Service, us: Counter) -> None:
    service.stand.queue.awake = {Lane.ERRANDS}
    job = submitted(us, {})
    for _ in range(2):
        assert us.delete(f"{ROOT}/stretch/jobs/{job}", params=QUERY).status_code == 204
    assert read(us, job).json()["StatusCode"] == 3


def test_a_running_job_is_one(service: Service, us: Counter) -> None:
    service.stand.queue.awake = {Lane.ERRANDS}
    job = submitted(us, {})
    service.stand.worker.claim()
    assert read(us, job).json()["StatusCode"] == 1
    assert told(us.get(f"{ROOT}/stretch/jobs/{job}/outputs/output1"))[:2] == (409, "Conflict")


def test_only_jobs_of_the_service_are_found_there(service: Service, us: Counter, stand: Stand) -> None:
    service.publish("other")
    job = submitted(us, {})
    ended(us, job)
    plain = us.job()
    absent = (404, "NotFound", "WebServiceNotFound")
    for path in (f"other/jobs/{job}", f"stretch/jobs/{plain}", f"stretch/jobs/job_{0:032}", "stretch/jobs/x"):
        assert told(us.get(f"{ROOT}/{path}")) == absent
        assert told(us.post(f"{ROOT}/{path}/start")) == absent
        assert told(us.delete(f"{ROOT}/{path}")) == absent
        assert told(us.get(f"{ROOT}/{path}/outputs/output1")) == absent
    assert told(us.get(f"{ROOT}/stretch/jobs/{job}/outputs/output3")) == absent
    assert told(stand.other.get(f"{ROOT}/stretch/jobs/{job}")) == absent
    assert read(us, job, service="stretch@1").status_code == 200
