"""Local runs without a sandbox: where they live, what they find, and how a profile is drawn."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import debugging, keyboard, local_engine, local_home, profile_view
from cli.app import app
from cli.errors import BadInput, NoLocalRun
from cli.request_options import request_of
from fumehood import __version__
from fumehood.client.surface import Surface
from fumehood.errors import SandboxError
from fumehood.settings import read
from tests.unit.cli_desk import Listening, fumehood, script

__all__ = ["fumehood", "script"]


class Engine:
    """Containers by name, with their homes; `stuck` ones cannot be removed."""

    def __init__(self) -> None:
        self.containers: dict[str, str] = {}
        self.stuck: set[str] = set()

    def labelled(self, label: str) -> list[tuple[str, dict[str, str]]]:
        return [(name, {}) for name, home in self.containers.items() if label == f"fumehood.home={home}"]

    def remove(self, name: str) -> bool:
        if name in self.stuck:
            raise SandboxError("the container engine could not remove the sandbox")
        return self.containers.pop(name, None) is not None


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def parent(tmp_path: Path) -> Path:
    return next(tmp_path.glob("fumehood-local-*"))


def test_a_home_is_private_and_gone_afterwards_with_its_containers(tmp_path: Path) -> None:
    engine = Engine()
    with local_home.signals_lead_out(), local_home.local_home(engine, needed_bytes=1) as (home, _):
        assert home.stat().st_mode & 0o777 == 0o700
        (home / "blob").write_text("x")
        engine.containers["c"] = str(home)

    assert not home.exists()
    assert engine.containers == {}
    assert list((parent(tmp_path) / "workers").iterdir()) == []


def test_what_a_dead_run_left_goes_first_and_a_living_one_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine()
    with local_home.signals_lead_out(), local_home.local_home(engine, needed_bytes=1) as (living, _):
        dead = living.with_name("wrk_dead")
        shutil.copytree(living, dead, symlinks=True)
        (parent(tmp_path) / "workers" / "wrk_dead.lock").touch()
        engine.containers |= {"old": str(dead), "young": str(living)}

        with local_home.local_home(engine, needed_bytes=1):
            assert not dead.exists()
            assert engine.containers == {"young": str(living)}
            assert living.exists()
    assert "removed what 1 local run left" in capsys.readouterr().err


def test_files_stay_as_long_as_their_container_and_the_lock_tells_the_next_run(tmp_path: Path) -> None:
    engine = Engine()
    with local_home.signals_lead_out(), local_home.local_home(engine, needed_bytes=1) as (home, registration):
        engine.containers["c"] = str(home)
        engine.stuck.add("c")
    assert home.exists()
    assert (parent(tmp_path) / "workers" / f"{registration.worker}.lock").exists()


def test_a_directory_that_is_somebody_else_s_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fumehood-local").mkdir()
    me = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: me + 1)

    with pytest.raises(FileExistsError, match="is not yours"):
        local_home._private(tmp_path / "fumehood-local")


def test_no_two_users_share_user_ids_for_sandboxes_nor_any_with_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = set(range(read(home="/").sandbox_uid_first, read(home="/").sandbox_uid_first + read(home="/").sandbox_uid_count))
    for user in (0, 1000, 1001, 2000, 999_999):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        found = local_home.sandbox_uids()
        mine = set(range(found["sandbox_uid_first"], found["sandbox_uid_first"] + found["sandbox_uid_count"]))
        assert not mine & taken
        assert max(mine) < 2**31
        taken |= mine


def test_a_session_whose_screen_is_gone_takes_on_what_comes_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sandbox:
        left = 0

        def leave(self) -> None:
            self.left += 1

    (reading, writing), sandbox = os.pipe(), Sandbox()
    os.close(reading)
    with open(os.devnull) as keys, open(writing, "w") as screen:
        monkeypatch.setattr("sys.stdin", keys)
        monkeypatch.setattr("sys.stdout", screen)
        with keyboard.Terminal(sandbox) as terminal:  # type: ignore[arg-type]
            terminal.show(b"one")
            terminal.show(b"two")
    assert sandbox.left == 1


def test_without_room_every_place_is_named_with_what_is_free() -> None:
    with pytest.raises(NoLocalRun, match=r"may fill .* there is no place for that .*/var/tmp: .* free"):
        local_home._parent(2**60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_block_in_order(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left, local_home.signals_lead_out():
        signal.raise_signal(number)
    assert left.value.code == 128 + number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("address", "said"), [("tcp://10.0.0.1:2375", "needs one on this machine"), ("unix:///no/sock", "there is no Docker")]
)
def test_an_engine_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch, address: str, said: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(NoLocalRun, match=said):
        local_engine.open_engine()


def test_the_newest_image_is_taken_and_where_there_is_none_the_command_that_builds_one_is_named() -> None:
    class Images:
        def __init__(self, *found: str) -> None:
            self.found = found

        def images(self, label: str) -> list[dict[str, Any]]:
            assert label == "fumehood.image=anaconda"
            return [{"Id": each} for each in self.found]

    assert local_engine.find_image(Images("sha256:new", "sha256:old")) == "sha256:new"  # type: ignore[arg-type]
    with pytest.raises(NoLocalRun, match=r"images/build.py anaconda"):
        local_engine.find_image(Images())  # type: ignore[arg-type]


def test_what_a_job_was_given_is_what_is_debugged(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    fumehood.works()
    (tmp_path / "t.csv").write_text("a\n1\n")
    job = fumehood("submit", script, "--dataset1", tmp_path / "t.csv", "--param", "n=1", "--limit", "cpus=0.5").stdout.strip()

    with Surface(fumehood.url, fumehood.stand.key) as client:
        client.wait(job)
        case = debugging.case_of_job(client, job)

    assert case.formats == {"script": "python", "dataset1": "csv"}
    assert case.files["dataset1"] == f"/v1/jobs/{job}/inputs/dataset1"
    assert (case.parameters, case.limits.cpus, case.image) == ({"n": 1}, 0.5, "sha256:" + "0" * 64)


def test_debug_takes_a_job_or_a_script(script: Path) -> None:
    for arguments in ([], ["job_x", "--local", str(script)]):
        done = CliRunner().invoke(app, ["debug", *arguments])
        assert (done.exit_code, "takes a job's id, or --local and a script" in done.stderr) == (2, True)


def test_debugging_files_refuses_what_is_none(script: Path) -> None:
    with pytest.raises(BadInput, match="give it a file"):
        debugging.case_of_files(request_of(script, dataset1="ds_" + "0" * 32))


def test_the_version_is_said() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"fumehood {__version__}\n"


@pytest.mark.parametrize(
    ("counts", "drawn"), [([], ""), ([0, 0], ""), ([1, 1000], "▁█"), ([0, 4, 8], " ▄█"), ([1] * 40, "█" * 20), ([5] * 41, "█" * 13 + "▅")]
)
def test_a_histogram_is_drawn_as_little_bars(counts: list[float], drawn: str) -> None:
    assert profile_view.drawn(counts) == drawn


def test_a_profile_of_another_shape_shows_what_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    odd: dict[str, Any] = {
        "rows": "many",
        "columns": [
            7,
            {"name": "a\x1b[31m", "type": "int64", "nulls": 3, "distinct": None, "histogram": {"counts": ["x", 1]}},
            {"name": "b", "top": [["x", 2], "y"]},
        ],
        "head": {"columns": ["a"], "rows": [[None], 5]},
    }

    profile_view.show_profile(odd)

    shown = capsys.readouterr().out
    for part in ("a\\x1b[31m", "many", "x × 2", "missing", "? rows and 2 columns"):
        assert part in shown
