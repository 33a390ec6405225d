"""Sending: one POST to an address that was judged. No redirect, no proxy, no cookie, no connection that is used twice.

By hand over h11, and not by a client: those resolve a name by themselves, at their own time, and a second answer would undo what was
judged. Here there is no name any more when the connection is made; it goes into the certificate's check and the header `Host` alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import certifi
import h11

from courier.failed import Failed
from courier.resolving import Resolve, addresses_of
from fumehood import __version__
from fumehood.addresses import Address, Allowed
from fumehood.callback import Target
from fumehood.delivery import Trouble

CONNECT_SECONDS = 5.0
"""For each address; the whole has a bound of its own."""
HEAD_BYTES, BODY_BYTES = 16 * 1024, 64 * 1024
INTERIM_MAX = 8
# What is left of an answer whose status is known: read so that its sender need not complain, and no longer than this.
REST_SECONDS = 2.0
READ_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    retry_after_seconds: float | None = None


def trust(ca_file: str | None = None) -> ssl.SSLContext:
    """What receivers are known by. Raises OSError where the file is none of certificates."""
    context = ssl.create_default_context(cafile=certifi.where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


async def post(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    *,
    ask: Resolve,
    allowed: Allowed,
    tls: ssl.SSLContext,
    within_seconds: float,
) -> Answer:
    """Raises Failed."""
    try:
        async with asyncio.timeout(within_seconds):
            addresses = await addresses_of(target, ask=ask, allowed=allowed)
            reader, writer = await _connect(target, addresses, tls)
            try:
                return await _exchange(target, headers, body, reader, writer)
            finally:
                # At once: a farewell is waited for, and may not come.
                writer.transport.abort()
    except TimeoutError as error:
        raise Failed(Trouble.TIMED_OUT) from error
    except ssl.SSLError as error:
        raise Failed(Trouble.TLS_FAILED) from error
    except OSError as error:
        raise Failed(Trouble.UNREACHABLE) from error
    except h11.ProtocolError as error:
        raise Failed(Trouble.BAD_ANSWER) from error


async def _connect(target: Target, addresses: list[Address], tls: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first that takes the connection. Raises OSError (of the last one that did not), TimeoutError."""
    # The name is in here alone: in what the certificate must say.
    secure: dict[str, Any] = {"ssl": tls, "server_hostname": target.host} if target.scheme == "https" else {}
    last: OSError = TimeoutError()
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(str(address), target.port, limit=READ_BYTES, **secure)
        except OSError as error:
            last = error
    raise last


async def _exchange(
    target: Target, headers: Mapping[str, str], body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Answer:
    line = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    said = {
        "Host": target.authority,
        "User-Agent": f"Fumehood/{__version__}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    request = h11.Request(method="POST", target=target.path, headers=list(said.items()))
    for sent in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(line.send(sent) or b"")
    # A receiver may answer, and close, before it has read everything: what it says counts.
    with suppress(ConnectionError):
        await writer.drain()
    for _ in range(INTERIM_MAX):
        answered = await _next(line, reader)
        if isinstance(answered, h11.Response):
            break
        if not isinstance(answered, h11.InformationalResponse):
            raise Failed(Trouble.BAD_ANSWER)
    else:
        raise Failed(Trouble.BAD_ANSWER)
    with suppress(OSError, h11.ProtocolError):
        async with asyncio.timeout(REST_SECONDS):
            left = BODY_BYTES
            while left > 0 and isinstance(event := await _next(line, reader), h11.Data):
                left -= len(event.data)
    return Answer(status=answered.status_code, retry_after_seconds=_retry_after(answered))


async def _next(line: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := line.next_event()) is h11.NEED_DATA:
        line.receive_data(await reader.read(READ_BYTES))
    return event


def _retry_after(answered: h11.Response) -> float | None:
    """Of seconds alone; a date is by the receiver's clock."""
    value = next((value for name, value in answered.headers if name == b"retry-after"), b"")
    return float(value) if value.isdigit() and len(value) <= 9 else None
