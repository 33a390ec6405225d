"""Attacks as values: what one tries, what is sent, how it must end; and the answers as they come over the wire."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import h11

from tests.hostile.desk.target import ANSWER_SECONDS, SECRET, Target

Ending = tuple[int, ...] | str
"""The statuses of all answers on one connection; nothing for one that was dropped without a word; or a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """`run` does it and says how it ended."""

    tries: str
    ends: Ending
    run: Callable[[Target], Ending]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def raw(request: bytes, ends: Ending, tries: str) -> Attack:
    """Send these bytes on a connection of their own, read until the other side closes."""
    return Attack(tries=tries, ends=ends, run=lambda target: statuses(exchange(target, request)))


def get(path: str, *headers: str, method: str = "GET", key: bool = True) -> bytes:
    fields = ["Host: desk", *(["Authorization: Bearer {key}"] if key else []), *headers]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""]).encode("utf-8", "surrogateescape")


def post(path: str, body: bytes, media_type: str, *headers: str, method: str = "POST") -> bytes:
    return get(path, f"Content-Type: {media_type}", "Content-Length: {length}", "Connection: close", *headers, method=method) + body


def statuses(answers: list[Answer]) -> tuple[int, ...]:
    return tuple(answer.status for answer in answers)


def exchange(target: Target, request: bytes) -> list[Answer]:
    with target.dial() as connection:
        with suppress(ConnectionError):  # it may answer, and close, before it has all
            connection.sendall(target.filled(request))
        return answers_on(connection)


def answers_on(connection: socket.socket) -> list[Answer]:
    """All answers until the other side closes. An answer that says less than it promised, or anything that is no answer, fails."""
    client, found = h11.Connection(h11.CLIENT), list[Answer]()
    connection.settimeout(ANSWER_SECONDS)
    head: h11.Response | None = None
    body = bytearray()
    _expect(client)
    while True:
        event = client.next_event()
        match event:
            case h11.NEED_DATA:
                try:
                    piece = connection.recv(256 * 1024)
                except ConnectionError:
                    piece = b""
                if not piece and head is None:
                    assert client.trailing_data[0] == b"", client.trailing_data
                    return found
                client.receive_data(piece)
            case h11.Response():
                head, body = event, bytearray()
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                assert head is not None
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                found.append(held(Answer(head.status_code, headers, bytes(body))))
                head = None
                if client.their_state is not h11.DONE:
                    return found
                client.start_next_cycle()
                _expect(client)
            case h11.ConnectionClosed():
                return found
            case _:
                assert isinstance(event, h11.InformationalResponse), event


def _expect(client: h11.Connection) -> None:
    """h11 takes an answer only to a request; what was really sent it does not know."""
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "desk")]))
    client.send(h11.EndOfMessage())


def held(answer: Answer) -> Answer:
    """What holds for every answer, whatever was asked."""
    assert answer.status < 500 or answer.status == 503, answer
    assert "x-injected" not in answer.headers, answer
    assert SECRET.encode() not in answer.body.replace(b"our_" + SECRET.encode(), b""), answer
    assert answer.headers.get("x-content-type-options") == "nosniff", answer
    assert "content-security-policy" in answer.headers, answer
    assert "server" not in answer.headers, answer
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json", answer
        assert b'"type": "urn:fumehood:problem:' in answer.body or answer.body == b"", answer
        assert len(answer.body) < 64 * 1024, answer
    return answer
