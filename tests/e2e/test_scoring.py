"""A published script is called over HTTP: the evaluator of docs/how-to/score.md, with what it is for and with what it must not become."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.blocks import blocks_of
from tests.e2e.stand import ROOT, Stand, ended
from tests.services import until

LIMITS = '{"limits": {"wall_seconds": 10, "memory_bytes": 536870912}, "concurrency": 2}'
SLOW = "__import__('time').sleep({seconds})"


@pytest.fixture(scope="module")
def evaluator(stand: Stand) -> Iterator[str]:
    """The address of its calls. What is published is what the page says."""
    said = {block.file: block.text for block in blocks_of(ROOT / "docs" / "how-to" / "score.md")}
    files = {
        "version": (None, LIMITS, "application/json"),
        "script": ("script.py", said["evaluator.py"].encode(), "text/x-python"),
        "sample": ("sample.csv", said["sample.csv"].encode(), "text/csv"),
    }
    with stand.client() as client:
        answer = client.put("/v1/scripts/evaluator", files=files, headers={"Prefer": "wait=60"})
        assert (answer.status_code, answer.json()["state"]) == (201, "ready"), answer.text
        yield "/v1/scripts/evaluator/score"
        assert client.delete("/v1/scripts/evaluator").status_code == 204


def score(client: httpx.Client, address: str, *expressions: str, accept: str = "application/json") -> httpx.Response:
    table = {"columns": ["expression"], "values": [[one] for one in expressions]}
    return client.post(address, json=table, headers={"Accept": accept})


def test_expressions_have_their_values(client: httpx.Client, evaluator: str) -> None:
    answer = score(client, evaluator, "1+1", "2**10", "sum(range(5))", "'a'*3")
    assert answer.status_code == 200, answer.text
    assert [row["value"] for row in answer.json()] == ["2", "1024", "10", "aaa"]
    assert answer.headers["fumehood-script"] == "evaluator/1"
    record = client.get(f"/v1/jobs/{answer.headers['fumehood-job']}").json()
    assert (record["state"], record["erasure"]["job"]) == ("succeeded", record["id"])


def test_every_format_goes_in_and_out(client: httpx.Client, evaluator: str) -> None:
    told = {
        "text/csv": b"expression\n1+1\n",
        "application/json": b'[{"expression": "1+1"}]',
        "application/x-ndjson": b'{"expression": "1+1"}\n',
    }
    for media_type, content in told.items():
        answer = client.post(evaluator, content=content, headers={"Content-Type": media_type, "Accept": "text/csv"})
        assert (answer.status_code, answer.text) == (200, '"expression","value"\n"1+1","2"\n'), media_type
    arrow = score(client, evaluator, "1+1", accept="application/vnd.apache.arrow.file")
    assert arrow.content.startswith(b"ARROW1")
    again = client.post(evaluator, content=arrow.content, headers={"Content-Type": "application/vnd.apache.arrow.file"})
    assert (again.status_code, again.json()["errors"][0]["pointer"]) == (422, "/body/value"), "the sample has no such column"


def test_an_error_of_the_script_is_a_400_that_names_it(client: httpx.Client, evaluator: str) -> None:
    answer = score(client, evaluator, "1/0")
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["error"]["type"]) == (400, "script_error", "ZeroDivisionError")
    assert "ZeroDivisionError" in problem["detail"]


def test_a_table_with_other_columns_is_a_422_that_names_them(client: httpx.Client, evaluator: str) -> None:
    answer = client.post(evaluator, json=[{"text": "1+1"}])
    assert (answer.status_code, answer.json()["reason"]) == (422, "bad_input")
    assert "/body/expression" in [entry["pointer"] for entry in answer.json()["errors"]]


@pytest.mark.parametrize("expression", ["10**10**10", "10**8 * [10**8 * 'a']", "[x for x in iter(int, 1)]", SLOW.format(seconds=120)])
def test_what_never_ends_or_fills_everything_ends_as_the_scripts_own_failure(client: httpx.Client, evaluator: str, expression: str) -> None:
    answer = score(client, evaluator, expression)
    problem = answer.json()
    assert answer.status_code == 400, answer.text
    assert problem["reason"] in ("timed_out", "out_of_memory", "script_error"), problem
    assert problem["reason"] != "script_error" or problem["error"]["type"] == "MemoryError", problem


def test_what_reaches_for_the_host_finds_nothing_of_it(client: httpx.Client, evaluator: str, stand: Stand, tmp_path: Path) -> None:
    key, everybodys = stand.key_file.read_text().strip(), tmp_path / "everybodys"
    everybodys.write_text("of the host")
    everybodys.chmod(0o644)
    for path in (stand.key_file, everybodys):
        assert score(client, evaluator, f"open({str(path)!r}).read()").json()["error"]["type"] == "FileNotFoundError"
    for expression in (
        "__import__('os').system('cat /etc/passwd')",
        "__import__('os').system('kill -9 1; kill -9 -1')",
        "open('/proc/1/environ', 'rb').read()",
        "__import__('socket').create_connection(('1.1.1.1', 53), 2)",
    ):
        answer = score(client, evaluator, expression)
        assert answer.status_code in (200, 400), f"{expression}: {answer.text}"
        assert key not in answer.text, expression


def test_calls_see_nothing_of_each_other(client: httpx.Client, evaluator: str) -> None:
    leave = score(client, evaluator, "globals().__setitem__('mark', 1)", "open('mark', 'w').write('x')")
    assert leave.status_code == 200, leave.text
    look = score(client, evaluator, "'mark' in globals()", "__import__('os').path.exists('mark')")
    assert [row["value"] for row in look.json()] == ["False", "False"]


def test_more_calls_at_once_than_a_version_takes_are_told_so(client: httpx.Client, evaluator: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(score, client, evaluator, SLOW.format(seconds=5)) for _ in range(2)]
        until(lambda: len(unfinished(client)) == 2, seconds=20, what="two calls that have not ended")
        third = score(client, evaluator, "1+1")
        assert (third.status_code, third.headers["retry-after"]) == (429, "1"), third.text
        assert [each.result(60).status_code for each in slow] == [200, 200]
    assert score(client, evaluator, "1+1").status_code == 200


def test_a_call_whose_caller_hangs_up_is_cancelled(client: httpx.Client, evaluator: str, stand: Stand) -> None:
    with stand.client() as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post(evaluator, json=[{"expression": SLOW.format(seconds=60)}], timeout=1)
    (called,) = unfinished(client)
    assert ended(client, called["id"], seconds=30)["state"] == "cancelled"


def unfinished(client: httpx.Client) -> list[dict[str, Any]]:
    """Each once, also where it began to run between two looks."""
    found = [client.get("/v1/jobs", params={"state": state}).raise_for_status().json()["items"] for state in ("queued", "running")]
    return list({one["id"]: one for some in found for one in some}.values())
