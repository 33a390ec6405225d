"""PostgreSQL alone: what it is told about waiting, and what is said while it is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event, Thread

import pytest
from sqlalchemy import text

from fumehood.database import Database
from fumehood.errors import StoreUnavailable
from fumehood.job import Lane
from fumehood.job_store import JobStore
from fumehood.testing import job
from tests.postgres import PostgresServer, postgres_server
from tests.unit.front_desk import Stand, slug

WAIT_SECONDS = 20


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def hasty(url: str) -> Iterator[JobStore]:
    """A store that waits for little."""
    store = JobStore(url, busy_seconds=0.3)
    store.migrate()
    yield store
    store.close()


def test_every_wait_has_an_end(url: str) -> None:
    database = Database(url, busy_seconds=7)
    with database.writing() as connection:
        told = {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("lock_timeout", "statement_timeout")}
        assert told == {"lock_timeout": "7s", "statement_timeout": "7s"}
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "42s"
    with database.migrating() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "10min"
    database.close()


def test_the_operators_own_options_win(url: str) -> None:
    database = Database(f"{url}&options=-c%20lock_timeout%3D1s", busy_seconds=7)
    with database.reading() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "1s"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "7s"
    database.close()


def test_who_only_reads_cannot_write(hasty: JobStore) -> None:
    with pytest.raises(StoreUnavailable) as caught, hasty._database.reading() as connection:
        connection.execute(text("DELETE FROM jobs"))
    assert "read-only" in str(caught.value.__cause__)


def test_a_lock_that_another_one_keeps_is_unavailable_and_readers_go_on(hasty: JobStore, url: str) -> None:
    asked = hasty.submit(job()).job
    other = Database(url)
    with other.writing() as connection:
        connection.execute(text("SELECT * FROM jobs FOR UPDATE"))
        with pytest.raises(StoreUnavailable):
            hasty.request_cancel(asked.tenant, asked.id)
        assert hasty.get_job(asked.tenant, asked.id) == asked
    other.close()
    assert hasty.request_cancel(asked.tenant, asked.id).state.final


def test_of_two_that_wait_for_each_other_one_is_unavailable_for_a_moment(url: str) -> None:
    store = JobStore(url)
    store.migrate()
    first, second = (store.submit(job()).job for _ in range(2))
    holds, answer = Event(), []

    def other_way_round() -> None:
        try:
            with store._database.writing() as connection:
                connection.execute(text("UPDATE jobs SET beat = 5 WHERE id = :id"), {"id": second.id})
                holds.set()
                connection.execute(text("UPDATE jobs SET beat = 5 WHERE id = :id"), {"id": first.id})
        except StoreUnavailable as error:
            answer.append(error)

    thread = Thread(target=other_way_round)
    try:
        with store._database.writing() as connection:
            connection.execute(text("UPDATE jobs SET beat = 5 WHERE id = :id"), {"id": first.id})
            thread.start()
            assert holds.wait(WAIT_SECONDS)
            connection.execute(text("UPDATE jobs SET beat = 5 WHERE id = :id"), {"id": second.id})
    except StoreUnavailable as error:
        answer.append(error)
    thread.join(WAIT_SECONDS)
    assert [error.retry_after_seconds for error in answer] == [1]
    store.close()


def test_a_server_that_went_away_is_503_until_it_is_back(open_stand: Callable[..., Stand]) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        url = stack.enter_context(server.database())
        stand = open_stand(database_url=url)
        before = stand.us.job()
        server.stop()
        for answer in (stand.us.get("/v1/jobs"), stand.us.get(f"/v1/jobs/{before}"), stand.us.submit(), stand.us.upload()):
            assert (answer.status_code, slug(answer)) == (503, "store-unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert stand.served.request("GET", "/readyz").json()["parts"]["store"] == {"ok": False, "detail": "the job store does not answer"}
        assert stand.served.request("GET", "/healthz").status_code == 200
        server.start()
        # The connections in the pool are all dead: nobody may be given one of them.
        assert [stand.us.get(f"/v1/jobs/{before}").status_code for _ in range(3)] == [200] * 3
        assert stand.store.queued(Lane.JOBS) == 1
