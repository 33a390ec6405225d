"""The store, over every database that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fumehood.job_store import JobStore

# One entry for each database that the store must behave the same on.
DATABASES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda directory: f"sqlite:///{directory}/fumehood.db",
}


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
def store_url(request: pytest.FixtureRequest, home: Path) -> str:
    return DATABASES[request.param](home)


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[JobStore]:
    store = JobStore(store_url, clock=clock)
    store.migrate()
    yield store
    store.close()
