"""A client of Azure Machine Learning Studio (classic) calls a published script, with nothing of it changed but the address and the key."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.docs.blocks import blocks_of
from tests.e2e.stand import ROOT, Stand
from tests.services import until

# Its check runs it without a table.
JOINED = """
import pandas as pd


def azureml_main(people=None, cities=None, *, fewest: int = 1):
    if people is None:
        return pd.DataFrame({"a": [1]})
    return people.merge(cities, on="city").query("count >= @fewest")
"""


@pytest.fixture(scope="module")
def services(stand: Stand) -> Iterator[str]:
    """The address of the workspace: `widen` as docs/how-to/studio.md publishes it, and `joined`, whose tables nobody described."""
    said = {block.file: block.text for block in blocks_of(ROOT / "docs" / "how-to" / "studio.md")}
    files = {
        "script": ("script.py", said["widen.py"].encode(), "text/x-python"),
        "sample": ("sample.csv", said["sample.csv"].encode(), "text/csv"),
    }
    with stand.client() as client:
        for name, request in (("widen", {"files": files}), ("joined", {"json": {"script": JOINED}})):
            answer = client.put(f"/v1/scripts/{name}", headers={"Prefer": "wait=60"}, **request)
            assert (answer.status_code, answer.json()["state"]) == (201, "ready"), answer.text
        yield f"http://127.0.0.1:{stand.port}/compat/studio/workspaces/w/services"
        for name in ("widen", "joined"):
            assert client.delete(f"/v1/scripts/{name}").status_code == 204


def call(stand: Stand, address: str, document: dict[str, Any]) -> tuple[int, Any]:
    """As their sample page says it."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + stand.key_file.read_text().strip()}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, json.dumps(document).encode(), headers), timeout=90) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def table(columns: list[str], *rows: list[Any]) -> dict[str, Any]:
    return {"ColumnNames": columns, "Values": list(rows)}


def test_texts_go_in_and_texts_come_out(services: str, stand: Stand) -> None:
    document = {"Inputs": {"input1": table(["a"], ["1"], [2], [""])}, "GlobalParameters": {"factor": "1.5"}}
    status, answer = call(stand, f"{services}/widen/execute?api-version=2.0&details=true", document)
    value = {"ColumnNames": ["a", "b"], "ColumnTypes": ["Int64", "Double"], "Values": [["1", "1.5"], ["2", "3"], [None, None]]}
    assert (status, answer) == (200, {"Results": {"output1": {"type": "table", "value": value}}})


def test_records_go_in_and_records_come_out(services: str, stand: Stand) -> None:
    document = {"Inputs": {"input1": [{"a": "1"}, {"a": "2"}]}, "GlobalParameters": {}}
    status, answer = call(stand, f"{services}/widen/execute?api-version=2.0&format=swagger", document)
    assert (status, answer) == (200, {"Results": {"output1": [{"a": "1", "b": "2"}, {"a": "2", "b": "4"}]}})


def test_two_tables_that_nobody_described_are_read_as_csv_would_be(services: str, stand: Stand, client: httpx.Client) -> None:
    people = table(["name", "city"], ["Ada", "007"], ["Bob", "8"])
    cities = table(["city", "count"], ["007", "10"], ["8", "2"])
    document = {"Inputs": {"input2": cities, "input1": people}, "GlobalParameters": {"fewest": "5"}}
    status, answer = call(stand, f"{services}/joined/score?api-version=2.0", document)
    assert (status, answer["Results"]["output1"]["value"]) == (200, table(["name", "city", "count"], ["Ada", "7", "10"]))


@pytest.mark.parametrize(
    ("inputs", "parameters", "expected"),
    [
        ({"input1": table(["a"], ["x"])}, {}, (400, "BadArgument", "InputMismatchError")),
        ({"input1": table(["b"], ["1"])}, {}, (400, "BadArgument", "InputMismatchError")),
        ({"input1": table(["a"], ["1", "2"])}, {}, (400, "BadArgument", "InputParseError")),
        ({"input1": table(["a"], ["1"])}, {"factor": "many"}, (400, "BadArgument", "UserParameterInvalid")),
        ({"input1": table(["a"], ["1"])}, {"faktor": "2"}, (400, "BadArgument", "UserParameterInvalid")),
    ],
)
def test_what_does_not_fit_is_told_in_their_form(
    services: str, stand: Stand, inputs: dict[str, Any], parameters: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    status, answer = call(stand, f"{services}/widen/execute?api-version=2.0", {"Inputs": inputs, "GlobalParameters": parameters})
    assert (status, answer["error"]["code"], answer["error"]["details"][0]["code"]) == expected


def test_a_script_that_fails_is_told_with_its_traceback(services: str, stand: Stand) -> None:
    document = {"Inputs": {"input1": table(["x"], ["1"]), "input2": table(["y"], ["1"])}}
    status, answer = call(stand, f"{services}/joined/execute?api-version=2.0", document)
    assert (status, answer["error"]["code"]) == (400, "ModuleExecutionError")
    assert "KeyError" in answer["error"]["details"][0]["message"]


def test_a_batch_call_reads_a_dataset_and_leaves_csv(services: str, stand: Stand, client: httpx.Client) -> None:
    dataset = client.post("/v1/datasets", content=b"a\n3\n", headers={"Content-Type": "text/csv"}).json()["id"]
    document = {"Inputs": {"input1": {"RelativeLocation": dataset}}, "GlobalParameters": {"factor": "10"}}
    status, job = call(stand, f"{services}/widen/jobs?api-version=2.0", document)
    assert status == 200
    address = f"{services}/widen/jobs/{job}"
    assert client.post(f"{address}/start").status_code == 204
    until(lambda: client.get(address).json()["StatusCode"] > 1, seconds=60, what="the job's end")
    record = client.get(address).json()
    assert (record["StatusCode"], record["Details"]) == (4, None)
    place = record["Results"]["output1"]
    assert client.get(place["BaseLocation"] + place["RelativeLocation"] + place["SasBlobToken"]).text == '"a","b"\n3,30\n'
