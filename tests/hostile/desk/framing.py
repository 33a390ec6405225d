"""Attacks on where a request begins and ends. Whoever reads two requests where a proxy read one lets the second one in unseen."""

from __future__ import annotations

import socket

from tests.hostile.desk.target import Target
from tests.hostile.desk.wire import Attack, Ending, answers_on, get, post, raw, statuses

JSON = "application/json"
SECOND = get("/healthz", "Connection: close", key=False)
"""Behind the attack: who answers it has taken it for a request of its own."""


def head(*lines: str, method: str = "POST", path: str = "/v1/jobs", version: str = "HTTP/1.1") -> bytes:
    fields = ["Host: desk", "Authorization: Bearer {key}", f"Content-Type: {JSON}", *lines]
    return "\r\n".join([f"{method} {path} {version}", *fields, "", ""]).encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked"


def garbage_behind_the_answer(target: Target) -> Ending:
    """The body is still being sent when the answer is there, and then turns out to be none."""
    with target.dial() as connection:
        connection.sendall(target.filled(get("/v1/nothing", CHUNKED)) + b"2\r\n{}\r\n")
        first = connection.recv(65_536, socket.MSG_PEEK)
        assert first.startswith(b"HTTP/1.1 404"), first
        connection.sendall(b"hello\r\n")
        return statuses(answers_on(connection))


FRAMING: dict[str, Attack] = {
    "two framings": raw(head("Content-Length: 5", CHUNKED) + b"0\r\n\r\n" + SECOND, (400,), "a request inside of another's body"),
    "two framings, the other way": raw(
        head(CHUNKED, f"Content-Length: {len(SECOND) + 5}") + b"0\r\n\r\n" + SECOND, (400,), "a request inside of another's body"
    ),
    "two lengths": raw(head("Content-Length: 0", f"Content-Length: {len(SECOND)}") + SECOND, (400,), "a length for each reader"),
    "two lengths in one": raw(head(f"Content-Length: 0, {len(SECOND)}") + SECOND, (400,), "a length for each reader"),
    "a signed length": raw(head("Content-Length: +5") + b"hello" + SECOND, (400,), "a length that not everybody reads"),
    "a negative length": raw(head("Content-Length: -1") + SECOND, (400,), "a length below nothing"),
    "a length of other digits": raw(head("Content-Length: \xb2") + b"{}" + SECOND, (400,), "digits that are none"),
    "a hexadecimal length": raw(head("Content-Length: 0x5") + b"hello" + SECOND, (400,), "a length that not everybody reads"),
    "a length without end": raw(head(f"Content-Length: {'9' * 400}") + b"{}", (400,), "a number that takes long to read"),
    "a length of terabytes": raw(head(f"Content-Length: {2**50}", "Connection: close") + b"{}", (413,), "memory for what is promised"),
    "a length that is too short": raw(head("Content-Length: 2") + b"{}" + SECOND, (422, 200), "the rest of the body as a request"),
    "a length that is too long": raw(head("Content-Length: 99") + b"{}", (408,), "a place, for a body that never comes"),
    "a length without a body": raw(get("/healthz", "Content-Length: 99", key=False), (200,), "a place, for a body that nobody reads"),
    "chunked in HTTP/1.0": raw(head(CHUNKED, version="HTTP/1.0") + b"0\r\n\r\n" + SECOND, (400,), "a body that old proxies do not see"),
    "an unknown coding": raw(head("Transfer-Encoding: xchunked") + SECOND, (400,), "a coding for one of two readers"),
    "two codings": raw(head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + SECOND, (400,), "a bomb below the chunks"),
    "a coding behind a tab": raw(
        head("Transfer-Encoding:\tchunked", "Content-Length: 5") + b"0\r\n\r\n" + SECOND, (400,), "a hidden coding"
    ),
    "a space before the colon": raw(head("Transfer-Encoding : chunked") + b"0\r\n\r\n" + SECOND, (400,), "a header for one of two readers"),
    "a folded header": raw(head("X: a\r\n Content-Length: 30") + SECOND, (400,), "a header inside of another"),
    "a header behind a lone line feed": raw(head("X: a\nContent-Length: 2") + b"{}" + SECOND, (400,), "a header inside of another"),
    "a header behind a lone carriage return": raw(head("X: a\rContent-Length: 2") + b"{}" + SECOND, (400,), "a header inside of another"),
    "lines that end early": raw(get("/healthz", key=False).replace(b"\r\n", b"\n") + SECOND, (400,), "a head that proxies do not see"),
    "a head that ends early": raw(get("/healthz", key=False)[:-2] + b"\n" + SECOND, (400,), "a head that ends twice"),
    "NUL in a header": raw(head("X: a\0b") + SECOND, (400,), "a string that ends early"),
    "a name that is none": raw(head("X Y: 1") + SECOND, (400,), "a header for one of two readers"),
    "an empty name": raw(head(": 1") + SECOND, (400,), "a header without a name"),
    "no host": raw(b"GET /healthz HTTP/1.1\r\n\r\n" + SECOND, (400,), "an answer for whoever is meant"),
    "two hosts": raw(get("/healthz", "Host: other", key=False) + SECOND, (400,), "a host for each reader"),
    "garbage for a chunk": raw(head(CHUNKED) + b"hello\r\n", (400,), "a size that is none"),
    "a negative chunk": raw(head(CHUNKED) + b"-5\r\nhello\r\n0\r\n\r\n" + SECOND, (400,), "a size below nothing"),
    "a chunk of exabytes": raw(head(CHUNKED) + b"ffffffffffffffff\r\nhello", (408,), "memory for what is promised"),
    "a size without end": raw(head(CHUNKED) + b"f" * 64 + b"\r\nhello", (400,), "a number that takes long to read"),
    "a chunk that is longer than it says": raw(head(CHUNKED) + b"2\r\n{}GET\r\n0\r\n\r\n" + SECOND, (400,), "the rest as a request"),
    "a chunk's extension without end": raw(head(CHUNKED) + b"2;" + b"x" * 100_000, (400,), "memory for what nobody reads"),
    "chunks that end early": raw(head(CHUNKED) + b"2\n{}\n0\n\n" + SECOND, (400,), "a body that proxies do not see"),
    "a trailer that ends early": raw(head(CHUNKED) + b"2\r\n{}\r\n0\r\nX: 1\n\n" + SECOND, (400,), "a request inside of a trailer"),
    "a key in the trailer": raw(
        head(CHUNKED, "Connection: close").replace(b"Authorization: Bearer {key}\r\n", b"")
        + b"2\r\n{}\r\n0\r\nAuthorization: Bearer {key}\r\n\r\n",
        (401,),
        "a key that a proxy did not look at",
    ),
    "trailers without end": raw(head(CHUNKED) + b"2\r\n{}\r\n0\r\n" + b"X: 1\r\n" * 10_000, (400,), "memory for what nobody reads"),
    "garbage behind the answer": Attack(tries="a second answer to one request", ends=(404,), run=garbage_behind_the_answer),
    "a head without end": raw(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 300_000, (400,), "memory for a head"),
    "a head that is long": raw(get("/healthz", f"X: {'x' * 40_000}", key=False), (400,), "a head above the limit in one piece"),
    "a line without end": raw(b"GET /" + b"x" * 100_000, (400,), "memory for a request's line"),
    "a long address": raw(get(f"/v1/jobs?label={'x' * 40_000}"), (400,), "memory for a request's line"),
    "many headers": raw(get("/healthz", *(f"X{number}: 1" for number in range(101)), key=False), (400,), "time for each of them"),
    "a version that is none": raw(b"GET /healthz HTTP/9.9\r\nHost: desk\r\n\r\n" + SECOND, (400,), "rules that nobody knows"),
    "no version": raw(b"GET /healthz\r\n\r\n" + SECOND, (400,), "an answer without a head"),
    "the next protocol": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,), "another protocol on this port"),
    "the next protocol by upgrade": raw(
        get("/healthz", "Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", key=False), (200,), "a tunnel through proxies"
    ),
    "a web socket": raw(get("/v1/jobs", "Connection: Upgrade, close", "Upgrade: websocket"), (200,), "a tunnel through proxies"),
    "TLS": raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600), (400,), "bytes of another protocol"),
    "nothing but line ends": raw(b"\r\n" * 50_000 + SECOND, (400,), "time before there is a request"),
    "a method that is none": raw(get("/healthz", "Connection: close", method="HELLO"), (405,), "what nobody thought of"),
    "CONNECT": raw(b"CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: desk\r\nConnection: close\r\n\r\n", (404,), "a way to another machine"),
    "another's address": raw(get("http://10.0.0.1/healthz", "Connection: close"), (404,), "a way to another machine"),
    "TRACE": raw(get("/healthz", "Connection: close", method="TRACE"), (405,), "its own headers, read by a page"),
    "waiting to be told to go on": raw(head("Content-Length: 9", "Expect: 100-continue"), (408,), "a place, for a body that never comes"),
    "expecting nonsense": raw(
        head("Expect: everything", "Content-Length: 2", "Connection: close") + b"{}", (422,), "what nobody thought of"
    ),
    "a compressed bomb": raw(
        post("/v1/jobs", b"\x1f\x8b" + bytes(1000), JSON, "Content-Encoding: gzip"), (415,), "gigabytes in a kilobyte"
    ),
    "a compressed table": raw(
        post("/v1/datasets", b"\x1f\x8b" + bytes(1000), "text/csv", "Content-Encoding: gzip, identity"), (415,), "gigabytes in a kilobyte"
    ),
    "many requests at once": raw(get("/healthz", key=False) * 999 + SECOND, (200,) * 1000, "a thousand requests before an answer is read"),
}
