"""What every rung shares: the order of the rungs, the guard against leftovers, and servers of one's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from fumehood.settings import Settings
from fumehood.testing import RedisServer, redis_server
from tests.postgres import PostgresServer, postgres_server
from tests.postgres import programs as postgres_programs
from tests.services import missing

# How fast examples are made says something about the machine, nothing about the code.
hypothesis_settings.register_profile("fumehood", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("fumehood")

pytest_plugins = ("tests.rungs", "tests.leftovers", "tests.e2e.stand")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's settings are those that it names, whatever the shell of its starter holds."""
    for name in list(os.environ):
        if name.startswith("FUMEHOOD_") and not name.startswith("FUMEHOOD_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of one's own, not made yet."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis with a password, shared by the session: keys are named by job, and jobs are never shared."""
    if shutil.which("redis-server") is None:
        missing("redis-server is not installed")
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL shared by the session; each test gets a database of its own from it."""
    if postgres_programs() is None:
        missing("PostgreSQL is not installed")
    with postgres_server() as server:
        yield server


@pytest.fixture
def settings(home: Path) -> Callable[..., Settings]:
    """Settings with a home of one's own."""
    return lambda **values: Settings(**({"home": home} | values))
