"""Receivers of webhooks: real servers on loopback that answer as a test wants, with and without TLS; and a courier in a thread."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from courier.courier import Courier

FINE = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
READ_SECONDS = 20


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Got:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    sni: str | None = None


Say = Callable[[asyncio.StreamWriter], Any]


@dataclass
class Receiver:
    """What comes to `address`:`port`, each answered with the next of `answers`, and with `usual` when there are no more: bytes, or
    a coroutine that is given the line to write to; None closes it without a word."""

    address: str
    port: int = 0
    tls: ssl.SSLContext | None = None
    answers: list[bytes | Say | None] = field(default_factory=list)
    usual: bytes | Say | None = FINE
    got: list[Got] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                async with asyncio.timeout(READ_SECONDS):
                    await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.strip().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.got.append(Got(line, headers, body, self.seen))
        said = self.answers.pop(0) if self.answers else self.usual
        if callable(said):
            await said(writer)
        elif said is not None:
            writer.write(said)
            await writer.drain()

    seen: str | None = None
    """The name that the last handshake asked for."""


@contextmanager
def receiving(*receivers: Receiver) -> Iterator[None]:
    """Serve them all, in one thread; a port 0 becomes a free one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start(one: Receiver) -> asyncio.Server:
        if one.tls is not None:

            def see(_: Any, name: str | None, __: Any) -> None:
                one.seen = name

            one.tls.sni_callback = see
        server = await asyncio.start_server(one.serve, one.address, one.port, ssl=one.tls)
        one.port = server.sockets[0].getsockname()[1]
        return server

    async def stop(servers: list[asyncio.Server]) -> None:
        for server in servers:
            server.close()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # what was closed is told so

    servers = [asyncio.run_coroutine_threadsafe(start(one), loop).result(10) for one in receivers]
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(servers), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def running(make: Callable[[], Courier]) -> Iterator[Courier]:
    """A courier that lives in a thread of its own; it has ended when the block is left."""
    ready: list[tuple[Courier, asyncio.AbstractEventLoop]] = []
    begun = threading.Event()

    async def live() -> None:
        courier = make()
        ready.append((courier, asyncio.get_running_loop()))
        begun.set()
        await courier.run()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert begun.wait(20)
    courier, loop = ready[0]
    try:
        yield courier
    finally:
        loop.call_soon_threadsafe(courier.stop)
        thread.join(30)
        assert not thread.is_alive()


class Authority:
    """Certificates of a test's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key, self._certificate = self._make("Test authority", None)
        self.file = directory / "authority.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str) -> ssl.SSLContext:
        key, certificate = self._make(names[0], names)
        chain = self._directory / f"{names[0]}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _make(self, name: str, names: tuple[str, ...] | None) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        issuer, signer = (subject, key) if names is None else (self._certificate.subject, self._key)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if names is not None:
            listed = [_alternative(one) for one in names]
            built = built.add_extension(x509.SubjectAlternativeName(listed), critical=False)
        return key, built.sign(signer, hashes.SHA256())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
