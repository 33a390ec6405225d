"""Bodies: what a client sends, in bounded pieces. A client that stops, crawls or sends too much is told so and let go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request

from api.problems import BodyStalled, UnknownMediaType
from fumehood.errors import Malformed, TooLarge

PIECE_BYTES = 512 * 1024  # handed to a thread at once
CRAWL_BYTES_PER_SECOND = 1024  # slower than this, over the whole body, holds a place for nothing


async def pieces(request: Request, *, limit_bytes: int, idle_seconds: float, what: str = "the body") -> AsyncIterator[bytes]:
    """The body as it comes, in pieces of about 512 KiB. Nothing more is read while a piece is being used (back-pressure).

    Raises:
        TooLarge: by Content-Length before anything is read, or by counting.
        BodyStalled: nothing came for `idle_seconds`, or less than 1 KiB/s on the whole.
        UnsupportedFormat: the body is compressed by a Content-Encoding.
        Malformed: the Content-Length is no number.
        ClientDisconnect: the client is gone.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnknownMediaType("the body has a Content-Encoding; expected it as it is", available=["identity"])
    _check_length(request, limit_bytes, what)
    began, total = time.monotonic(), 0
    gathered = bytearray()
    stream = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                chunk = await anext(stream)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise BodyStalled(f"nothing of the body came for {idle_seconds:g} seconds") from None
        total += len(chunk)
        if total > limit_bytes:
            raise TooLarge(f"{what} is longer than {limit_bytes:,} bytes, which is the limit", limit=limit_bytes)
        if time.monotonic() - began > idle_seconds + total / CRAWL_BYTES_PER_SECOND:
            raise BodyStalled(f"the body comes at less than {CRAWL_BYTES_PER_SECOND:,} bytes a second")
        gathered += chunk
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


async def whole(request: Request, *, limit_bytes: int, idle_seconds: float) -> bytes:
    """A small body in memory. Raises as `pieces`."""
    return b"".join([piece async for piece in pieces(request, limit_bytes=limit_bytes, idle_seconds=idle_seconds)])


def _check_length(request: Request, limit_bytes: int, what: str) -> None:
    given = request.headers.get("content-length")
    if given is None:
        return
    if not (given.isascii() and given.isdigit()):
        raise Malformed("the Content-Length is not a number")
    if int(given[:20]) > limit_bytes:
        raise TooLarge(f"{what} is {int(given[:20]):,} bytes; the limit is {limit_bytes:,}", limit=limit_bytes, value=int(given[:20]))
