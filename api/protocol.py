"""The HTTP protocol of the server, with patience that ends: uvicorn bounds neither a head that never comes, nor a body that
goes on after its answer, nor an answer that nobody reads, nor how many connections there are. And what it refuses itself is a
problem document like any other."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import OrderedDict
from typing import Any

import h11
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from api import problems
from api.bodies import CRAWL_BYTES_PER_SECOND
from api.framing import StrictConnection
from api.middleware import SAFE_HEADERS
from api.places import FULL_RETRY_SECONDS
from fumehood.errors import Malformed, Unavailable

AT_ONCE = struct.pack("ii", 1, 0)
MALFORMED = problems.PROBLEMS[Malformed]


class Door:
    """All connections of a server: how many there may be, and which of them wait, the longest first.

    Above `connections_max` the one that has been without a request for longest makes room, so that connections which do nothing
    keep nobody out. The newest is refused only where all others are being served.
    """

    def __init__(self, *, connections_max: int, patience_seconds: float) -> None:
        self.connections_max, self.patience_seconds = connections_max, patience_seconds
        self.full = problems.of_error(
            Unavailable(f"there are {connections_max} connections, which is the limit", retry_after_seconds=FULL_RETRY_SECONDS)
        )
        self._idle: OrderedDict[PatientProtocol, None] = OrderedDict()

    def note(self, protocol: PatientProtocol, *, idle: bool) -> None:
        if not idle:
            self._idle.pop(protocol, None)
        elif protocol not in self._idle:
            self._idle[protocol] = None

    def longest_idle(self) -> PatientProtocol | None:
        """Taken out: it is about to be closed."""
        return self._idle.popitem(last=False)[0] if self._idle else None


class PatientProtocol(H11Protocol):
    """Looks at its connection from time to time, and closes it when the client has owed the same thing since the last look."""

    def __init__(self, *args: Any, door: Door, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn: StrictConnection = StrictConnection()
        self._door = door
        self._held_back = False
        self._resumed = 0
        self._owed: tuple[str, object] | None = None
        self._unsent = 0

    # one connection of many ----------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._next_look = self.loop.call_later(self._door.patience_seconds, self._look)
        if len(self.connections) > self._door.connections_max:
            other = self._door.longest_idle()
            if other is None:
                self._refuse(self._door.full)
                return
            other.let_go()
        self._door.note(self, idle=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        self._door.note(self, idle=False)
        super().connection_lost(exc)

    def let_go(self) -> None:
        """What is still to be sent to somebody who does not read would hold up a close for ever; the kernel's part of it too, unless
        it is told to throw that away."""
        if self.transport.get_write_buffer_size():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self.transport.abort()
        else:
            self.transport.close()

    # one request after the other -----------------------------------------------------------------------------------------
    def handle_events(self) -> None:
        if self._held_back:
            self.flow.pause_reading()
            return
        super().handle_events()
        if not self.transport.is_closing():
            self._door.note(self, idle=self.cycle is None or self.cycle.response_complete)

    def on_response_complete(self) -> None:
        """The next request is not begun before the answer to this one was nearly taken: it would hold a place in the service
        for as long as the client does not read."""
        self._held_back = self.flow.write_paused
        if not self._held_back:
            super().on_response_complete()
        if not self.transport.is_closing():
            self._door.note(self, idle=self._held_back or self.cycle.response_complete)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._resumed += 1
        if self._held_back:
            self._held_back = False
            self.on_response_complete()
            self.handle_events()  # of a body that was not taken, and came meanwhile

    def send_400_response(self, msg: str) -> None:
        """A head that is no HTTP never reaches the application; it is told in the application's words."""
        self._refuse(problems.problem(*MALFORMED, self.conn.fault))

    def _refuse(self, answer: Response) -> None:
        """Only where no answer was begun: two would be taken for those of two requests."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever is at it speaks to nobody any more
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        headers = {**SAFE_HEADERS, **answer.headers, "Connection": "close"}
        response = h11.Response(
            status_code=answer.status_code, headers=[(name.encode(), value.encode()) for name, value in headers.items()]
        )
        for event in (response, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    # patience ------------------------------------------------------------------------------------------------------------
    def _look(self) -> None:
        owed, unsent = self._owes(), self.transport.get_write_buffer_size()
        taken = self._unsent - unsent
        if owed is not None and owed == self._owed and taken < CRAWL_BYTES_PER_SECOND * self._door.patience_seconds:
            self.let_go()
        self._owed, self._unsent = owed, unsent
        self._next_look = self.loop.call_later(self._door.patience_seconds, self._look)

    def _owes(self) -> tuple[str, object] | None:
        """What the client still has to send, or to take, outside of a request that is being handled (those have limits of their
        own)."""
        if self.transport.is_closing():
            return "rest of the connection", None
        if self.flow.write_paused:
            return "rest of the answer", self._resumed
        if self.conn.their_state is h11.IDLE:
            return "head", self.cycle
        # An answer came before the body was read. Closing at once could destroy the answer on its way, so the rest is read
        # and thrown away for a while.
        if self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            return "rest of the body", self.cycle
        return None


def patient(door: Door) -> type[PatientProtocol]:
    """The protocol behind a door."""

    class Behind(PatientProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, door=door, **kwargs)

    return Behind
