"""Settings: read from the environment, checked when they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from fumehood.errors import BadRequest
from fumehood.limits import CEILING, Limits
from fumehood.settings import Settings


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    def read(**values: str) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(f"FUMEHOOD_{name.upper()}", value)
        return Settings()

    return read


def test_nothing_has_to_be_set() -> None:
    settings = Settings()
    assert settings.store_url == "sqlite:////var/lib/fumehood/fumehood.db"
    assert settings.slots == (os.cpu_count() or 1)
    assert (settings.limits, settings.ceiling, settings.image) == (Limits(), CEILING, None)


def test_every_setting_says_what_it_is_for() -> None:
    assert {name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")} == set()


def test_settings_come_from_the_environment(setenv: Callable[..., Settings], tmp_path: Path) -> None:
    settings = setenv(home=str(tmp_path), slots="3", beat_seconds="0.5", database_url="postgresql+psycopg://h/d", unknown="ignored")
    assert (settings.home, settings.slots, settings.beat_seconds) == (tmp_path, 3, 0.5)
    assert settings.store_url == "postgresql+psycopg://h/d"


@pytest.mark.parametrize("password", ["0a1b", "p@ss/wörd:%41?#"])
def test_the_store_s_password_joins_its_address_at_the_last_moment(setenv: Callable[..., Settings], password: str) -> None:
    settings = setenv(database_url="postgresql+psycopg://user@host:5433/name?sslmode=require", database_password=password)
    address = make_url(settings.store_url)
    assert (address.username, address.password, address.host, address.port, address.database) == ("user", password, "host", 5433, "name")
    assert address.query == {"sslmode": "require"}
    assert password not in repr(settings)


def test_nothing_set_is_not_set(setenv: Callable[..., Settings]) -> None:
    assert setenv(database_url="").store_url.startswith("sqlite:///")


def test_limits_are_a_document(setenv: Callable[..., Settings]) -> None:
    assert setenv(limits='{"wall_seconds": 60, "cpus": 0.5}').limits == Limits(wall_seconds=60, cpus=0.5)


def test_one_named_ceiling_changes_no_other(setenv: Callable[..., Settings]) -> None:
    settings = setenv(ceiling='{"wall_seconds": 600}')
    assert settings.ceiling.wall_seconds == 600
    assert settings.ceiling.memory_bytes == CEILING.memory_bytes


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("image", "fumehood:latest", "expected sha256:"),
        ("image", "sha256:" + "0" * 63, "expected sha256:"),
        ("image", "sha256:" + "G" * 64, "expected sha256:"),
        ("home", "relative/path", "expected an absolute path"),
        ("beat_seconds", "4", "at least three times beat_seconds"),
        ("slots", "0", "greater than or equal to 1"),
        ("slots", "many", "valid integer"),
        ("attempts_max", "11", "less than or equal to 10"),
        ("lease_seconds", "0", "greater than 0"),
        ("log_level", "loud", "pattern"),
        ("limits", '{"wall_seconds": 0}', "wall_seconds is 0"),
        ("limits", '{"wall_seconds": 7200}', "wall_seconds is 7,200.0, its ceiling 3,600.0"),
        ("ceiling", '{"cpus": 0.5}', "cpus is 1.0, its ceiling 0.5"),
        ("database_url", "postgresql+psycopg://user:hunter2@host/name", "expected it in database_password"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(setenv: Callable[..., Settings], name: str, value: str, expected: str) -> None:
    with pytest.raises((ValidationError, BadRequest), match=expected):
        setenv(**{name: value})


def test_an_image_is_a_digest(setenv: Callable[..., Settings]) -> None:
    digest = "sha256:" + "0a" * 32
    assert setenv(image=digest).image == digest
    assert setenv(image="").image is None


@pytest.mark.parametrize("name", ["redis_password", "database_password", "bootstrap_key"])
def test_a_secret_is_a_value_or_a_file_and_never_shown(setenv: Callable[..., Settings], tmp_path: Path, name: str) -> None:
    assert Settings().secret(name) is None
    file = tmp_path / "secret"
    file.write_text("from-the-file\n")
    assert setenv(**{f"{name}_file": str(file)}).secret(name) == "from-the-file"
    settings = setenv(**{name: "hunter2"})
    assert settings.secret(name) == "hunter2"
    assert "hunter2" not in f"{settings!r} {settings.model_dump()}"
