"""The commands beside `run`, against a front desk that listens; and the command as a process."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from cli import doctor
from fumehood.tenant import new_key
from fumehood.testing import free_port
from tests.unit.cli_desk import PNG, Listening, failed, fumehood, made, script

__all__ = ["fumehood", "script"]
ROOT = Path(__file__).parents[2]


def submitted(fumehood: Listening, script: Path, *options: str) -> str:
    done = fumehood("submit", script, *options)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def finished(fumehood: Listening, script: Path, *options: str) -> str:
    fumehood.works()
    job = submitted(fumehood, script, *options)
    fumehood.stand.us.get(f"/v1/jobs/{job}?wait=20")
    return job


def process(fumehood: Listening, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, with nothing of this shell's."""
    given = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "FUMEHOOD_URL": fumehood.url, "FUMEHOOD_KEY": fumehood.stand.key}
    return subprocess.run([sys.executable, "-m", "cli", *arguments], cwd=ROOT, env=given | environment, capture_output=True, timeout=60)


# jobs ------------------------------------------------------------------------------------------------------------------
def test_submit_prints_the_id_and_nothing_else(fumehood: Listening, script: Path) -> None:
    job = submitted(fumehood, script)

    assert fumehood.stand.us.get(f"/v1/jobs/{job}").json()["state"] == "queued"


def test_status_shows_the_record_in_words_or_as_json(fumehood: Listening, script: Path) -> None:
    job = finished(fumehood, script, "--label", "team=a")

    words = fumehood("status", job).stdout
    for part in (job, "succeeded", "team=a", "2 rows, 2 columns", "erased", "fumehood-test"):
        assert part in words
    assert json.loads(fumehood("status", job, "--json").stdout)["id"] == job


def test_log_prints_the_log_of_a_job(fumehood: Listening, script: Path) -> None:
    job = finished(fumehood, script)

    assert fumehood("log", job).stdout == "hello\n"
    assert fumehood("log", "-f", job).stdout == "hello\n"


def test_result_shows_and_saves_the_table(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    job = finished(fumehood, script)

    done = fumehood("result", job, "--out", tmp_path / "t.arrow")

    assert done.exit_code == 0
    assert "glucose" in done.stdout
    assert (tmp_path / "t.arrow").read_bytes().startswith(b"ARROW1")


def test_result_of_a_job_that_runs_on_says_how_to_wait(fumehood: Listening, script: Path) -> None:
    job = submitted(fumehood, script)

    done = fumehood("result", job)

    assert done.exit_code == 2
    assert f"fumehood log -f {job}" in done.stderr


def test_result_of_a_failed_job_ends_with_1(fumehood: Listening, script: Path) -> None:
    fumehood.works(failed)
    job = submitted(fumehood, script)
    fumehood.stand.us.get(f"/v1/jobs/{job}?wait=20")

    done = fumehood("result", job)

    assert done.exit_code == 1
    assert "failed (script_error) and left no result" in done.stderr


def test_figures_are_saved_under_names_that_do_not_meet(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works(lambda: made(files={"a.png": PNG, "A.PNG": PNG + b"2", "a\x00.png": PNG + b"3", "a\x01.png": PNG + b"4"}))
    job = submitted(fumehood, script)
    fumehood.stand.us.get(f"/v1/jobs/{job}?wait=20")

    done = fumehood("figures", job, "--dir", tmp_path / "new" / "figures")

    assert done.exit_code == 0, done.output
    saved = {path.name: path.read_bytes() for path in (tmp_path / "new" / "figures").iterdir()}
    assert saved == {"a.png": PNG, "A (2).PNG": PNG + b"2", "a_.png": PNG + b"3", "a_ (2).png": PNG + b"4"}


def test_saving_never_writes_through_a_link(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works(lambda: made(files={"plot.png": PNG}))
    job = submitted(fumehood, script)
    fumehood.stand.us.get(f"/v1/jobs/{job}?wait=20")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "plot.png").symlink_to(tmp_path / "precious")

    assert fumehood("figures", job, "--dir", tmp_path).exit_code == 0
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "plot.png").read_bytes() == PNG


def test_cancel_says_how_the_job_is_and_refuses_a_final_one(fumehood: Listening, script: Path) -> None:
    job = submitted(fumehood, script)

    assert fumehood("cancel", job).stdout == "cancelled\n"
    again = fumehood("cancel", job)
    assert again.exit_code == 2
    assert again.stderr.startswith("fumehood: ")


def test_ps_lists_the_newest_first_and_filters(fumehood: Listening, script: Path) -> None:
    first, second = submitted(fumehood, script, "--label", "team=a"), submitted(fumehood, script)
    fumehood("cancel", first)

    rows = fumehood("ps").stdout.splitlines()
    assert rows[0].split() == ["JOB", "STATE", "CREATED", "LABELS"]
    assert [row.split()[0] for row in rows[1:]] == [second, first]
    assert "team=a" in rows[2]
    for options in (["--state", "cancelled"], ["--label", "team=a"]):
        assert [job["id"] for job in json.loads(fumehood("ps", "--json", *options).stdout)] == [first]
    assert len(json.loads(fumehood("ps", "--json", "--limit", "1").stdout)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ps", "--state", "asleep"], "state"),
        (["status", "job_nowhere"], "no job"),
        (["ps", "--label", "team"], "--label"),
        (["pss"], "'ps'"),
    ],
)
def test_what_there_is_not_is_said_in_a_line(fumehood: Listening, arguments: list[str], said: str) -> None:
    done = fumehood(*arguments)

    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 2


# datasets --------------------------------------------------------------------------------------------------------------
def test_a_dataset_is_stored_listed_and_forgotten(fumehood: Listening, tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_bytes(b"a\n1\n2\n")

    done = fumehood("datasets", "upload", tmp_path / "numbers.csv", "--name", "my numbers")
    dataset = done.stdout.strip()
    assert done.exit_code == 0, done.output
    for listing in (fumehood("datasets"), fumehood("datasets", "list")):
        assert dataset in listing.stdout
        assert "my numbers" in listing.stdout

    assert f"{dataset} is kept until deleted (pinned)\n" in fumehood("datasets", "pin", dataset).stderr
    assert "(pinned)" in fumehood("datasets").stdout
    assert "(pinned)" not in fumehood("datasets", "unpin", dataset).stderr
    assert fumehood("datasets", "rm", dataset).exit_code == 0
    assert dataset not in fumehood("datasets").stdout
    assert fumehood("datasets", "rm", dataset).exit_code == 2


def test_a_malformed_dataset_is_refused_with_the_place(fumehood: Listening, tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_bytes(b"bad,\n")

    done = fumehood("datasets", "upload", tmp_path / "broken.csv")

    assert done.exit_code == 2
    assert "line 2 has 3 fields; expected 2" in done.stderr


# doctor ----------------------------------------------------------------------------------------------------------------
def test_the_doctor_ticks_what_is_well_and_says_what_to_do_about_the_rest(fumehood: Listening) -> None:
    done = fumehood("doctor")

    lines = done.stdout.splitlines()
    for name in ("configuration", "service", "version", "key", "store", "redis"):
        assert any(line.startswith(f"✓ {name}") for line in lines), name
    ill = next(n for n, line in enumerate(lines) if line.startswith("✗ workers"))
    assert "make logs" in lines[ill + 1]
    assert done.exit_code == 1


def test_the_doctor_knows_a_key_that_is_not_accepted(fumehood: Listening) -> None:
    key = new_key()
    fumehood.point_at(fumehood.url, key)

    done = fumehood("doctor")

    assert any(line.startswith("✗ key") for line in done.stdout.splitlines())
    assert key not in done.output


def test_the_doctor_stops_where_nothing_listens(fumehood: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.client.surface.BACKOFF_SECONDS", 0.0)
    fumehood.point_at(f"http://127.0.0.1:{free_port()}", fumehood.stand.key)

    done = fumehood("doctor")

    assert done.exit_code == 1
    assert done.stdout.splitlines()[-2].startswith("✗ service")
    assert "make run" in done.stdout.splitlines()[-1]


def test_the_doctor_of_the_host_says_that_there_is_no_engine(fumehood: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUMEHOOD_DOCKER_HOST", f"unix://{tmp_path}/absent.sock")

    with warnings.catch_warnings():
        # The engine's client drops its socket unclosed where nobody listens.
        warnings.simplefilter("ignore", ResourceWarning)
        found = list(doctor.host(tmp_path))
        gc.collect()

    assert [(finding.what, finding.good) for finding in found] == [("engine", False)]
    assert "group docker" in found[0].advice


# the process -----------------------------------------------------------------------------------------------------------
def test_a_pipe_that_closes_is_quiet(fumehood: Listening) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "ps"],
            cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "FUMEHOOD_URL": fumehood.url, "FUMEHOOD_KEY": fumehood.stand.key},
        )  # fmt: skip
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (141, b"")


def test_an_encoding_without_the_characters_ends_nothing(fumehood: Listening, script: Path) -> None:
    fumehood.works(lambda: made(log="\u00e9\u65e5\n".encode()))

    done = process(fumehood, "run", str(script), PYTHONIOENCODING="ascii")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\\xe9\\u65e5\n")
    assert b"glucose" in done.stdout


def test_help_and_lists_import_nothing_that_is_slow() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from cli.app import app; "
        "result = CliRunner().invoke(app, {arguments}); assert {said!r} in result.output, result.output; "
        "print(sorted({{'pandas', 'pyarrow', 'numpy', 'docker', 'sqlalchemy', 'fastapi', 'celery'}} & set(sys.modules)))"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "FUMEHOOD_URL": f"http://127.0.0.1:{free_port()}",
        "PYTHONPATH": str(ROOT),
    }
    for arguments, said in ((["--help"], "Commands:"), (["ps"], "cannot be reached")):
        done = subprocess.run(
            [sys.executable, "-c", program.format(arguments=arguments, said=said)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
        )
        assert done.stdout == "[]\n", done.stderr


def test_no_colours_and_no_cursor_in_a_pipe(fumehood: Listening, script: Path) -> None:
    fumehood.works()

    done = process(fumehood, "run", str(script), TERM="xterm-256color")

    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr


def test_the_key_does_not_travel_through_a_proxy_to_this_machine(fumehood: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)

    assert fumehood("ps").exit_code == 0


def test_what_was_not_installed_is_named_with_how_to_install_it(fumehood: Listening, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cli.local", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # type: ignore[arg-type]

    done = fumehood("run", script, "--local")

    assert (done.exit_code, "uvicorn" in done.output) == (2, True)
    assert "pip install 'fumehood[service]'" in done.output


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_log_is_harmless_on_a_terminal_of_its_own(fumehood: Listening, script: Path) -> None:
    import pty

    fumehood.works(lambda: made(log=b"\x1b]0;owned\x07\x1b[2J\n"))
    keyboard, screen = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "TERM": "xterm",
        "FUMEHOOD_URL": fumehood.url,
        "FUMEHOOD_KEY": fumehood.stand.key,
    }
    try:
        command = subprocess.Popen(
            [sys.executable, "-m", "cli", "run", str(script)], cwd=ROOT, env=environment, stdout=screen, stderr=subprocess.PIPE
        )
        _, errors = command.communicate(timeout=60)
        shown = os.read(keyboard, 65536)
    finally:
        os.close(keyboard)
        os.close(screen)

    assert command.returncode == 0, errors
    assert b"\\x1b]0;owned\\x07\\x1b[2J" in shown
    assert b"\x1b]0;" not in shown
    assert b"glucose" in shown
