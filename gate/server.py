"""The gate's side towards the worker: HTTP/1.1 on a UNIX socket, every size and number bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import structlog

from fumehood import __version__
from gate import calls, sources, tunnel
from gate.bodies import Rules
from gate.calls import Call
from gate.engine import EngineLine, EngineLost
from gate.refusal import Refused, message, shown
from worker import host_check
from worker.isolation import LABEL_HOME, PREFIX, Host

log = structlog.get_logger(__name__)

# Each has another to the engine. Together with the rest they fit into 4,096, the most that Linux allows who says nothing of it.
CONNECTIONS = 2000
FILES = 2 * CONNECTIONS + 64
HEAD_BYTES = 16 * 1024
BODY_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
# From the first byte of a request to its last, and for an answer that nobody takes. Between two requests a worker may keep quiet.
REQUEST_SECONDS = 20.0
OURS_KNOWN = 10_000
# So that whoever asks through it can see that it is there.
MARK = ("Fumehood-Gate", __version__)
PASSED_ON = {b"api-version", b"content-length", b"content-type", b"date", b"docker-experimental", b"ostype", b"server"}


class Gate:
    """Judges, and asks the engine at `engine`. `answer_seconds` bounds what the gate itself wants to know of it."""

    def __init__(self, rules: Rules, *, engine: Path, answer_seconds: float) -> None:
        self.rules = rules
        self.engine = engine
        self._answer_seconds = answer_seconds
        self._host: Host | None = None
        self._ours: set[str] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, socket: Path) -> asyncio.Server:
        """Listen at `socket`, in the mode that the process's umask leaves. A socket that lies there is replaced."""
        return await asyncio.get_running_loop().create_unix_server(self._protocol, str(socket), backlog=CONNECTIONS)

    async def close(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = Ears(limit=READ_BYTES)
        return asyncio.StreamReaderProtocol(reader, lambda _reader, writer: self._accept(reader, writer))

    def _accept(self, reader: Ears, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS:
            log.error("too many connections", connections=CONNECTIONS)
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(Connection(self, reader, writer).serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def judge(self, method: str, target: str, body: bytes, *, upgrade: bool, line: EngineLine) -> Call:
        """Raises Refused, or EngineLost where the engine has to be asked for that and does not answer."""
        if self._host is None:
            self._host = await self._describe(line)
        try:
            call = calls.judge(method, target, body, upgrade=upgrade, rules=self.rules, host=self._host)
        except Refused:
            self._host = None  # The engine may have been changed since; the next call asks it again.
            raise
        if call.mounts:
            sources.check(self.rules.home, (call.sandbox or "").removeprefix(PREFIX))
        if call.needs_ours and call.sandbox not in self._ours:
            await self._look_whose(call, line)
        return call

    def ended(self, call: Call, status: int) -> None:
        """What an answer tells: a sandbox that was made here is ours; of one that may be gone, nothing is known any more."""
        if call.sandbox is None:
            return
        if call.route == "create" and status == 201:
            if len(self._ours) >= OURS_KNOWN:
                self._ours.clear()
            self._ours.add(call.sandbox)
        elif call.route == "remove" or status == 404:
            self._ours.discard(call.sandbox)

    async def _describe(self, line: EngineLine) -> Host:
        status, info = await self._own(Call(route="info", method="GET", target="/info"), line)
        if status != 200:
            raise EngineLost(f"it described itself with {status}")
        return host_check.capabilities(info, runtime=self.rules.runtime)

    async def _look_whose(self, call: Call, line: EngineLine) -> None:
        """A name proves nothing: the container's label does."""
        status, found = await self._own(Call(route="inspect", method="GET", target=f"/containers/{call.sandbox}/json"), line)
        if status == 404:
            raise Refused(f"No such container: {call.sandbox}", status=404)
        labels = found.get("Config", {}).get("Labels") or {} if status == 200 else {}
        if labels.get(LABEL_HOME) != str(self.rules.home):
            raise Refused(f"{call.route} of {call.sandbox}, which is not of this home")
        self._ours.add(call.sandbox or "")

    async def _own(self, call: Call, line: EngineLine) -> tuple[int, Any]:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await line.document(call)
        except TimeoutError:
            raise EngineLost(f"no answer within {self._answer_seconds:g} s") from None


class Ears(asyncio.StreamReader):
    """Hears the end of a connection also while nobody reads."""

    on_end: Callable[[], object] | None = None

    def feed_eof(self) -> None:
        super().feed_eof()
        if self.on_end is not None:
            self.on_end()


class Connection:
    def __init__(self, gate: Gate, reader: Ears, writer: asyncio.StreamWriter) -> None:
        self._gate = gate
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._line = EngineLine(gate.engine)

    async def serve(self) -> None:
        """Every request of it. Never raises for what comes."""
        try:
            while await self._one():
                self._protocol.start_next_cycle()
        except (OSError, TimeoutError, h11.LocalProtocolError, EngineLost):
            pass  # Nobody is there to be told.
        except Exception as error:
            log.error("gate failed", exc_info=error)
        finally:
            self._line.close()
            self._writer.close()

    async def _one(self) -> bool:
        """One request and its answer; True where another may come."""
        method = target = ""
        try:
            received = await self._receive()
            if received is None:
                return False
            request, body = received
            method, target = request.method.decode(), request.target.decode("latin-1")
            upgrade = any(name == b"upgrade" for name, _ in request.headers)
            # Whoever hangs up is not waited for: a call that the engine has not answered is broken off there as well.
            task = asyncio.current_task()
            assert task is not None
            self._reader.on_end = task.cancel
            if self._reader.at_eof():
                return False
            call = await self._gate.judge(method, target, body, upgrade=upgrade, line=self._line)
            return await self._forward(call)
        except Refused as refused:
            if refused.status == 403:
                log.warning("call refused", method=shown(method), target=shown(target), reason=refused.detail)
            await self._answer(refused.status, refused.detail)
        except h11.RemoteProtocolError as error:
            log.warning("call refused", method=shown(method), target=shown(target), reason="not HTTP/1.1, or a head that is too long")
            await self._answer(error.error_status_hint, "not HTTP/1.1, or a head that is too long")
        except EngineLost as lost:
            log.error("engine lost", reason=str(lost))
            self._line.close()
            if self._protocol.our_state is not h11.SEND_RESPONSE:
                return False  # In the middle of an answer: its end must not look like one.
            await self._answer(502, f"the engine does not answer: {lost}")
        finally:
            self._reader.on_end = None
        return self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE

    async def _receive(self) -> tuple[h11.Request, bytes] | None:
        """A request with its body; None where the connection ends before one begins."""
        request: h11.Request | None = None
        body = b""
        began = None
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                if began is None and (request is not None or self._protocol.trailing_data[0]):
                    began = asyncio.get_running_loop().time()
                if self._protocol.they_are_waiting_for_100_continue:
                    await self._send(self._protocol.send(h11.InformationalResponse(status_code=100, headers=[])))
                async with asyncio.timeout_at(None if began is None else began + REQUEST_SECONDS):
                    self._protocol.receive_data(await self._reader.read(HEAD_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
                if len(body) > BODY_BYTES:
                    raise Refused(f"a body of more than {BODY_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return request, body
            else:
                return None

    async def _forward(self, call: Call) -> bool:
        head = await self._line.ask(call)
        self._gate.ended(call, head.status_code)
        if isinstance(head, h11.InformationalResponse):
            await self._send(self._protocol.send(h11.InformationalResponse(status_code=101, headers=[*head.headers, _mark()])))
            self._reader.on_end = None
            first, reader, writer = self._line.taken_over()
            writer.write(self._protocol.trailing_data[0])
            await tunnel.join((self._reader, self._writer), (reader, writer), first)
            return False
        headers = [(name, value) for name, value in head.headers if name in PASSED_ON]
        parts = [self._protocol.send(h11.Response(status_code=head.status_code, headers=[*headers, _mark()]))]
        # The head at once where the body may take as long as a job; otherwise one packet for both.
        if call.route == "wait":
            await self._send(parts.pop())
        async for data in self._line.body():
            parts.append(self._protocol.send(h11.Data(data=data)))
            if sum(len(part or b"") for part in parts) > READ_BYTES:
                await self._send(*parts)
                parts.clear()
        await self._send(*parts, self._protocol.send(h11.EndOfMessage()))
        return self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE

    async def _answer(self, status: int, detail: str) -> None:
        """An answer of the gate's own. Where the request was not read to its end, the last one."""
        text = message(detail)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(text))), MARK]
        if self._protocol.their_state is not h11.DONE:
            headers.append(("Connection", "close"))
        events = (h11.Response(status_code=status, headers=headers), h11.Data(data=text), h11.EndOfMessage())
        await self._send(*(self._protocol.send(event) for event in events))

    async def _send(self, *parts: bytes | None) -> None:
        self._writer.write(b"".join(part for part in parts if part))
        async with asyncio.timeout(REQUEST_SECONDS):
            await self._writer.drain()


def _mark() -> tuple[bytes, bytes]:
    return MARK[0].encode(), MARK[1].encode()
