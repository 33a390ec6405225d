"""Bodies: what a client sends, in bounded pieces. A client that stops, crawls or sends too much is told so and let go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from starlette.requests import Request

from api.problems import BodyStalled, UnknownMediaType
from fumehood.errors import Malformed, TooLarge

PIECE_BYTES = 512 * 1024  # handed to a thread at once
CRAWL_BYTES_PER_SECOND = 1024  # slower than this, over the whole body, holds a place for nothing


async def pieces(request: Request, *, limit_bytes: int, idle_seconds: float, what: str = "the body") -> AsyncIterator[bytes]:
    """The body as it comes, in pieces of about 512 KiB.

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
    gathered, size = list[bytes](), 0
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
        gathered.append(chunk)
        size += len(chunk)
        if size >= PIECE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if size:
        yield b"".join(gathered)


async def consume(request: Request, use: Callable[[bytes], Coroutine[Any, Any, object]], **limits: Any) -> None:
    """Hand the body to `use`, piece by piece. While one is being used the next one is received, and no further one (back-pressure).

    Raises as `pieces`, with its arguments, and as `use`, whose failure is told without waiting for more of the body.
    """
    source, using = pieces(request, **limits), None
    while True:
        coming = asyncio.create_task(_next(source))
        try:
            if using is not None:
                await using
            piece = await coming
        finally:
            # Whoever owns the file closes it behind us: nobody may be at it any more.
            coming.cancel()
            await asyncio.wait([coming] if using is None else [coming, using])
        if piece is None:
            return
        using = asyncio.create_task(use(piece))


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)


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
