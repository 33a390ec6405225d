"""`fumehood run --local`: Docker and nothing else, and nothing left behind, however it ends."""

from __future__ import annotations

import csv
import grp
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fumehood.outcome import Reason
from tests.journey.local_runs import RUN_SECONDS, LocalRuns, local_runs
from tests.journey.workshop import Workshop
from tests.services import until

__all__ = ["local_runs"]

ROOT = Path(__file__).resolve().parents[2]
TABLE = "name,n,x\nann,1,0.5\nbob,,1.25\n"
WORKS = """
import os
import pandas as pd

def azureml_main(frame, second=None, *, factor=1):
    print("rows", len(frame))
    with open("plot one.svg", "w") as file:
        file.write("<svg xmlns='http://www.w3.org/2000/svg'/>")
    os.makedirs("outputs/model", exist_ok=True)
    with open("outputs/model/kept.txt", "w") as file:
        file.write("kept")
    frame["x"] = frame["x"] * factor
    return frame, pd.DataFrame({"dtype": [str(dtype) for dtype in frame.dtypes]})
"""
FAILS = """
def azureml_main(frame=None):
    print("before")
    raise ValueError("out of order")
"""
RUNS_FOR_LONG = """
import time

def azureml_main():
    print("started")
    time.sleep(90)
"""


def test_a_run_shows_and_saves_what_a_run_at_a_service_does(local_runs: LocalRuns) -> None:
    script, table, out = local_runs.file("s.py", WORKS), local_runs.file("t.csv", TABLE), local_runs.directory / "out"
    out.mkdir()

    done = local_runs(
        *("run", "--local", script, "--dataset1", table, "--param", "factor=2"),
        *("--out", out / "t.csv", "--out2", out / "types.arrow", "--figures", out / "figures", "--artifacts", out / "files"),
    )

    assert done.returncode == 0, done.stderr
    for part in ("rows 2\n", "ann", "2 rows and 3 columns", "erased   container fumehood-", "times    queued"):
        assert part in done.stdout
    assert list(csv.reader((out / "t.csv").read_text().splitlines())) == [["name", "n", "x"], ["ann", "1", "1"], ["bob", "", "2.5"]]
    assert (out / "figures" / "plot one.svg").read_text().startswith("<svg")
    assert (out / "files" / "model" / "kept.txt").read_text() == "kept"
    assert local_runs.leftovers() == []


def test_the_result_is_that_of_a_service_bit_by_bit(local_runs: LocalRuns, workshop: Workshop) -> None:
    script, table, out = local_runs.file("s.py", WORKS), local_runs.file("t.csv", TABLE), local_runs.directory / "t.arrow"
    workshop.start_worker()
    job = workshop.ended(workshop.submit(WORKS, dataset1=TABLE.encode()))
    assert job.outcome is not None
    assert job.outcome.reason is Reason.OK, job.outcome.message

    record = json.loads(local_runs("run", "--local", script, "--dataset1", table, "--out", out, "--json").stdout)

    assert out.read_bytes() == workshop.output(job, "result")
    assert record["notes"] == job.outcome.report["notes"]
    assert (record["state"], record["image"]) == ("succeeded", job.outcome.image)


def test_a_script_that_fails_is_exit_code_1_with_its_line(local_runs: LocalRuns) -> None:
    done = local_runs("run", "--local", local_runs.file("s.py", FAILS))

    assert done.returncode == 1
    assert done.stdout.startswith("before\n")
    assert "script.py, line 4, in azureml_main" in done.stderr
    assert "ValueError: out of order" in done.stderr


def test_a_syntax_error_is_found_by_the_python_of_the_image(local_runs: LocalRuns) -> None:
    done = local_runs("run", "--local", local_runs.file("s.py", "def azureml_main(:\n    pass\n"))

    assert done.returncode == 1
    assert "script.py, line 1" in done.stderr
    assert "SyntaxError" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_end_from_outside_erases_everything_at_once(local_runs: LocalRuns, number: signal.Signals, code: int) -> None:
    process = local_runs.begin("run", "--local", local_runs.file("s.py", RUNS_FOR_LONG))
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"

    process.send_signal(number)

    _, err = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == code, err
    assert local_runs.leftovers() == []


def test_what_a_killed_run_left_is_removed_by_the_next(local_runs: LocalRuns) -> None:
    process = local_runs.begin("run", "--local", local_runs.file("s.py", RUNS_FOR_LONG))
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.kill()
    process.communicate(timeout=RUN_SECONDS)
    until(lambda: local_runs.containers(only_running=True) == [], seconds=20, what="the container has ended by itself")
    assert local_runs.containers() != []
    assert any((local_runs.home / "runs").iterdir())

    done = local_runs("run", "--local", local_runs.file("f.py", FAILS))

    assert "removed what 1 local run left" in done.stderr
    assert local_runs.leftovers() == []


def test_check_asks_the_image_and_runs_nothing(local_runs: LocalRuns) -> None:
    source = "import sklern\nimport numpy\nraise SystemExit('it ran')\ndef azureml_main(a, b):\n    pass\n"
    script, table = local_runs.file("s.py", source), local_runs.file("t.csv", TABLE)

    found = json.loads(local_runs("check", script, "--dataset1", table, "--json").stdout)["findings"]
    broken = local_runs("check", script, "--dataset1", local_runs.file("b.csv", "a,b\n1,2,3\n"))

    said = {(each["level"], each["pointer"], each["detail"].partition(",")[0]) for each in found}
    assert {("error", "/script", "imports sklern"), ("fine", "/dataset1", "2 rows")} <= said
    assert not any("numpy" in each["detail"] for each in found)
    assert broken.returncode == 1
    assert "dataset1" in broken.stdout
    assert local_runs.leftovers() == []


def test_two_runs_at_once_leave_each_other_alone(local_runs: LocalRuns) -> None:
    long = local_runs.begin("run", "--local", local_runs.file("s.py", RUNS_FOR_LONG))
    assert long.stdout is not None
    assert long.stdout.readline() == "started\n"

    assert local_runs("run", "--local", local_runs.file("f.py", FAILS)).returncode == 1

    assert long.poll() is None
    long.send_signal(signal.SIGINT)
    long.communicate(timeout=RUN_SECONDS)


def test_what_only_a_service_stores_is_refused(local_runs: LocalRuns) -> None:
    done = local_runs("run", "--local", local_runs.file("s.py", WORKS), "--dataset1", "ds_" + "0" * 32)

    assert done.returncode == 2
    assert "a local run has no stored datasets" in done.stderr


def test_what_is_missing_is_said_with_what_to_do(local_runs: LocalRuns) -> None:
    script = local_runs.file("s.py", FAILS)
    local_runs.environment["FUMEHOOD_IMAGE"] = "sha256:" + "0" * 64
    without_image = local_runs("run", "--local", script)
    local_runs.environment["DOCKER_HOST"] = f"unix://{local_runs.directory}/no.sock"
    without_engine = local_runs("run", "--local", script)

    assert (without_image.returncode, without_engine.returncode) == (3, 3)
    assert "images/build.py anaconda" in without_image.stderr
    assert "there is no Docker engine at" in without_engine.stderr


def test_it_works_as_a_member_of_the_group_docker(local_runs: LocalRuns) -> None:
    """Not root, no account, no home: files, links and modes must still be right for the sandbox's own user id."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become somebody else")
    who, docker_group = 54_321, _group_of_the_engine()
    python = [Path(sys.executable).resolve(), ROOT / "cli" / "app.py"]
    drop = ["setpriv", f"--reuid={who}", f"--regid={who}", f"--groups={docker_group}", "--inh-caps=-all"]
    if any(subprocess.run([*drop, "test", "-r", path], check=False).returncode for path in python):
        pytest.skip("another user cannot read this checkout, or its Python")
    script, table = local_runs.file("s.py", WORKS), local_runs.file("t.csv", TABLE)
    saved_by_root = local_runs.directory / "root.csv"
    assert local_runs("run", "--local", script, "--dataset1", table, "--out", saved_by_root).returncode == 0
    _make_readable(local_runs.directory, who)
    environment = local_runs.environment | {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(
        [*drop, sys.executable, "-m", "cli", "run", "--local", script, "--dataset1", table, "--out", local_runs.temporary / "t.csv"],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (local_runs.temporary / "t.csv").read_text() == saved_by_root.read_text()
    (local_runs.temporary / "t.csv").unlink()


def _group_of_the_engine() -> int:
    try:
        return grp.getgrnam("docker").gr_gid
    except KeyError:
        return Path("/var/run/docker.sock").stat().st_gid


def _make_readable(directory: Path, who: int) -> None:
    """Of the directories of tests only root may enter the upper ones."""
    for each in (directory / "tmp", directory):
        os.chown(each, who, who)
    for parent in directory.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
