"""`fumehood check` without a sandbox: what reading a script, its parameters and its files says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import check_parameters, check_probe, check_traps
from cli.app import app

GOOD = "def azureml_main(frame=None, *, threshold: float = 0.5):\n    return frame,\n"


def check(tmp_path: Path, source: str, *arguments: object) -> Result:
    script = tmp_path / "script.py"
    script.write_text(source)
    return CliRunner().invoke(app, ["check", "--static", str(script), *map(str, arguments)])


def test_a_good_script_is_exit_code_0_and_what_was_not_looked_at_is_said(tmp_path: Path) -> None:
    done = check(tmp_path, GOOD, "--param", "threshold=1")

    assert done.exit_code == 0, done.output
    assert "reads it" in done.stdout
    assert "not checked: imported packages" in done.stdout


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        ("x = 1\n", [], "the script never defines azureml_main"),
        ("class azureml_main: pass\n", [], "azureml_main is a class"),
        ("async def azureml_main(): pass\n", [], "is an async function"),
        ("def azureml_main(a, b, c): pass\n", [], "3 required parameters"),
        (GOOD, ["--param", "treshold=1"], "did you mean 'threshold'?"),
        (GOOD, ["--param", "threshold=high"], "must be a float; found 'high'"),
        (GOOD, ["--param", "frame=1"], "is for a dataset"),
        ("def azureml_main(*, n: int): pass\n", [], "needs it"),
        (GOOD, ["--limit", "cpus=64"], "limits cpus: cpus is 64"),
        (GOOD, ["--limit", "memory_bytes=1"], "limits memory_bytes"),
    ],
)
def test_what_would_be_refused_is_exit_code_1(tmp_path: Path, source: str, arguments: list[str], said: str) -> None:
    done = check(tmp_path, source, *arguments)

    assert done.exit_code == 1, done.output
    assert said in done.stdout


def test_more_datasets_than_the_function_takes_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    table = tmp_path / "t.csv"

    assert "takes 1 dataset, but 2 are connected" in check(tmp_path, GOOD, "--dataset1", table, "--dataset2", table).stdout


def test_a_script_of_more_than_a_mebibyte_and_one_that_is_no_text_are_errors(tmp_path: Path) -> None:
    assert "has 1,100,078 bytes; the limit is 1,048,576" in check(tmp_path, GOOD + "#" * (1_100_078 - len(GOOD))).stdout
    (tmp_path / "l.py").write_bytes(b"# \xff\n")
    assert "is not UTF-8" in CliRunner().invoke(app, ["check", "--static", str(tmp_path / "l.py")]).stdout


def test_a_format_that_nobody_knows_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "t.xls").write_text("")

    done = check(tmp_path, GOOD, "--dataset1", tmp_path / "t.xls")

    assert done.exit_code == 2
    assert "which say the format" in done.stderr


def test_a_syntax_error_shows_its_line_and_a_caret(tmp_path: Path) -> None:
    done = check(tmp_path, "def azureml_main(:\n    pass\n")

    assert "script, line 1, column 18: invalid syntax" in done.stdout
    assert "    def azureml_main(:\n                     ^" in done.stdout


def test_as_json_every_finding_has_its_level_and_place(tmp_path: Path) -> None:
    told: dict[str, Any] = json.loads(check(tmp_path, GOOD + "input()\n", "--param", "n=1", "--json").stdout)

    assert told["ok"] is False
    assert {(each["level"], each["pointer"], each["line"]) for each in told["findings"]} >= {
        ("error", "/parameters/n", None),
        ("warning", "/script", 3),
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import requests", "imports requests: a sandbox has no network"),
        ("from urllib import request", "imports urllib.request"),
        ("pd.read_csv('https://example.org/t.csv')", "opens 'https://example.org/t.csv'"),
        ("input('?')", "input(): nobody is there"),
        ("parser.parse_args()", "there is no command line"),
        ("open('/tmp/x', 'w')", "writes '/tmp/x'"),
        ("frame.to_csv('C:/out.csv')", "writes 'C:/out.csv'"),
        ("pd.read_csv('data.csv')", "reads 'data.csv'"),
        ("open('notes.txt').read()", "reads 'notes.txt'"),
        ("if __name__ == '__main__':\n    run()", "does not run"),
    ],
)
def test_a_trap_is_named_with_its_line(line: str, said: str) -> None:
    found = check_traps.traps(GOOD + line + "\n", bundle=False)

    assert [trap.line for trap in found] == [3]
    assert said in found[0].text


@pytest.mark.parametrize(
    "line",
    [
        "import urllib.parse",
        "open('/job/x.txt', 'w')",
        "frame.to_csv('out.csv')",
        "frame.to_csv('out.csv')\npd.read_csv('out.csv')",
        "open('./Script Bundle/notes.txt')",
        "open(path)",
        "import os.path",
    ],
)
def test_what_works_is_no_trap(line: str) -> None:
    assert check_traps.traps(GOOD + line + "\n", bundle=True) == []


@pytest.mark.parametrize(
    "source",
    [
        "@decorated\ndef azureml_main(*, n): pass\n",
        "def azureml_main(*, n): pass\nazureml_main = other\n",
        "def azureml_main(*, n): pass\nfrom other import f as azureml_main\n",
        "def azureml_main(**given): pass\n",
        "def azureml_main(*, other=1, n=2, **given): pass\n",
    ],
)
def test_where_reading_does_not_decide_no_parameter_is_called_wrong(source: str) -> None:
    assert list(check_parameters.faults(source, {"n": "x", "m": 1})) == []


@pytest.mark.parametrize("signature", ["frame, context", "frame, *, context", "context, /"])
def test_context_is_no_parameter_that_a_job_gives_or_lacks(signature: str) -> None:
    source = f"def azureml_main({signature}): pass\n"
    assert list(check_parameters.faults(source, {})) == []
    assert list(check_parameters.faults(source, {"context": 1})) == [("context", "is what the script's init() returns; no job can give it")]


def test_the_probe_is_a_script_that_runs_nothing_of_the_author_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "raise SystemExit('ran')\ndef azureml_main(:\n"
    names: dict[str, Any] = {"__name__": "script"}

    exec(compile(check_probe.probe(source, ["json", "sklern"], datasets=0, bundle=False), "script.py", "exec"), names)
    names["azureml_main"]()

    told = json.loads((tmp_path / "outputs" / "answer.json").read_text())
    assert (told["finding"]["line"], told["finding"]["caret"].splitlines()[0]) == (2, "def azureml_main(:")
    assert list(told["missing"]) == ["sklern"]


def test_parameters_are_measured_as_the_service_measures_them(tmp_path: Path) -> None:
    script = "def azureml_main(*, word):\n    return None\n"

    assert check(tmp_path, script, "--param", f"word={'é' * 32_000}").exit_code == 0
    assert "are 66,011 bytes of JSON; the limit is 65,536" in check(tmp_path, script, "--param", f"word={'é' * 33_000}").stdout
