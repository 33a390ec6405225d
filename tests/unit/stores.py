"""The store, over every database that it runs on, and a batch and a script's version to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import select

from fumehood.batch import Batch, Isolation, Item, Terms
from fumehood.job import Input, Job, new_id
from fumehood.job_store import JobStore
from fumehood.limits import Limits
from fumehood.schema import BATCHES, JOBS, SHARES
from fumehood.script import Version, check_of
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


TERMS = Terms(attempts_max=2, ceiling_seconds=3600, slots=4)


def batch_of(count: int, isolation: Isolation = Isolation.ITEM, **overrides: Any) -> tuple[Batch, list[Item], Terms]:
    batch_id = new_id("bat")
    items = [
        Item(
            number=number,
            name=f"{number}.csv",
            inputs={"dataset1": Input(blob=f"batches/{batch_id}/pack", format="csv", bytes=5, offset=64 * number)},
            parameters={"n": number},
        )
        for number in range(count)
    ]
    values: dict[str, Any] = {
        "tenant": "ten_test",
        "inputs": {"script": Input(blob=f"batches/{batch_id}/script.py", format="python", bytes=1)},
        "parameters": {"n": -1, "shared": True},
        "limits": Limits(wall_seconds=10),
        "labels": {"team": "blue"},
    }
    values = {"tenant": "ten_test", **values, **overrides}
    batch = Batch(id=batch_id, isolation=isolation, items=count, **values)
    return batch, items, TERMS


def version_of(name: str = "score", **overrides: Any) -> tuple[Version, Job]:
    """A version of a script, and its check."""
    version_id = new_id("ver")
    files = {
        port: Input(blob=f"scripts/{version_id}/{port}", format=format, bytes=size, version=version_id)
        for port, format, size in (("script", "python", 100), ("dataset1", "csv", 10))
    }
    version = Version(id=version_id, script=name, inputs=files, **{"tenant": "ten_test", **overrides})
    return version, check_of(version, new_id("job"), attempts_max=2, retention=None)


def shares(store: JobStore) -> dict[tuple[str, str], tuple[int, int]]:
    """How many of each tenant and lane are queued and running, as the shares count them."""
    with store._database.reading() as connection:
        return {
            (row.tenant, row.lane): (row.queued, row.running) for row in connection.execute(select(SHARES)) if row.queued or row.running
        }


def counted(store: JobStore) -> dict[tuple[str, str], tuple[int, int]]:
    """As the rows of the jobs are."""
    found: dict[tuple[str, str], list[int]] = {}
    with store._database.reading() as connection:
        for row in connection.execute(select(JOBS.c.tenant, JOBS.c.lane, JOBS.c.state).where(JOBS.c.state.in_(["queued", "running"]))):
            found.setdefault((row.tenant, row.lane), [0, 0])[row.state == "running"] += 1
        for tenant, unmade in connection.execute(select(BATCHES.c.tenant, BATCHES.c.unmade).where(BATCHES.c.unmade > 0)):
            found.setdefault((tenant, "jobs"), [0, 0])[False] += unmade
    return {key: (queued, running) for key, (queued, running) in found.items()}
