"""Body: what a request carries. Files are read as they are sent, counted, and never held in memory."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK_BYTES = 64 * 1024

OnBytes = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file to send."""

    path: Path
    media_type: str
    name: str = ""

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


class Body:
    """Pieces one behind the other; can be sent again from the beginning. `on_bytes` is told how much of the files was read."""

    def __init__(self, pieces: Sequence[bytes | Path], on_bytes: OnBytes = lambda _: None) -> None:
        self._pieces, self._on_bytes = pieces, on_bytes
        self.size = sum(len(piece) if isinstance(piece, bytes) else piece.stat().st_size for piece in pieces)

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            with piece.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    self._on_bytes(len(chunk))
                    yield chunk

    async def later(self) -> AsyncIterator[bytes]:
        chunks = iter(self)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk


def form(
    document: Mapping[str, Any], files: Mapping[str, Upload], on_bytes: OnBytes, *, what: str = "job", items: Sequence[Upload] = ()
) -> tuple[Body, str]:
    """A body of `multipart/form-data`, the document first (as the part `what`), then the files, and a part `item` for each of
    `items`; and its media type."""
    boundary = secrets.token_hex(16)
    pieces: list[bytes | Path] = [_head(boundary, what, None, "application/json"), json.dumps(document).encode(), b"\r\n"]
    for name, upload in [*files.items(), *(("item", item) for item in items)]:
        pieces += [_head(boundary, name, upload.name or upload.path.name, upload.media_type), upload.path, b"\r\n"]
    return Body([*pieces, f"--{boundary}--\r\n".encode()], on_bytes), f"multipart/form-data; boundary={boundary}"


def _head(boundary: str, name: str, file_name: str | None, media_type: str) -> bytes:
    # What would end the quotes or the line is written as browsers write it.
    escaped = (file_name or "").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    shown = f'; filename="{escaped}"' if file_name is not None else ""
    text = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\nContent-Type: {media_type}\r\n\r\n'
    return text.encode(errors="replace")
