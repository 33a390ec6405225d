"""The store, over every database that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from fumehood.job_store import JobStore
from tests.postgres import PostgresServer


@contextmanager
def _sqlite(request: pytest.FixtureRequest) -> Iterator[str]:
    yield f"sqlite:///{request.getfixturevalue('home')}/fumehood.db"


@contextmanager
def _postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


# One entry for each database that the store must behave the same on.
DATABASES: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[str]]] = {"sqlite": _sqlite, "postgres": _postgres}


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database."""
    with DATABASES[request.param](request) as url:
        yield url


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[JobStore]:
    store = JobStore(store_url, clock=clock)
    store.migrate()
    yield store
    store.close()
