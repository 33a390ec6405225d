"""What `make` calls, as far as it can be tried without an engine: the home, its secrets and port, and what is missing."""

from __future__ import annotations

import importlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fumehood.receipt import SigningKey
from fumehood.tenant import key_prefix
from fumehood.testing import free_port

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("compose", "engine", "home", "progress", "python_packages", "trial")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The module `home` of setup/, with its neighbours, and FUMEHOOD_HOME in `tmp_path`."""
    monkeypatch.syspath_prepend(ROOT / "setup")
    monkeypatch.setenv("FUMEHOOD_HOME", str(tmp_path / "home"))
    yield importlib.import_module("home")
    for name in MODULES:
        sys.modules.pop(name, None)


def modes(path: Path) -> set[int]:
    return {found.stat().st_mode & 0o777 for found in path.rglob("*") if found.is_file()}


def test_a_home_is_made_once_and_for_the_service_alone(home: ModuleType) -> None:
    here = home.find()
    home.ensure(here)
    first = {path: path.read_text() for path in here.path.rglob("*") if path.is_file()}
    home.ensure(here)
    assert {path: path.read_text() for path in here.path.rglob("*") if path.is_file()} == first
    assert modes(here.path) == {0o600}
    assert here.path.stat().st_mode & 0o777 == here.secrets.stat().st_mode & 0o777 == 0o700
    assert key_prefix(here.bootstrap_key.read_text().strip())
    assert SigningKey((here.signing / "receipt_key").read_text().strip()).public
    password = (here.secrets / "redis_password").read_text().strip()
    assert len(password) == 64
    assert f"requirepass {password}\n" in (here.secrets / "redis.conf").read_text()


def test_two_homes_are_two_projects(home: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = home.find()
    monkeypatch.setenv("FUMEHOOD_HOME", str(tmp_path / "another"))
    assert home.find().project != first.project
    monkeypatch.delenv("FUMEHOOD_HOME")
    assert home.find().project == "fumehood"


def test_a_home_that_is_no_absolute_path_is_refused(home: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUMEHOOD_HOME", "var/fumehood")
    with pytest.raises(Exception, match="expected an absolute path"):
        home.find()


def test_a_port_that_is_taken_is_passed_over_and_refused_if_asked_for(home: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    here = home.find()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(home, "PORT", taken)
        assert home.choose_port(here, ours=False) in range(taken + 1, taken + home.PORTS_TRIED)
        assert home.choose_port(here, ours=True) == taken
        monkeypatch.setenv("FUMEHOOD_API_PORT", str(taken))
        with pytest.raises(Exception, match=f"port {taken} is taken"):
            home.choose_port(here, ours=False)
    monkeypatch.setenv("FUMEHOOD_API_PORT", "a")
    with pytest.raises(Exception, match="expected a number"):
        home.choose_port(here, ours=False)


def test_the_port_of_last_time_is_kept(home: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.modules["engine"], "SOCKET", tmp_path)
    here, port = home.find(), free_port()
    home.ensure(here)
    assert home.write_compose_env(here, images={"FUMEHOOD_IMAGE": "sha256:0"}, port=port)
    assert not home.write_compose_env(here, images={"FUMEHOOD_IMAGE": "sha256:0"}, port=port)
    assert home.choose_port(here, ours=False) == port
    assert here.remembered()["FUMEHOOD_IMAGE"] == "sha256:0"


def test_a_home_keeps_the_store_that_it_began_with(home: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.modules["engine"], "SOCKET", tmp_path)
    here = home.find()
    home.ensure(here)
    monkeypatch.setenv("FUMEHOOD_STORE", "mysql")
    with pytest.raises(Exception, match="expected one of sqlite, postgres"):
        home.choose_store(here)
    monkeypatch.setenv("FUMEHOOD_STORE", "postgres")
    assert home.choose_store(here) == "postgres"
    home.write_compose_env(here, images={}, port=1, store="postgres")
    told = here.store_env.read_text()
    assert f"FUMEHOOD_DATABASE_PASSWORD_FILE={here.secrets}/postgres_password\n" in told
    assert (here.secrets / "postgres_password").read_text().strip() not in told
    assert f":{here.uid}:{here.gid}:" in (here.secrets / "postgres_passwd").read_text()
    monkeypatch.delenv("FUMEHOOD_STORE")
    assert home.choose_store(here) == "postgres"
    monkeypatch.setenv("FUMEHOOD_STORE", "sqlite")
    with pytest.raises(Exception, match="are in postgres, and a home keeps its store"):
        home.choose_store(here)


def test_a_home_from_before_there_was_a_choice_is_sqlite_s(home: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    here = home.find()
    home.ensure(here)
    home.write(here, here.compose_env, "FUMEHOOD_API_PORT=1\n")
    assert home.choose_store(here) == "sqlite"
    monkeypatch.setenv("FUMEHOOD_STORE", "postgres")
    with pytest.raises(Exception, match="are in sqlite"):
        home.choose_store(here)


def test_only_a_home_is_erased(home: ModuleType) -> None:
    here = home.find()
    here.path.mkdir()
    (here.path / "letter.txt").write_text("mine")
    with pytest.raises(Exception, match="is no home of Fumehood"):
        home.erase(here)
    assert (here.path / "letter.txt").exists()
    home.ensure(here)
    home.erase(here)
    assert not here.path.exists()


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [({}, "Only Debian and Ubuntu are set up automatically"), ({"apt-get": "exit 1"}, "apt-get install docker.io")],
    ids=["no apt", "neither root nor sudo"],
)
def test_what_cannot_be_installed_is_named(programs: dict[str, str], sentence: str, tmp_path: Path) -> None:
    for name in ("cat", "date", "env", "grep", "sh", "tail"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    for name, body in ({"id": "echo 1000"} | programs).items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = (ROOT / "setup" / "packages.sh").read_text().replace("PATH=$PATH:/usr/sbin:/sbin\n", "")
    done = subprocess.run(["/bin/sh", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "python3" in done.stderr


def test_an_unknown_command_is_refused() -> None:
    done = subprocess.run([sys.executable, "-B", "setup", "fly"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_an_environment_behind_a_link_is_not_emptied(home: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python_packages, kept = importlib.import_module("python_packages"), tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (tmp_path / "link").symlink_to(kept)
    monkeypatch.setattr(python_packages, "VENV", tmp_path / "link")
    with pytest.raises(home.SetupError, match="is a link to"):
        python_packages.ensure("service")
    assert (kept / "file").exists()


def test_a_link_in_the_home_leads_whoever_sets_up_nowhere(home: ModuleType, tmp_path: Path) -> None:
    here, victim = home.find(), tmp_path / "victim"
    home.ensure(here)
    victim.write_text("theirs")
    for path in (here.config, here.secrets):
        (path / ".settings.env.new").symlink_to(victim)
        assert home.write(here, path / "settings.env", "FUMEHOOD_SLOTS=1\n")
    here.settings.unlink()
    here.settings.symlink_to(victim)
    assert home.write(here, here.settings, "FUMEHOOD_SLOTS=2\n")
    assert (victim.read_text(), here.settings.read_text(), here.settings.is_symlink()) == ("theirs", "FUMEHOOD_SLOTS=2\n", False)


@pytest.mark.parametrize("name", ["config", "secrets", "signing"])
def test_a_link_in_the_place_of_a_directory_is_refused(name: str, home: ModuleType, tmp_path: Path) -> None:
    here, other = home.find(), tmp_path / "other"
    other.mkdir(mode=0o755)
    here.path.mkdir()
    (here.path / name).symlink_to(other)
    with pytest.raises(home.SetupError, match="no directory of its own"):
        home.ensure(here)
    assert other.stat().st_mode & 0o777 == 0o755


def test_a_home_of_an_older_checkout_is_not_taken_for_a_new_one(home: ModuleType) -> None:
    here = home.find()
    here.path.mkdir()
    (here.path / "compose.env").write_text("FUMEHOOD_STORE=postgres\n")
    with pytest.raises(home.SetupError, match=r"mv .*compose\.env"):
        home.ensure(here)
