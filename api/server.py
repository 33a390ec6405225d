"""Server: uvicorn's own looks ten times a second whether it should end, and that is most of what an idle API does. This one is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import FrameType

import uvicorn

DATE_SECONDS = 1.0
"""How old the date of an answer may be."""


class Server(uvicorn.Server):
    _told: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def main_loop(self) -> None:
        over = asyncio.Event()
        self._told = asyncio.get_running_loop(), over
        while not await self.on_tick(0):  # a round number: the date is written anew
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), DATE_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._told is not None:
            loop, over = self._told
            loop.call_soon_threadsafe(over.set)
