"""Content: which representation a client wants, and sending it in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.desk import Desk
from api.problems import NothingAcceptable, RangeNotSatisfiable
from fumehood.dataset import ALL_FORMATS

CHUNK_BYTES = 1024 * 1024
SEND_SECONDS = 60.0  # a reader that takes longer for a piece is dropped
# What was made for one answer lies on the disk, without a name and in nobody's budget, for as long as it is being sent. So it
# is sent at no less than this after the first minute; a slower reader takes the stored form, where `Range` goes on.
MADE_BYTES_PER_SECOND = 256 * 1024
ACCEPT_RANGES_MAX = 50

# A page made by a script must not run as one of ours.
SANDBOXED = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"}

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_UNPLAIN = re.compile(r"[^A-Za-z0-9 ._+-]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Representation:
    """One form of a table. `key` is None where it has to be made first, by a convert errand."""

    format: str
    key: str | None = None

    @property
    def media_type(self) -> str:
        return ALL_FORMATS[self.format][0][0]


def is_head(request: Request) -> bool:
    """Whether only the headers are asked for (`api.middleware` hands a HEAD on as a GET)."""
    return request.scope.get("head") is True


def accept_of(request: Request) -> str | None:
    return ",".join(request.headers.getlist("accept")) or None


def choose(accept: str | None, available: list[Representation]) -> Representation:
    """The best of `available` (the stored format first) for an `Accept` header, by RFC 9110; ties go to the earlier one.

    Raises:
        NotAcceptable: lists what there is.
    """
    wanted = _accepted(accept)
    rated = [
        (max((quality(wanted, media) for media in ALL_FORMATS[entry.format][0]), default=0.0), -index)
        for index, entry in enumerate(available)
    ]
    best, index = max(rated)
    if best <= 0:
        names = [entry.media_type for entry in available]
        raise NothingAcceptable(f"the Accept header takes none of {', '.join(names)}", available=names)
    return available[-index]


def choose_media(accept: str | None, available: list[str]) -> str:
    """The best media type of `available`, the first one where the client does not mind. Raises NotAcceptable."""
    wanted = _accepted(accept)
    best = max(available, key=lambda media: quality(wanted, media))
    if quality(wanted, best) <= 0:
        raise NothingAcceptable(f"the Accept header takes none of {', '.join(available)}", available=available)
    return best


def quality(wanted: list[tuple[str, float]], media_type: str) -> float:
    """The weight of the most specific range that covers `media_type`; 0 where none does."""
    family = media_type.partition("/")[0]
    for pattern in (media_type, f"{family}/*", "*/*"):
        weights = [weight for name, weight in wanted if name == pattern]
        if weights:
            return max(weights)
    return 0.0


def _accepted(accept: str | None) -> list[tuple[str, float]]:
    wanted = []
    for entry in (accept or "*/*").split(",")[:ACCEPT_RANGES_MAX]:
        name, _, rest = entry.partition(";")
        weight = re.search(r"(?:^|;)\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", rest, re.IGNORECASE)
        wanted.append((name.strip().lower(), min(1.0, float(weight.group(1))) if weight else 1.0))
    return wanted


class Streamed(Response):
    """Sends pieces as they come, and stops when the reader is gone or takes a minute for one. With `bytes_per_second` also
    when it is slower than that, by more than a minute on the whole; only the time spent on sending counts."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        *,
        status_code: int = 200,
        headers: dict[str, str],
        bytes_per_second: int | None = None,
        blob: BinaryIO | None = None,
    ) -> None:
        """`blob` is closed in the end; pieces that were never begun would not do it."""
        super().__init__(None, status_code, headers)
        if "content-length" not in {name.lower() for name in headers}:
            del self.headers["content-length"]
        self.pieces, self.bytes_per_second, self.blob = pieces, bytes_per_second, blob

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        allowance = SEND_SECONDS
        try:
            with anyio.CancelScope() as there:
                # Also between two pieces: those of a live log may be far apart.
                gone.add_done_callback(lambda _: there.cancel())
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for piece in nothing() if scope.get("head") else self.pieces:
                    began = time.monotonic()
                    async with asyncio.timeout(min(SEND_SECONDS, allowance)):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    if self.bytes_per_second is not None:
                        allowance += len(piece) / self.bytes_per_second - (time.monotonic() - began)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return  # the server closes the connection of an answer that is not complete
        finally:
            gone.cancel()
            close = getattr(self.pieces, "aclose", None)
            if close is not None:
                await close()
            if self.blob is not None:
                self.blob.close()


async def send_blob(
    request: Request,
    desk: Desk,
    blob: BinaryIO,
    *,
    media_type: str,
    identity: str | None,
    offset: int = 0,
    length: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A window of a stored file, which is closed afterwards. With an `identity` (what never changes for these bytes) the
    answer has an ETag and honours `Range` (one range), `If-Range` and `If-None-Match`; without one the file was made for
    this answer, and its reader must not linger.

    Raises:
        RangeNotSatisfiable: the range begins behind the end.
    """
    total = length if length is not None else os.fstat(blob.fileno()).st_size - offset
    fields = {"Content-Type": media_type, "Content-Length": str(total), **(headers or {})}
    begin, end, status = 0, total, 200
    try:
        if identity is not None:
            etag = f'"{hashlib.sha256(identity.encode()).hexdigest()[:40]}"'
            fields |= {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
            if _matches(",".join(request.headers.getlist("if-none-match")), etag):
                blob.close()
                return Response(None, 304, {name: fields[name] for name in fields if name not in ("Content-Length", "Content-Type")})
            # RFC 9110 knows ranges of GET alone.
            if request.headers.get("if-range", etag) == etag and not is_head(request):
                begin, end, status = _window(request.headers.get("range"), total)
        if status == 206:
            fields |= {"Content-Range": f"bytes {begin}-{end - 1}/{total}", "Content-Length": str(end - begin)}
    except BaseException:
        blob.close()
        raise
    if is_head(request):
        blob.close()
        return Streamed(nothing(), headers=fields)
    rate = MADE_BYTES_PER_SECOND if identity is None else None
    pieces = _read(desk, blob, offset + begin, end - begin)
    return Streamed(pieces, status_code=status, headers=fields, bytes_per_second=rate, blob=blob)


def attachment(name: str, *, inline: bool = False) -> str:
    """A Content-Disposition whose file name cannot break out of the header: in plain letters for old clients, then as it is."""
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{_UNPLAIN.sub('_', name)}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _read(desk: Desk, blob: BinaryIO, offset: int, length: int) -> AsyncIterator[bytes]:
    while length > 0:
        piece = await desk.file(os.pread, blob.fileno(), min(CHUNK_BYTES, length), offset)
        if not piece:
            raise OSError(f"a blob ends {length:,} bytes early")
        offset, length = offset + len(piece), length - len(piece)
        yield piece


def _window(header: str | None, total: int) -> tuple[int, int, int]:
    """Begin, end and status. Several ranges, other units and nonsense are ignored, as RFC 9110 allows: many ranges are a known attack."""
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        return 0, total, 200
    first, last = match.groups()
    begin = int(first) if first else max(0, total - int(last))
    end = min(total, int(last) + 1) if first and last else total
    if first and last and int(last) < begin:
        return 0, total, 200
    if begin >= total:
        raise RangeNotSatisfiable(f"the range begins at byte {begin:,}; there are {total:,}", total_bytes=total)
    return begin, end, 206


def _matches(header: str, etag: str) -> bool:
    given = [entry.strip().removeprefix("W/") for entry in header.split(",")]
    return etag in given or "*" in given


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
