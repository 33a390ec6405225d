"""Published scripts through the client, against a front desk that listens: both ways of waiting, one suite."""

from __future__ import annotations

import html
import inspect
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from fumehood.client import (
    AsyncScript,
    Cancelled,
    Client,
    InTheWay,
    JobFailed,
    NotInTime,
    NotSendable,
    NotThere,
    Script,
    ScriptError,
    TimedOut,
    TooBusy,
    Unusable,
    WaitedTooLong,
)
from fumehood.dataset import ARROW
from fumehood.job import Job, Kind, Lane
from fumehood.outcome import Reason
from tests.unit.cli_desk import Listening, arrow, failed, fumehood, made
from tests.unit.front_desk import Made
from tests.unit.test_client_run import Awaited, bare, client

__all__ = ["client", "fumehood"]

COLUMN = {"name": "a", "type": "int64", "nullable": True}
FRAME = pd.DataFrame({"a": pd.array([2**60 + 1, None], dtype="Int64")})
FACTOR = 2
KEY = f"fh_{0:012x}_{0:064x}"


def times_two(frame, *, times: int = 2, word="w", more: float | None = None):  # type: ignore[no-untyped-def]
    return frame * times * FACTOR


def needs(frame, *, rows: int, share: float = 1, names: list[str] | None = None):  # type: ignore[no-untyped-def]
    return frame.head(rows)


def joined(left, right):  # type: ignore[no-untyped-def]
    return left.merge(right)


def broken(frame):  # type: ignore[no-untyped-def]
    raise ValueError("no")


class Desk:
    """Plays the worker: what ran, with which table, and how it ends."""

    def __init__(self, fumehood: Listening) -> None:
        self.stand, self.ran, self.tables = fumehood.stand, list[Job](), list[bytes]()
        self.answer: Callable[[Job], Made] = lambda job: made(result=arrow(n=pa.array([2**60 + 1, None], pa.int64())))
        self.check: Callable[[], Made] = self.good
        # What the runner says that the function takes.
        self.takes: list[dict[str, Any]] = [
            {"name": name, "type": kind, "required": False, "default": default}
            for name, kind, default in (("times", "int", 2), ("word", "str", "w"), ("more", None, None))
        ]
        usual = self.stand.worker._make

        def work(job: Job, content: bytes) -> Made:
            if job.kind is Kind.CHECK:
                return self.check()
            if job.kind not in (Kind.SCORE, Kind.SCRIPT, Kind.CHUNK):
                return usual(job, content)
            self.ran.append(job)
            self.tables.append(content)
            return self.answer(job)

        self.stand.worker.make = work
        self.stand.queue.awake = set(Lane)

    def good(self) -> Made:
        ended = made()
        schemas = {"inputs": {"dataset1": [COLUMN]}, "outputs": {"result": [COLUMN]}}
        ended.report = {**ended.report, "entry": {"parameters": self.takes, "init": False}, "schemas": schemas}
        return ended


def left_by(client: Any, failure: JobFailed) -> Any:
    return Awaited(failure.result, client._loop) if isinstance(client, Awaited) else failure.result


@pytest.fixture
def desk(fumehood: Listening) -> Desk:
    return Desk(fumehood)


# publishing --------------------------------------------------------------------------------------------------------------


def test_a_function_is_published_with_what_it_uses_and_called_as_a_function(client: Any, desk: Desk) -> None:
    score = client.publish(times_two, sample=FRAME, description="Twice.", concurrency=3, limits={"wall_seconds": 9})
    assert (score.name, score.version, score.record["state"]) == ("times-two", 1, "ready")
    assert (score.record["description"], score.record["concurrency"], score.record["limits"]["wall_seconds"]) == ("Twice.", 3, 9)
    source = desk.stand.us.get("/v1/scripts/times-two/versions/1/source").text
    assert "FACTOR = 2" in source
    assert "azureml_main = times_two" in source

    answer = score(FRAME, times=3, word="5", more=0.5)

    assert answer["n"].dtype == "Int64", "types are kept both ways"
    assert answer["n"][0] == 2**60 + 1
    (job,) = desk.ran
    assert (job.kind, job.parameters, job.target_format) == (Kind.SCORE, {"times": 3, "word": "5", "more": 0.5}, "arrow")
    assert pa.ipc.open_file(io.BytesIO(desk.tables[0])).read_all().schema == pa.schema({"a": pa.int64()})
    assert answer.attrs == {"job": job.id, "version": "times-two/1"}


def test_what_is_published_stays_what_is_called(client: Any, desk: Desk) -> None:
    first = client.publish(times_two, "score", sample=FRAME)
    client.publish(broken, "score", sample=FRAME)
    first(FRAME)
    assert first.url.endswith("/v1/scripts/score/score?version=1")
    assert first.help.endswith("/v1/scripts/score/help?version=1")
    assert repr(bare(first)) == "<score version 1>"
    assert desk.ran[0].inputs["script"].version == bare(first).record["id"]


def test_a_version_that_is_refused_is_the_error_of_its_check(client: Any, desk: Desk) -> None:
    trace = 'Traceback (most recent call last):\n  File "script.py", line 5, in broken\nValueError: no\n'
    error = {"type": "ValueError", "message": "no", "traceback": trace}
    desk.check = lambda: failed(said="ValueError: no (line 5 of script.py)", error=error)
    with pytest.raises(ScriptError, match="ValueError: no") as caught:
        client.publish(broken, sample=FRAME)
    line = broken.__code__.co_firstlineno + 1
    assert f'File "{Path(__file__).name}", line {line}, in broken' in caught.value.traceback
    assert caught.value.__notes__ == ["It was the check of broken version 1, which is refused."]
    assert caught.value.reason == "script_error"
    with pytest.raises(InTheWay, match="no version of broken is ready"):
        client.script("broken")
    with pytest.raises(InTheWay, match="version 1 of broken is refused"):
        client.script("broken", version=1)


def test_a_check_is_waited_for_no_longer_than_is_said(client: Any, desk: Desk) -> None:
    desk.stand.queue.awake = {Lane.ERRANDS}
    with pytest.raises(WaitedTooLong, match="the check of broken version 1 has not ended"):
        client.publish(broken, sample=FRAME, timeout_seconds=0.2)
    assert desk.stand.us.get("/v1/scripts/broken/versions/1").json()["state"] == "checking"


def test_parameters_are_those_of_the_signature_with_what_is_said_of_some(client: Any, desk: Desk) -> None:
    desk.takes = [
        {"name": "rows", "type": "int", "required": True},
        {"name": "share", "type": "float", "required": False, "default": 1},
        {"name": "names", "type": None, "required": False, "default": None},
    ]
    score = client.publish(needs, sample=FRAME, parameters={"rows": {"type": "int", "example": 5, "description": "How many."}})
    told = {one["name"]: (one["type"], one["required"], one.get("default")) for one in score.record["parameters"]}
    assert told == {"rows": ("int", True, None), "share": ("float", False, 1), "names": (None, False, None)}
    score = client.publish(needs, sample=FRAME, parameters={"share": 2, "rows": 3})
    told = {one["name"]: (one["type"], one["required"], one.get("default")) for one in score.record["parameters"]}
    assert told == {"rows": ("int", False, 3), "share": ("float", False, 2), "names": (None, False, None)}


def test_a_path_and_a_text_are_published_too(client: Any, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "My_score.py").write_text("def azureml_main(frame):\n    return frame\n")
    (tmp_path / "table.csv").write_text("a\n1\n")
    score = client.publish(tmp_path / "My_score.py", sample=tmp_path / "table.csv")
    assert (score.name, score.record["parts"]["sample"]["format"]) == ("my-score", "csv")
    stored = client.upload(FRAME)
    text = client.publish("def azureml_main(frame):\n    return frame\n", "text", sample=stored)
    assert text.record["parts"]["sample"]["format"] == "arrow"


def test_what_cannot_be_published_is_refused_before_anything_is_sent(client: Any, desk: Desk) -> None:
    refused: list[tuple[Any, dict[str, Any], str]] = [
        ("def azureml_main():\n    return None\n", {}, "say what it is published as"),
        (lambda frame: frame, {}, "a lambda has no source"),
        (needs, {}, "no value for the parameter 'rows'"),
        (needs, {"parameters": {"rows": [5]}}, "'rows' is a list; expected its default"),
        (needs, {"parameters": {"rows": 5, "row": 1}}, "no parameter called 'row'; did you mean 'rows'"),
        (times_two, {"sample": 5}, "sample is a int"),
        (times_two, {}, "times_two needs a table; give one as sample="),
        (joined, {"sample": FRAME}, r"joined needs 2 tables \(left, right\); a call has one"),
    ]
    for given, options, said in refused:
        with pytest.raises(NotSendable, match=said):
            client.publish(given, **options)
    assert desk.stand.us.get("/v1/scripts").json()["items"] == []


# what is published already -----------------------------------------------------------------------------------------------


def test_a_script_is_found_by_its_name_a_number_or_an_alias(client: Any, desk: Desk) -> None:
    for _ in range(2):
        client.publish(times_two, "score", sample=FRAME)
    desk.stand.us.put("/v1/scripts/score/aliases/prod", json={"versions": [{"number": 1}]})
    latest, prod, first = client.script("score"), client.script("score", alias="prod"), client.script("score", version=1)
    assert [one.version for one in (latest, prod, first)] == [None, None, 1]
    assert [repr(bare(one)) for one in (latest, prod, first)] == ["<score latest>", "<score prod>", "<score version 1>"]
    assert [one(FRAME).attrs["version"] for one in (latest, prod, first)] == ["score/2", "score/1", "score/1"]
    desk.stand.us.put("/v1/scripts/score/aliases/prod", json={"versions": [{"number": 2}]})
    assert prod(FRAME).attrs["version"] == "score/2", "an alias is asked anew with each call"


def test_what_is_not_published_is_not_there(client: Any, desk: Desk) -> None:
    client.publish(times_two, "score", sample=FRAME)
    absent: list[tuple[str, dict[str, Any]]] = [("other", {}), ("other", {"alias": "prod"}), ("a/b", {})]
    absent += [("score", {"alias": "prod"}), ("score", {"version": 7})]
    for name, asked in absent:
        with pytest.raises(NotThere):
            client.script(name, **asked)
    with pytest.raises(NotSendable, match="expected one of them"):
        client.script("score", version=1, alias="prod")


# calls -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def score(client: Any, desk: Desk) -> Any:
    return client.publish(times_two, "score", sample=FRAME)


def test_a_call_that_fails_is_the_error_of_its_job(client: Any, score: Any, desk: Desk) -> None:
    desk.answer = lambda job: failed(error={"type": "ValueError", "message": "no", "traceback": "the lines"})
    with pytest.raises(ScriptError) as caught:
        score(FRAME)
    assert caught.value.record["id"] == desk.ran[0].id
    assert (caught.value.error["type"], caught.value.traceback) == ("ValueError", "the lines")
    assert left_by(client, caught.value).log == "before it broke\n"
    desk.answer = lambda job: failed(Reason.TIMED_OUT, "longer than 9 seconds")
    with pytest.raises(TimedOut, match=r"longer than 9 seconds"):
        score(FRAME)
    desk.answer = lambda job: failed(Reason.CANCELLED, "cancelled")
    with pytest.raises(Cancelled, match="job_"):
        score(FRAME)


def test_of_a_job_that_is_forgotten_the_answer_tells_enough(score: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.answer = lambda job: failed(error={"type": "ValueError", "message": "no", "traceback": "the lines"})

    async def gone(*_: Any) -> None:
        raise NotThere(404, {"detail": "there is no such job"})

    monkeypatch.setattr("fumehood.client.surface.AsyncSurface.job", gone)
    with pytest.raises(ScriptError) as caught:
        score(FRAME)
    assert (caught.value.record["id"], caught.value.reason, caught.value.traceback) == (desk.ran[0].id, "script_error", "the lines")


def test_a_table_that_does_not_fit_is_refused_with_its_columns(score: Any, desk: Desk) -> None:
    refused = failed(Reason.BAD_INPUT, "dataset1 is not what the script takes")
    refused.report = {"notes": [{"kind": "unexpected_column", "column": "a", "text": "the column 'a' is missing"}]}
    desk.answer = lambda job: refused
    with pytest.raises(Unusable) as caught:
        score(FRAME)
    assert [(field.pointer, field.detail) for field in caught.value.errors] == [("/body/a", "the column 'a' is missing")]
    assert "the column 'a' is missing" in str(caught.value)
    assert (caught.value.job, desk.ran[0].id in str(caught.value)) == (desk.ran[0].id, True)


def test_a_parameter_that_there_is_not_is_refused_by_the_service(score: Any, desk: Desk) -> None:
    with pytest.raises(Unusable, match="there is no parameter 'tmies'; the parameters are times"):
        score(FRAME, tmies=1)
    assert desk.ran == []


def test_what_the_service_fails_is_its_own_and_names_the_job(score: Any, desk: Desk) -> None:
    desk.answer = lambda job: failed(Reason.SANDBOX_ERROR, "the engine is away")
    with pytest.raises(TooBusy) as caught:
        score(FRAME)
    assert (caught.value.status, caught.value.job, caught.value.retry_after_seconds) == (503, desk.ran[0].id, 5)


def test_a_call_that_takes_too_long_is_cancelled_and_says_so(score: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.scoring.SCORE_SECONDS", 0.2)
    desk.stand.queue.awake = {Lane.ERRANDS}
    with pytest.raises(NotInTime, match="a job of the script may run longer") as caught:
        score(FRAME)
    assert desk.stand.us.get(f"/v1/jobs/{caught.value.job}").json()["state"] == "cancelled"


def test_a_result_without_columns_is_an_empty_frame(score: Any, desk: Desk) -> None:
    desk.answer = lambda job: Made()
    assert score(FRAME).shape == (0, 0)


def test_what_text_cannot_say_is_no_parameter_of_a_call(score: Any, desk: Desk) -> None:
    for parameters, said in (
        ({"word": 5}, "'word' is the int 5, which is not of its type, str"),
        ({"word": None}, "'word' is None, which is not of its type"),
        ({"times": "5"}, "'times' is the str '5', which is not of its type, int"),
        ({"more": "007"}, "'more' is the str '007', which the service would take for a number"),
        ({"more": "true"}, "would take for"),
        ({"more": [1]}, "'more' is a list"),
        ({"more": float("nan")}, "cannot be sent as JSON"),
        ({"version": 2}, "which version is meant"),
    ):
        with pytest.raises(NotSendable, match=said):
            score(FRAME, parameters=parameters)
    assert desk.ran == []
    for more in ("a word", None, True, 1.5e300, "[1]"):
        score(FRAME, more=more)
        assert desk.ran[-1].parameters["more"] is more or desk.ran[-1].parameters["more"] == more


def test_a_script_that_has_too_many_callers_is_asked_again() -> None:
    """Not longer than any other call that came too early."""
    record = {"script": "score", "number": 1, "state": "ready", "limits": {"output_bytes": 2**20}, "parameters": None}
    problem = {"type": "urn:fumehood:problem:busy-script", "detail": "busy"}

    def busy() -> httpx.Response:
        return httpx.Response(429, json=problem, headers={"Retry-After": "1", "Content-Type": "application/problem+json"})

    told = {"Fumehood-Job": "job_1", "Fumehood-Script": "score/1", "Content-Type": ARROW}
    good = httpx.Response(200, content=arrow(n=[1]), headers=told)
    answers = [httpx.Response(200, json=record), busy(), busy(), good, *[busy() for _ in range(4)]]
    pauses: list[float] = []
    with Client("http://desk", KEY, transport=httpx.MockTransport(lambda _: answers.pop(0)), sleep=pauses.append) as client:
        score = client.script("score", version=1)
        assert list(score(FRAME)["n"]) == [1]
        assert pauses == [1, 1]
        with pytest.raises(TooBusy, match="busy"):
            score(FRAME)
        assert (pauses, answers) == ([1, 1, 1, 1, 1], [])


def test_the_sample_on_its_page_makes_the_call(score: Any, desk: Desk, fumehood: Listening, capsys: pytest.CaptureFixture[str]) -> None:
    """Run as it stands, with the key in the environment."""
    key = {"Authorization": f"Bearer {fumehood.stand.key}"}
    page = httpx.get(f"{fumehood.url}/v1/scripts/score/help?version=1", headers=key).raise_for_status().text
    (sample,) = [html.unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL) if "fumehood.client" in text]
    exec(sample, {})
    assert "1152921504606846977" in capsys.readouterr().out
    (job,) = desk.ran
    assert (job.parameters, job.inputs["script"].version) == ({"times": 2, "word": "w", "more": None}, bare(score).record["id"])
    assert pa.ipc.open_file(io.BytesIO(desk.tables[0])).read_all().schema == pa.schema({"a": pa.int64()})


# jobs and batches --------------------------------------------------------------------------------------------------------


def test_a_job_of_a_script_takes_what_a_call_cannot(client: Any, score: Any, desk: Desk) -> None:
    stored = client.upload(FRAME)
    with pytest.raises(NotSendable, match=r"stored at the service already .*submit\(\) takes stored ones"):
        score(stored)
    result = score.submit(stored, more=[1], labels={"team": "blue"}, limits={"wall_seconds": 5}).result()
    assert result.frame["n"][0] == 2**60 + 1
    (job,) = desk.ran
    assert (job.kind, job.parameters["more"], job.labels, job.limits.wall_seconds) == (Kind.SCRIPT, [1], {"team": "blue"}, 5)
    assert job.inputs["script"].version == bare(score).record["id"]


def test_map_gives_the_frames_in_the_order_of_the_tables(score: Any, desk: Desk) -> None:
    desk.answer = lambda job: made(result=arrow(n=[job.item]))
    frames = score.map([FRAME, FRAME, FRAME], times=5, labels={"team": "blue"})
    assert [list(frame["n"]) for frame in frames] == [[0], [1], [2]]
    assert [job.parameters["times"] for job in desk.ran] == [5, 5, 5]
    assert score.map([]) == []


def test_an_item_that_fails_is_the_error_of_map_and_the_others_are_found_again(client: Any, score: Any, desk: Desk) -> None:
    desk.answer = lambda job: failed() if job.item == 1 else made(result=arrow(n=[job.item]))
    with pytest.raises(ScriptError, match="it went wrong") as caught:
        score.map([FRAME, FRAME, FRAME])
    assert left_by(client, caught.value).log == "before it broke\n"
    (note,) = caught.value.__notes__
    assert note.startswith("This was item 1; find_batch('bat_")
    batch = client.find_batch(note.split("'")[1])
    assert [number for number, _ in batch.results()] == [0, 2]


def test_map_that_is_over_time_cancels_its_batch(client: Any, score: Any, desk: Desk) -> None:
    desk.stand.queue.awake = {Lane.ERRANDS}
    with pytest.raises(WaitedTooLong):
        score.map([FRAME], timeout_seconds=0.2)
    assert desk.stand.us.get("/v1/batches").json()["items"][0]["cancel_requested"] is True


def test_isolation_batch_sends_the_tables_into_one_sandbox(score: Any, desk: Desk) -> None:
    table = arrow(n=[1])
    error = {"type": "ValueError", "message": "no", "traceback": "the lines"}
    bad = {"number": 1, "reason": "script_error", "message": "no", "error": error, "milliseconds": 1.0, "log": {"offset": 0, "bytes": 0}}
    good = {"number": 0, "reason": "ok", "milliseconds": 1.0, "log": {"offset": 0, "bytes": 0}}
    good["result"] = {"rows": 1, "columns": [], "offset": 0, "bytes": len(table)}
    desk.answer = lambda job: Made(outputs={"result": table, "log": b""}, report={"items": [good, bad][: len(tables)]})
    tables = [FRAME]
    assert [list(frame["n"]) for frame in score.map(tables, isolation="batch")] == [[1]]
    tables.append(FRAME)
    with pytest.raises(ScriptError, match=r"item 1 of bat_\w+\)") as caught:
        score.map(tables, isolation="batch")
    assert (caught.value.traceback, caught.value.result) == ("the lines", None)


def test_both_scripts_have_the_same_calls_with_the_same_words() -> None:
    public = ["__call__", *(name for name in vars(AsyncScript) if not name.startswith("_"))]
    calls = [name for name in public if inspect.isfunction(vars(AsyncScript)[name])]
    assert calls == ["__call__", "submit", "batch", "map"]
    for name in calls:
        one, other = getattr(Script, name), getattr(AsyncScript, name)
        assert (one.__doc__, inspect.signature(one).parameters) == (other.__doc__, inspect.signature(other).parameters)
