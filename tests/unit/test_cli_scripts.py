"""`fumehood publish` and `fumehood scripts`, against a front desk that listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fumehood.job import Job, Kind, Lane
from fumehood.outcome import Reason
from tests.unit.cli_desk import Listening, failed, fumehood, made, script
from tests.unit.front_desk import Made

__all__ = ["fumehood", "script"]

COLUMN = {"name": "a", "type": "int64", "nullable": False}


def scored(job: Job) -> Made:
    """Calls end as their `word` says."""
    if job.parameters.get("word") == "bad":
        error = {"type": "ValueError", "message": "no", "line": 2, "source": "raise ValueError"}
        return failed(said="ValueError: \x1b[31mno", error=error)
    if job.parameters.get("word") == "wrong":
        ended = failed(Reason.BAD_INPUT, "the table does not fit")
        ended.report = {"notes": [{"kind": "unexpected_column", "column": "a", "text": "the column 'a' is missing"}]}
        return ended
    if job.parameters.get("word") == "none":
        return Made()
    return made(result=b"n\n1\n") if job.target_format == "csv" else made()


@pytest.fixture
def checks(fumehood: Listening) -> list[Job]:
    """Checks end at once: well, but where the script says `bad`. The jobs of calls."""
    usual, calls = fumehood.stand.worker._make, list[Job]()

    def work(job: Job, content: bytes) -> Made:
        if job.kind is Kind.SCORE:
            calls.append(job)
            return scored(job)
        if job.kind is not Kind.CHECK:
            return usual(job, content)
        if "limits" in job.parameters:
            return failed(said="ValueError: \x1b[31mno", error={"type": "ValueError", "message": "no", "traceback": "line 2\n"})
        ended = made()
        inputs = {"dataset1": [COLUMN]} if "dataset1" in job.inputs else {}
        ended.report = {**ended.report, "schemas": {"inputs": inputs, "outputs": {"result": [COLUMN]}}}
        return ended

    fumehood.stand.worker.make = work
    fumehood.stand.queue.awake = {Lane.JOBS, Lane.ERRANDS}
    return calls


pytestmark = pytest.mark.usefixtures("checks")


def publish(fumehood: Listening, script: Path, *options: object) -> None:
    done = fumehood("publish", script, "--name", "score", *options)
    assert done.exit_code == 0, done.output


def test_publish_says_what_the_check_found(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("a\n1\n")
    options = ["--sample", tmp_path / "sample.csv", "--param", "n=2", "--param", "word=x", "--description", "Scores.", "--concurrency", 3]
    done = fumehood("publish", script, "--name", "score", *options, "--limit", "wall_seconds=9")
    assert (done.exit_code, done.stdout) == (0, "score version 1 is ready\n")
    record = fumehood.stand.us.get("/v1/scripts/score/versions/1").json()
    assert [(one["name"], one["type"], one["default"]) for one in record["parameters"]] == [("n", "int", 2), ("word", "str", "x")]
    assert (record["description"], record["concurrency"], record["limits"]["wall_seconds"]) == ("Scores.", 3, 9)
    assert set(record["parts"]) == {"script", "sample"}
    assert json.loads(fumehood("publish", script, "--name", "score", "--json").stdout)["number"] == 2


def test_what_the_check_refuses_is_told_and_exits_with_1(fumehood: Listening, script: Path) -> None:
    done = fumehood("publish", script, "--name", "score", "--param", "limits=1")
    assert (done.exit_code, done.stdout) == (1, "score version 1 is refused\n")
    assert "ValueError" in done.stderr
    assert "line 2" in done.stderr
    assert "\x1b" not in done.output, "a script's message does not reach the terminal as it is"


def test_publish_need_not_wait(fumehood: Listening, script: Path) -> None:
    fumehood.stand.queue.awake = set()
    assert fumehood("publish", script, "--name", "score", "--no-wait").stdout == "score version 1 is checking\n"


def test_what_cannot_work_is_refused_before_anything_is_sent(fumehood: Listening, script: Path) -> None:
    for options, said in ((["--param", "n=[1]"], "expected a number"), (["--sample", "gone.csv"], "there is no file")):
        done = fumehood("publish", script, "--name", "score", *options)
        assert (done.exit_code, said in done.stderr) == (2, True), done.output
    done = fumehood("publish", script, "--name", "Score")
    assert (done.exit_code, "/path/script" in done.stderr) == (2, True), done.output


def test_list_show_and_versions_tell_what_there_is(fumehood: Listening, script: Path) -> None:
    publish(fumehood, script, "--description", "Scores.", "--param", "n=2")
    assert fumehood("scripts", "list").stdout.splitlines()[1].split()[:3] == ["score", "1", "1"]
    assert fumehood("scripts", "versions", "score").stdout.splitlines()[1].split()[:2] == ["1", "ready"]
    shown = fumehood("scripts", "show", "score").stdout
    for told in ("latest = 1", "1, ready", "Scores.", "a int64", "n int = 2"):
        assert told in shown
    assert json.loads(fumehood("scripts", "show", "score", "1", "--json").stdout)["version"]["number"] == 1
    assert fumehood("scripts", "show", "nothing").exit_code == 2


def test_versions_are_compared_with_their_source(fumehood: Listening, script: Path) -> None:
    publish(fumehood, script)
    script.write_text(script.read_text() + "# changed\n")
    publish(fumehood, script, "--description", "new")
    lines = fumehood("scripts", "compare", "score", "1", "2").stdout.splitlines()
    assert '/description: "" -> "new"' in lines
    assert "+# changed" in lines


def test_an_alias_is_set_shown_rolled_back_and_deleted(fumehood: Listening, script: Path) -> None:
    for _ in range(2):
        publish(fumehood, script)
    assert fumehood("scripts", "alias", "score", "prod", "1").stdout == "prod = 1\n"
    assert fumehood("scripts", "alias", "score", "prod", "2=10", "1=90%").stdout == "prod = 2 (10%), 1 (90%)\n"
    assert fumehood("scripts", "rollback", "score", "prod").stdout == "prod = 1\n"
    assert fumehood("scripts", "alias", "score", "prod").stdout == "prod = 1\n"
    assert fumehood("scripts", "alias", "score", "prod", "one").exit_code == 2
    assert fumehood("scripts", "delete", "score", "1").exit_code == 2, "an alias names it"
    assert fumehood("scripts", "alias", "score", "prod", "--delete").exit_code == 0
    assert fumehood("scripts", "delete", "score", "1").exit_code == 0
    assert fumehood("scripts", "delete", "score").exit_code == 0
    assert fumehood.stand.us.get("/v1/scripts").json()["items"] == []


def test_score_shows_the_answer_or_saves_it_in_the_format_of_the_file(
    fumehood: Listening, checks: list[Job], script: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        publish(fumehood, script, "--param", "n=2", "--param", "word=x")
    (tmp_path / "table.csv").write_text("a\n1\n")
    done = fumehood("score", "score", "--data", tmp_path / "table.csv", "--param", "n=3", "--param", "word=5")
    assert done.exit_code == 0, done.output
    assert "glucose" in done.stdout
    assert "version  score/2" in done.stdout
    (job,) = checks
    assert (job.id in done.stdout, job.parameters, job.inputs["dataset1"].format) == (True, {"n": 3, "word": "5"}, "csv")
    done = fumehood("score", "score", "--dataset1", tmp_path / "table.csv", "--version", 1, "--out", tmp_path / "answer.csv")
    assert (done.exit_code, (tmp_path / "answer.csv").read_text()) == (0, "n\n1\n"), done.output
    assert "version  score/1" in done.stdout
    fumehood("scripts", "alias", "score", "prod", "1")
    done = fumehood("score", "score", "--alias", "prod", "--param", "word=none")
    assert (done.exit_code, "no columns" in done.stdout, "score/1" in done.stdout) == (0, True, True), done.output


def test_score_says_who_failed_by_its_exit_code_and_names_the_job(
    fumehood: Listening, checks: list[Job], script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(fumehood, script, "--param", "word=x")
    out = tmp_path / "answer.csv"
    done = fumehood("score", "score", "--param", "word=bad", "--out", out)
    assert (done.exit_code, checks[-1].id in done.stderr, out.exists()) == (1, True, False)
    for told in ("(script_error)", "script.py, line 2", "ValueError: "):
        assert told in done.stderr
    assert "\x1b" not in done.output
    done = fumehood("score", "score", "--param", "word=wrong")
    assert (done.exit_code, checks[-1].id in done.stderr) == (2, True)
    assert "/body/a: the column 'a' is missing" in done.stderr
    monkeypatch.setattr("api.scoring.SCORE_SECONDS", 0.2)
    fumehood.stand.queue.awake = set()
    done = fumehood("score", "score")
    assert (done.exit_code, "cancelled" in done.stderr, "within 0.2 seconds" in done.stderr) == (1, True, True)


def test_what_cannot_be_called_is_said(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    publish(fumehood, script)
    for options, said in (
        (["--param", "version=1"], "--version says which version is meant"),
        (["--data", str(tmp_path / "gone.csv")], "there is no file"),
        (["--out", str(tmp_path / "answer.txt")], "does not end in"),
        (["--alias", "prod", "--version", "1"], "stands beside version"),
        (["--alias", "prod"], "no alias"),
    ):
        done = fumehood("score", "score", *options)
        assert (done.exit_code, said in done.stderr) == (2, True), done.output
