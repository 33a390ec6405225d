"""Bodies: what is received while a piece is being used, and what a failure waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from api.bodies import PIECE_BYTES, consume
from fumehood.errors import DiskFull, TooLarge

LIMITS: dict[str, Any] = {"limit_bytes": 8 * PIECE_BYTES, "idle_seconds": 20.0}


class Sender:
    """A client that sends whole pieces as long as somebody receives, then what `ends` says; without, it stalls."""

    def __init__(self, count: int, *, ends: bool = True) -> None:
        self.sent, self._count, self._ends = 0, count, ends
        self.request = Request({"type": "http", "method": "POST", "headers": []}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        if self.sent == self._count and not self._ends:
            await asyncio.Event().wait()
        self.sent += 1
        return {"type": "http.request", "body": bytes([self.sent]) * PIECE_BYTES, "more_body": self.sent < self._count}


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def test_one_piece_is_received_while_another_is_used_and_no_more() -> None:
    async def scene() -> None:
        sender, used, may_end = Sender(4), list[int](), asyncio.Event()

        async def use(piece: bytes) -> None:
            used.append(piece[0])
            await may_end.wait()

        consumed = asyncio.create_task(consume(sender.request, use, **LIMITS))
        await settle()
        assert (used, sender.sent) == ([1], 2)
        may_end.set()
        await consumed
        assert (used, sender.sent) == ([1, 2, 3, 4], 4)

    asyncio.run(scene())


def test_a_failure_is_told_although_the_client_stalls() -> None:
    async def use(piece: bytes) -> None:
        raise DiskFull("the disk is full", retry_after_seconds=1)

    with pytest.raises(DiskFull):
        asyncio.run(asyncio.wait_for(consume(Sender(1, ends=False).request, use, **LIMITS), 10))


def test_whoever_is_at_the_file_is_waited_for_when_the_body_cannot_be_taken() -> None:
    at_it: list[str] = []

    async def use(piece: bytes) -> None:
        at_it.append("begins")
        await settle()
        at_it.append("ends")

    with pytest.raises(TooLarge):
        asyncio.run(consume(Sender(3).request, use, limit_bytes=PIECE_BYTES, idle_seconds=20.0))
    assert at_it == ["begins", "ends"]
