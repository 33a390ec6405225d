"""Address and key: where they come from, who may read them, and where the key may go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import config
from cli.app import app
from fumehood.client.errors import NotConfigured
from fumehood.tenant import new_key

URL = "http://desk:8765"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "fumehood" / "config.toml"


@pytest.fixture
def key() -> str:
    return new_key()


def fumehood(*arguments: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_what_is_read_and_only_its_owner_can(path: Path, key: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{key}\n")
    before = os.umask(0)
    try:
        done = fumehood("config", "write", "--url", URL, "--key-file", tmp_path / "key")
    finally:
        os.umask(before)

    assert done.exit_code == 0, done.output
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    found = config.read()
    assert (found.url, found.key, found.key_from) == (URL, key, str(path))


def test_writing_again_replaces_the_file_and_leaves_nothing_beside_it(path: Path, key: str) -> None:
    config.write("http://first", new_key())
    config.write(URL, key)

    assert config.read().key == key
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write(URL, key)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        config.write("http://second", new_key())

    assert (config.read().url, config.read().key) == (URL, key)
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_the_key_can_be_typed_in(path: Path, key: str) -> None:
    assert fumehood("config", "write", "--url", URL, "--key-file", "-", typed=f"{key}\n").exit_code == 0
    assert config.read().key == key


def test_what_is_no_key_is_not_written_and_not_repeated(path: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2\n")

    done = fumehood("config", "write", "--url", URL, "--key-file", tmp_path / "key")

    assert done.exit_code == 2
    assert "holds no key; expected fh_" in done.stderr
    assert "hunter2" not in done.output
    assert not path.exists()


@pytest.mark.parametrize("others", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_use_is_refused_with_what_to_do(path: Path, key: str, others: int) -> None:
    config.write(URL, key)
    path.chmod(others)

    done = fumehood("ps")

    assert done.exit_code == 2
    assert f"has the mode {others:04o}" in done.stderr
    assert f"chmod 600 {path}" in done.stderr
    assert key not in done.output


def test_without_any_configuration_the_address_is_this_machine_and_there_is_no_key(path: Path) -> None:
    found = config.read()

    assert (found.url, found.key) == (config.DEFAULT_URL, None)


def test_the_environment_wins_over_the_file(path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write("http://in-the-file", new_key())
    monkeypatch.setenv("FUMEHOOD_URL", URL)
    monkeypatch.setenv("FUMEHOOD_KEY", key)

    found = config.read()

    assert (found.url, found.key, found.url_from, found.key_from) == (URL, key, "FUMEHOOD_URL", "FUMEHOOD_KEY")


def test_the_files_key_never_goes_to_another_address(path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write(URL, key)
    monkeypatch.setenv("FUMEHOOD_URL", "http://somewhere.else")

    with pytest.raises(NotConfigured, match=f"belongs to {URL}"):
        config.read()

    monkeypatch.setenv("FUMEHOOD_URL", f"{URL}/")
    assert config.read().key == key


def test_an_empty_variable_is_as_none(path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write(URL, key)
    monkeypatch.setenv("FUMEHOOD_URL", "")
    monkeypatch.setenv("FUMEHOOD_KEY", "")

    assert (config.read().url, config.read().key) == (URL, key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url = ", "is not TOML"),
        ("url = 5\n", "url is not understood"),
        ('colour = "red"\n', "colour is not understood"),
        ('key = "hunter2"\n', "holds no key"),
        ("\x00", "is not TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(path: Path, text: str, said: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o600)

    done = fumehood("ps")

    assert done.exit_code == 2
    assert said in done.stderr
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.output


def test_a_file_that_is_a_directory_is_said_to_be_unreadable(path: Path) -> None:
    path.mkdir(parents=True)

    assert "cannot be read" in fumehood("ps").stderr


def test_config_shows_where_everything_comes_from_and_not_the_key(path: Path, key: str) -> None:
    config.write(URL, key)

    done = fumehood("config")

    assert done.exit_code == 0
    assert URL in done.stdout
    assert str(path) in done.stdout
    assert key[:15] in done.stdout
    assert key not in done.stdout
    assert key not in repr(config.read())


@pytest.mark.parametrize("url", ["desk:8765", "ftp://desk"])
def test_an_address_that_cannot_be_one_is_not_written(path: Path, key: str, url: str) -> None:
    done = fumehood("config", "write", "--url", url, "--key-file", "-", typed=key)

    assert done.exit_code == 2
    assert "expected one such as" in done.stderr
    assert not path.exists()
