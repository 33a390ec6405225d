"""Framing: where a request begins and ends must be read alike by everybody on its way, or one request hides within another."""

from __future__ import annotations

import h11

HEAD_BYTES = 32 * 1024
HEADERS_MAX = 100

VERSIONS = (b"1.0", b"1.1")
LONE_LINE_FEED = "a line of the request ends without a carriage return"


class StrictConnection(h11.Connection):
    """h11's, without the leniency that RFC 9112 leaves to a server. `fault` says what the head was refused for."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_BYTES)
        self.fault = "the request's head is not HTTP/1.1, or longer than the limit"
        self._chunked = False

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        # What was read is what is missing afterwards; of a body in chunks the end has to be looked at too.
        if self.their_state is not h11.IDLE and not self._chunked:
            return super().next_event()
        before = self.trailing_data[0]
        event = super().next_event()
        fault = None
        if isinstance(event, h11.Request):
            self._chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
            fault = fault_of(self._read_of(before), event)
        elif isinstance(event, h11.EndOfMessage) and self._chunked:
            self._chunked = False
            fault = LONE_LINE_FEED if has_lone_line_feed(self._read_of(before)) else None
        if fault is not None:
            self.fault = fault
            raise h11.RemoteProtocolError(fault)
        return event

    def _read_of(self, before: bytes) -> bytes:
        return before[: len(before) - len(self.trailing_data[0])]


def fault_of(head: bytes, request: h11.Request) -> str | None:
    """What is wrong with a head that h11 takes; None where nothing is."""
    names = [name for name, _ in request.headers]
    if request.http_version not in VERSIONS:
        return "the request is not of HTTP/1.1"
    if len(head) > HEAD_BYTES:
        return f"the request's head has {len(head):,} bytes; the limit is {HEAD_BYTES:,}"
    if len(names) > HEADERS_MAX:
        return f"the request has {len(names):,} headers; the limit is {HEADERS_MAX}"
    if has_lone_line_feed(head):
        return LONE_LINE_FEED
    if b"\r\n " in head or b"\r\n\t" in head:
        return "a header of the request goes on in the next line"
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        return "the request has a Transfer-Encoding beside a Content-Length, or in HTTP/1.0"
    return None


def has_lone_line_feed(lines: bytes) -> bool:
    """h11 takes one for a line's end; who does not sees one header where we see two."""
    return lines.count(b"\n") != lines.count(b"\r\n")
