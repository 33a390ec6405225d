"""A connection to the engine. It is trusted: what it answers is passed on, in whatever size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h11

from gate.calls import Call

READ_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
OWN_ANSWER_BYTES = 4 * 1024 * 1024


class EngineLost(Exception):
    """It does not answer, or not in HTTP."""


class EngineLine:
    """One call after the other; opened when needed, and anew where the engine has closed it meanwhile."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._protocol = h11.Connection(h11.CLIENT)

    async def ask(self, call: Call) -> h11.Response | h11.InformationalResponse:
        """The head of the answer; `body` has the rest. Raises EngineLost."""
        reader = self._streams[0] if self._streams else None
        if reader is not None and self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE and not reader.at_eof():
            self._protocol.start_next_cycle()
        else:
            await self._open()
        assert self._streams is not None
        headers = [("Host", "engine"), ("Content-Length", str(len(call.body)))]
        headers += [("Content-Type", "application/json")] if call.body else []
        headers += [("Connection", "Upgrade"), ("Upgrade", "tcp")] if call.upgrade else []
        parts = [self._protocol.send(h11.Request(method=call.method, target=call.target, headers=headers))]
        parts += [self._protocol.send(h11.Data(data=call.body))] if call.body else []
        parts.append(self._protocol.send(h11.EndOfMessage()))
        try:
            self._streams[1].write(b"".join(part for part in parts if part))
            while True:
                event = await self._next()
                if isinstance(event, h11.Response) or (isinstance(event, h11.InformationalResponse) and event.status_code == 101):
                    return event
        except OSError as error:
            raise EngineLost(str(error.strerror)) from error

    async def body(self) -> AsyncIterator[bytes]:
        """Raises EngineLost where it breaks off."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    async def document(self, call: Call) -> tuple[int, Any]:
        """Status and JSON of a call of the gate's own. Raises EngineLost."""
        answer, text = await self.ask(call), b""
        async for part in self.body():
            text += part
            if len(text) > OWN_ANSWER_BYTES:
                raise EngineLost(f"an answer of more than {OWN_ANSWER_BYTES} bytes")
        try:
            return answer.status_code, json.loads(text)
        except ValueError as error:
            raise EngineLost("an answer that is no JSON") from error

    def taken_over(self) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """After an answer of 101: what came behind it, and the bare connection."""
        assert self._streams is not None
        return self._protocol.trailing_data[0], *self._streams

    def close(self) -> None:
        """At once: what the engine does for this connection only, it ends."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _open(self) -> None:
        self.close()
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        try:
            self._streams = await asyncio.open_unix_connection(str(self._socket), limit=READ_BYTES)
        except OSError as error:
            raise EngineLost(str(error.strerror)) from error

    async def _next(self) -> Any:
        assert self._streams is not None
        try:
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                self._protocol.receive_data(await self._streams[0].read(READ_BYTES))
        except (h11.RemoteProtocolError, OSError) as error:
            raise EngineLost("it broke off its answer") from error
        if isinstance(event, h11.ConnectionClosed):
            raise EngineLost("it closed the connection")
        return event
