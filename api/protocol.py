"""The HTTP protocol of the server, with patience that ends: uvicorn bounds neither a head that never comes nor a body that
goes on after its answer. And what it refuses itself is a problem document like any other."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api import problems
from api.middleware import SAFE_HEADERS
from fumehood.errors import Malformed

MALFORMED = problems.PROBLEMS[Malformed]


class PatientProtocol(H11Protocol):
    """Looks at its connection from time to time, and closes it when the client has owed the same thing since the last look."""

    patience_seconds: ClassVar[float] = 60.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._owed: tuple[str, int] | None = None
        self._next_look = self.loop.call_later(self.patience_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """A head that is no HTTP never reaches the application; it is told in the application's words."""
        answer = problems.problem(*MALFORMED, "the request's head is not HTTP/1.1, or longer than the limit")
        headers = {**SAFE_HEADERS, **answer.headers, "Connection": "close"}
        response = h11.Response(status_code=400, headers=[(name.encode(), value.encode()) for name, value in headers.items()])
        for event in (response, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _look(self) -> None:
        owed = self._owes()
        if owed is not None and owed == self._owed:
            self.transport.close()
            return
        self._owed = owed
        self._next_look = self.loop.call_later(self.patience_seconds, self._look)

    def _owes(self) -> tuple[str, int] | None:
        """What the client still has to send outside of a request that is being handled (those have limits of their own)."""
        if self.conn.their_state is h11.IDLE:
            return "head", id(self.cycle)
        # An answer came before the body was read. Closing at once could destroy the answer on its way, so the rest is read
        # and thrown away for a while.
        if self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            return "rest of the body", id(self.cycle)
        return None


def patient(seconds: float) -> type[PatientProtocol]:
    """The protocol with a patience of between one and two times `seconds`."""
    return type("PatientProtocol", (PatientProtocol,), {"patience_seconds": seconds})
