"""`fumehood publish` and `fumehood scripts`, against a front desk that listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fumehood.job import Job, Kind, Lane
from tests.unit.cli_desk import Listening, failed, fumehood, made, script
from tests.unit.front_desk import Made

__all__ = ["fumehood", "script"]

COLUMN = {"name": "a", "type": "int64", "nullable": False}


@pytest.fixture
def checks(fumehood: Listening) -> None:
    """Checks end at once: well, but where the script says `bad`."""
    usual = fumehood.stand.worker._make

    def work(job: Job, content: bytes) -> Made:
        if job.kind is not Kind.CHECK:
            return usual(job, content)
        if "limits" in job.parameters:
            return failed(said="ValueError: \x1b[31mno", error={"type": "ValueError", "message": "no", "traceback": "line 2\n"})
        ended = made()
        ended.report = {**ended.report, "schemas": {"inputs": {"dataset1": [COLUMN]}, "outputs": {"result": [COLUMN]}}}
        return ended

    fumehood.stand.worker.make = work
    fumehood.stand.queue.awake = {Lane.JOBS, Lane.ERRANDS}


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
