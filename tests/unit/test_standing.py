"""What goes on for long ends with what let it in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from api.standing import Standing
from fumehood.errors import StoreUnavailable
from fumehood.job_store import JobStore
from fumehood.tenant import Scope, TenantState
from tests.unit.front_desk import Stand
from tests.unit.test_api_batches import batch

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def stand(open_stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.setattr("api.standing.CHECK_SECONDS", 0.0)
    return open_stand()


def revoke(stand: Stand, prefix: str) -> None:
    stand.store.revoke_key("default", prefix)


def suspend(stand: Stand, prefix: str) -> None:
    stand.store.change_tenant("default", state=TenantState.SUSPENDED)


def nothing(stand: Stand, prefix: str) -> None:
    pass


@pytest.mark.parametrize(("end", "told"), [(revoke, [b"1"]), (suspend, [b"1"]), (nothing, [b"1", b"2"])])
def test_nothing_is_told_behind_the_end_of_a_key(end: Callable[[Stand, str], None], told: list[bytes], stand: Stand) -> None:
    known, secret = stand.store.create_key("default", name="", scopes=frozenset({Scope.READ}))
    closed: list[bool] = []

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            yield b"1"
            end(stand, known.prefix)
            yield b"2"
        finally:
            closed.append(True)

    async def read() -> list[bytes]:
        standing = Standing(desk=stand.desk, key=secret, scope=Scope.READ)
        return [piece async for piece in standing.lasting(pieces())]

    assert asyncio.run(read()) == told
    assert closed == [True]


def test_each_stream_asks(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    job, record = stand.us.job(), batch(stand, 1)
    stand.worker.work()
    paths = ("/v1/events", f"/v1/batches/{record['id']}/events", f"/v1/jobs/{job}/log")
    for path in paths:
        assert "event: " in stand.us.get(path, params={"seconds": 0} if "log" not in path else {}, headers=EVENTS).text

    async def not_any_more(standing: Standing) -> bool:
        return False

    monkeypatch.setattr(Standing, "_lasts", not_any_more)
    for path in paths:
        answer = stand.us.get(path, params={"seconds": 0} if "log" not in path else {}, headers=EVENTS)
        assert (answer.status_code, answer.text) == (200, "")


def test_while_the_store_is_away_a_stream_goes_on(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        yield b"1"

    def away(store: JobStore, key: str) -> Any:
        raise StoreUnavailable("away")

    async def read() -> list[bytes]:
        return [piece async for piece in Standing(desk=stand.desk, key=stand.key, scope=Scope.READ).lasting(pieces())]

    monkeypatch.setattr(JobStore, "caller_of_key", away)
    assert asyncio.run(read()) == [b"1"]
