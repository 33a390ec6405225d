"""`fumehood run` and `submit`: what is shown, what is saved, and which exit code it ends with."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pyarrow.ipc
import pytest

from cli import running
from fumehood.client.events import ServerEvent
from fumehood.client.surface import Surface
from fumehood.job import State
from fumehood.outcome import Reason
from fumehood.tenant import new_key
from fumehood.testing import free_port
from tests.services import until
from tests.unit.cli_desk import PNG, Listening, arrow, failed, fumehood, made, script

__all__ = ["fumehood", "script"]


def test_a_run_shows_log_table_figures_receipt_and_times(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works(lambda: made(log=b"one\ntwo\n", files={"plot one.png": PNG}), says=[(0, "one\n"), (4, "two\n")])

    done = fumehood("run", script, "--figures", tmp_path / "figures")

    assert done.exit_code == 0, done.output
    for part in ("one\ntwo\n", "feature", "glucose", "0.75", "2 rows and 2 columns", "plot one.png  (12 bytes)"):
        assert part in done.stdout
    assert done.stdout.count("two\n") == 1
    assert "erased   container fumehood-test; 7 files, 1.0 KiB; gone at" in done.stdout
    assert "times    queued" in done.stdout
    assert (tmp_path / "figures" / "plot one.png").read_bytes() == PNG


def test_a_log_without_live_events_is_printed_at_the_end(fumehood: Listening, script: Path) -> None:
    fumehood.works(lambda: made(log="a\nb\u00e9".encode()))
    fumehood.stand.events.away = True

    done = fumehood("run", script)

    assert done.exit_code == 0
    assert done.stdout.startswith("a\nb\u00e9\n")


def test_what_the_live_log_left_out_at_the_end_is_added(fumehood: Listening, script: Path) -> None:
    fumehood.works(lambda: made(log=b"one\ntwo\nthree\n"), says=[(0, "one\n")])

    assert fumehood("run", script).stdout.startswith("one\ntwo\nthree\n")


def test_after_a_gap_the_end_of_the_log_is_shown_and_said_to_be_one(fumehood: Listening, script: Path) -> None:
    log = b"first\n" + b"x" * 50_000 + b"\nlast words\n"
    fumehood.works(lambda: made(log=log), says=[(0, "first\n"), (50_006, "\nlast")])

    done = fumehood("run", script)

    assert "last words" in done.stdout
    assert len(done.stdout) < 20_000
    assert "came faster than it can be followed" in done.stderr


def test_a_log_that_is_told_again_is_shown_once(fumehood: Listening, script: Path) -> None:
    fumehood.works(lambda: made(log=b"one\ntwo\n"), says=[(0, "one\n"), (2, "e\ntwo\n"), (0, "one\n"), (4, "two\n")])

    assert fumehood("run", script).stdout.startswith("one\ntwo\n\n")


def test_the_table_is_saved_whole_in_the_format_that_the_ending_says(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works()

    done = fumehood("run", script, "--out", tmp_path / "t.arrow")
    assert done.exit_code == 0, done.output
    with pyarrow.ipc.open_file(tmp_path / "t.arrow") as reader:
        assert reader.read_all().to_pydict() == {"feature": ["glucose", "age"], "importance": [0.75, 0.25]}

    assert fumehood("run", script, "--out", tmp_path / "t.csv").exit_code == 0
    assert (tmp_path / "t.csv").read_bytes().startswith(b"csv of ARROW1")
    assert not list(tmp_path.glob("*.part"))


def test_a_second_table_is_shown_and_saved_on_its_own(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works(lambda: made(result=arrow(a=[1]), result2=arrow(second=[7])))

    done = fumehood("run", script, "--out2", tmp_path / "two.arrow")

    assert "second" in done.stdout
    with pyarrow.ipc.open_file(tmp_path / "two.arrow") as reader:
        assert reader.read_all().to_pydict() == {"second": [7]}


def test_a_table_that_was_wanted_and_not_returned_is_complained_about(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works()

    done = fumehood("run", script, "--out2", tmp_path / "two.arrow")

    assert "returned no result2" in done.stderr
    assert not (tmp_path / "two.arrow").exists()


def test_artifacts_keep_their_directories_and_stay_inside_the_one_that_was_named(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works(lambda: made(files={"/models/a b.bin": b"1", "/../../escape": b"2", "/x\x1b[2J": b"3"}))

    done = fumehood("run", script, "--artifacts", tmp_path / "kept" / "here")

    assert done.exit_code == 0, done.output
    saved = {path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert "here/models/a b.bin" in saved
    assert all(name.startswith("here/") for name in saved)
    assert not any("\x1b" in name for name in saved)
    assert "\x1b" not in done.output


def test_the_scripts_own_error_is_shown_with_its_line_and_ends_with_1(fumehood: Listening, script: Path) -> None:
    frames = [{"file": "script.py", "line": 7, "function": "azureml_main", "source": "x = int('a')"}]
    error = {"type": "ValueError", "message": "invalid literal \x1b[31m", "file": "script.py", "line": 7, "source": "    x = int('a')"}
    fumehood.works(lambda: failed(said="ValueError: invalid literal (line 7 of script.py)", error={**error, "frames": frames}))

    done = fumehood("run", script)

    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert any("failed (script_error)" in line for line in lines)
    assert "  script.py, line 7, in azureml_main" in lines
    assert "      x = int('a')" in lines
    assert "  ValueError: invalid literal \\x1b[31m" in lines
    assert "before it broke" in done.stdout


def test_a_fault_of_the_service_ends_with_3_and_says_whose_it_was(fumehood: Listening, script: Path) -> None:
    fumehood.works(lambda: failed(Reason.SANDBOX_ERROR, said="the engine did not answer"))

    done = fumehood("run", script)

    assert done.exit_code == 3
    assert "the engine did not answer" in done.stderr
    assert "the service's fault" in done.stderr


def test_json_prints_nothing_but_the_record_on_stdout(fumehood: Listening, script: Path) -> None:
    fumehood.works(says=[(0, "hello\n")])

    done = fumehood("run", script, "--json", "--label", "team=a")

    record = json.loads(done.stdout)
    assert (record["state"], record["labels"]) == ("succeeded", {"team": "a"})
    assert "hello" in done.stderr


def test_quiet_prints_nothing_when_all_is_well(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works(says=[(0, "hello\n")])

    done = fumehood("run", script, "--quiet", "--out", tmp_path / "t.arrow")

    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "t.arrow").exists()


def test_no_follow_shows_the_table_and_not_the_log(fumehood: Listening, script: Path) -> None:
    fumehood.works(lambda: made(log=b"a line of the log\n"), says=[(0, "a line of the log\n")])

    done = fumehood("run", script, "--no-follow")

    assert "glucose" in done.stdout
    assert "a line of the log" not in done.output


def test_what_was_asked_for_is_what_the_service_got(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    stored = fumehood.stand.us.dataset()
    fumehood.works()

    done = fumehood(
        "run", script, "--dataset1", tmp_path / "a.csv", "--dataset2", stored, "--param", "n=[1, 2]", "--param", "name=plain",
        "--limit", "wall_seconds=60", "--limit", "memory_bytes=512MiB", "--label", "k=v", "--json", "--no-follow",
    )  # fmt: skip

    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["parameters"] == {"n": [1, 2], "name": "plain"}
    assert (record["limits"]["wall_seconds"], record["limits"]["memory_bytes"]) == (60, 512 * 2**20)
    assert record["inputs"]["dataset1"] == {"format": "csv", "bytes": 4}
    assert record["inputs"]["dataset2"]["dataset"] == stored


def test_the_output_of_a_job_is_the_input_of_the_next(fumehood: Listening, script: Path) -> None:
    fumehood.works()
    first = json.loads(fumehood("run", script, "--json").stdout)["id"]

    record = json.loads(fumehood("run", script, "--dataset1", f"{first}:result", "--json").stdout)

    assert (record["inputs"]["dataset1"]["job"], record["inputs"]["dataset1"]["output"]) == (first, "result")


def test_a_script_that_cannot_work_is_refused_with_its_line_and_a_caret(fumehood: Listening, script: Path) -> None:
    script.write_text("def azureml_main(frame):\n    return (frame,\n")

    done = fumehood("run", script)

    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("fumehood: ")
    assert any(line.startswith("  /script, line 2, column ") for line in lines)
    caret = next(n for n, line in enumerate(lines) if line.strip() == "^")
    assert lines[caret - 1].strip() == "return (frame,"
    assert lines[caret - 1][len(lines[caret]) - 1] == "("


def test_a_limit_above_the_ceiling_is_refused_with_its_pointer(fumehood: Listening, script: Path) -> None:
    done = fumehood("run", script, "--limit", "cpus=99")

    assert done.exit_code == 2
    assert "  /limits/cpus: cpus is 99" in done.stderr


def test_an_unknown_key_ends_with_2_and_is_not_shown(fumehood: Listening, script: Path) -> None:
    key = new_key()
    fumehood.point_at(fumehood.url, key)

    done = fumehood("run", script)

    assert done.exit_code == 2
    assert "no known key" in done.stderr
    assert key not in done.output


def test_a_service_that_does_not_listen_ends_with_3(fumehood: Listening, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.client.surface.BACKOFF_SECONDS", 0.0)
    fumehood.point_at(f"http://127.0.0.1:{free_port()}", fumehood.stand.key)

    done = fumehood("run", script)

    assert done.exit_code == 3
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.output


def test_ctrl_c_cancels_the_job_before_the_command_ends_with_130(
    fumehood: Listening, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "follow", interrupted)

    done = fumehood("run", script)

    assert done.exit_code == 130
    assert "is being cancelled" in done.stderr
    (job,), _ = fumehood.stand.store.list_jobs(_tenant(fumehood))
    assert job.state is State.CANCELLED


def test_ctrl_c_after_the_end_says_that_it_was_too_late(fumehood: Listening, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fumehood.works()

    def interrupted(client: Surface, record: dict[str, str], *_: object, **__: object) -> None:
        client.wait(record["id"])
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "follow", interrupted)

    done = fumehood("run", script)

    assert done.exit_code == 130
    assert "had ended already" in done.stderr


def test_a_job_that_somebody_cancels_ends_with_1(fumehood: Listening, script: Path) -> None:
    def somebody() -> None:
        job = until(lambda: fumehood.stand.store.list_jobs(_tenant(fumehood))[0], seconds=10, what="a job")[0]
        fumehood.stand.us.post(f"/v1/jobs/{job.id}/cancel")

    canceller = threading.Thread(target=somebody)
    canceller.start()
    done = fumehood("run", script)
    canceller.join(20)

    assert done.exit_code == 1
    assert "cancelled" in done.stderr


def test_state_changes_are_told_with_the_place_in_the_line(fumehood: Listening, script: Path) -> None:
    fumehood.stand.us.job()

    done = fumehood("submit", script)
    told = fumehood("status", done.stdout.strip())

    assert done.exit_code == 0
    assert "queued, 1 job of yours ahead" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "t.xlsx"], ".arrow"),
        (["--out", "nowhere/t.csv"], "there is no directory"),
        (["--dataset1", "absent.csv"], "there is no file 'absent.csv'"),
        (["--dataset1", "script.py"], "'script.py' does not end in"),
        (["--bundle", "absent.zip"], "there is no file"),
        (["--param", "novalue"], "expected name=value"),
        (["--limit", "cpus=many"], "cpus is 'many'; expected a number"),
        (["--limit", "ram=1"], "there is no limit 'ram'"),
        (["--figures", "script.py"], "is a file; expected a directory"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    fumehood: Listening, script: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(script.parent)

    done = fumehood("run", script, *arguments)

    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.startswith("fumehood: ")
    assert fumehood.stand.kept() == []


def test_a_new_attempt_begins_the_log_anew(fumehood: Listening, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fumehood.works(lambda: made(log=b"again\n"))
    told = [
        ServerEvent("log", "1-0", {"attempt": 1, "offset": 0, "text": "lost"}),
        ServerEvent("log", "2-0", {"attempt": 2, "offset": 0, "text": "again\n"}),
    ]
    monkeypatch.setattr(Surface, "follow", lambda *_: iter(told))

    done = fumehood("run", script)

    assert done.stdout.startswith("lost\nagain\n\n")
    assert "attempt 2: the log begins anew" in done.stderr


def _tenant(fumehood: Listening) -> str:
    tenant = fumehood.stand.store.tenant_of_key(fumehood.stand.key)
    assert tenant is not None
    return tenant.id
