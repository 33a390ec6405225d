"""Server-sent events, read from a stream of bytes. Only what the service sends: `id`, `event` and one JSON `data` line."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

LINE_BYTES_MAX = 2**20
"""A longer line is not one of ours; the stream is given up."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """`kind` is `state`, `log`, `progress`, `attempt` or `end` of a job; `item`, `progress`, `gap` or `end` of a batch; `now`, `job`,
    `batch` or `gap` of all; `tick` for the comments that keep a silent stream alive."""

    kind: str
    id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


async def read_events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[ServerEvent, None]:
    """The events of a stream, as they come. An event that the stream's end cut short is dropped, as the standard says.

    Raises:
        ValueError: the stream is not one of ours (a line without an end, or data that is not a JSON object).
    """
    kind, event_id, data = "message", None, ""
    async with aclosing(_lines(chunks)) as lines:
        async for line in lines:
            if line.startswith(":"):
                yield ServerEvent("tick")
            elif line:
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    kind = value
                elif name == "id":
                    event_id = value
                elif name == "data":
                    data += value
            elif data:
                yield ServerEvent(kind, event_id, _json_object(data))
                kind, event_id, data = "message", None, ""


def _json_object(text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"an event's data is a JSON {type(document).__name__}; expected an object")
    return document


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """Lines that end in LF or CRLF. Not `str.splitlines`: it also breaks at U+2028 and others, which JSON may hold as they are."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")
        if len(rest) > LINE_BYTES_MAX:
            raise ValueError(f"a line of the event stream is longer than {LINE_BYTES_MAX:,} bytes")
