"""`fumehood batch`, against a front desk that listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fumehood.job import Job, Kind, Lane
from tests.unit.cli_desk import Listening, failed, fumehood, made, script
from tests.unit.front_desk import Made

__all__ = ["fumehood", "script"]


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    names = ("one.csv", "two.csv", "three.csv")
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"a\n{number}\n")
    return [tmp_path / name for name in names]


@pytest.fixture
def second_fails(fumehood: Listening) -> None:
    """Items end at once, the second one badly."""
    fumehood.works(made)
    usual = fumehood.stand.worker.make

    def work(job: Job, content: bytes) -> Made:
        return failed(said="it \x1b[31mwent wrong") if job.kind is Kind.SCRIPT and job.item == 1 else usual(job, content)

    fumehood.stand.worker.make = work


def batch(fumehood: Listening, script: Path, tables: list[Path], *options: object) -> str:
    done = fumehood("batch", "submit", script, *tables, *options)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_submit_prints_the_id_and_the_items_have_the_names_of_their_files(fumehood: Listening, script: Path, tables: list[Path]) -> None:
    found = fumehood.stand.us.get(f"/v1/batches/{batch(fumehood, script, tables, '--param', 'b=3', '--isolation', 'batch')}").json()
    assert (found["items"], found["isolation"], found["parameters"]) == (3, "batch", {"b": 3})
    items = fumehood.stand.us.get(f"/v1/batches/{found['id']}/items").json()["items"]
    assert [item["name"] for item in items] == ["one.csv", "two.csv", "three.csv"]


def test_wait_tells_how_it_ended_and_fails_where_an_item_did(
    fumehood: Listening, script: Path, tables: list[Path], second_fails: None
) -> None:
    done = fumehood("batch", "submit", script, *tables, "--wait")
    assert (done.exit_code, done.stdout) == (1, "2 succeeded, 1 failed\n")
    assert fumehood("batch", "submit", script, tables[0], "--wait").exit_code == 0
    whole = fumehood("batch", "submit", script, tables[0], "--wait", "--json")
    assert json.loads(whole.stdout)["counts"]["succeeded"] == 1


def test_status_and_items_show_what_came_of_each(fumehood: Listening, script: Path, tables: list[Path], second_fails: None) -> None:
    found = batch(fumehood, script, tables)
    fumehood.stand.us.get(f"/v1/batches/{found}", params={"wait": 20})
    status = fumehood("batch", "status", found).stdout
    assert "2 succeeded, 1 failed" in status
    assert json.loads(fumehood("batch", "status", found, "--json").stdout)["items"] == 3
    lines = fumehood("batch", "items", found).stdout.splitlines()
    assert len(lines) == 4
    assert [line.split()[:3] for line in lines[1:]] == [["0", "one.csv", "ok"], ["1", "two.csv", "script_error"], ["2", "three.csv", "ok"]]
    bad = fumehood("batch", "items", found, "--state", "failed").stdout
    assert "two.csv" in bad
    assert "one.csv" not in bad
    assert "\x1b" not in bad, "a script's message does not reach the terminal as it is"
    assert len(json.loads(fumehood("batch", "items", found, "--limit", "2", "--json").stdout)) == 2


def test_results_are_saved_under_numbers_and_never_outside(
    fumehood: Listening, script: Path, tables: list[Path], tmp_path: Path, second_fails: None
) -> None:
    name = "../../../evil.csv"
    document = {"script": script.read_text(), "items": [{"name": name}, {"name": "two"}, {}]}
    found = fumehood.stand.us.post("/v1/batches", json=document).json()["id"]
    fumehood.stand.us.get(f"/v1/batches/{found}", params={"wait": 20})
    target = tmp_path / "results"
    done = fumehood("batch", "results", found, target)
    assert done.exit_code == 0, done.output
    saved = sorted(path.name for path in target.iterdir())
    assert [path[:6] for path in saved] == ["00000-", "00002-"]
    assert all(path.endswith(".arrow") for path in saved)
    assert (target / saved[0]).read_bytes().startswith(b"ARROW1")
    assert not list(tmp_path.parent.glob("evil*"))


def test_cancel_tells_what_is_left_of_it(fumehood: Listening, script: Path, tables: list[Path]) -> None:
    fumehood.stand.queue.awake = {Lane.ERRANDS}
    found = batch(fumehood, script, tables)
    assert fumehood("batch", "cancel", found).stdout == "3 cancelled\n"
    again = fumehood("batch", "cancel", found)
    assert again.exit_code != 0
    assert "3 cancelled" in fumehood("batch", "status", found).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["there-is-none.csv"], "there-is-none.csv"),
        (["{table}", "--isolation", "none"], "'item', 'batch'"),
        (["{table}", "--param", "b"], "expected name=value"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    options: list[str], said: str, fumehood: Listening, script: Path, tables: list[Path]
) -> None:
    done = fumehood("batch", "submit", script, *(option.format(table=tables[0]) for option in options))
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert fumehood.stand.us.get("/v1/batches").json()["items"] == []


def test_a_format_that_is_none_is_refused_with_those_that_are(fumehood: Listening, tmp_path: Path) -> None:
    done = fumehood("batch", "results", "bat_1", tmp_path / "results", "--format", "xlsx")
    assert done.exit_code == 2
    assert "'xlsx'; expected one of arrow, arrow-stream, parquet, csv" in done.output
    assert not (tmp_path / "results").exists()
