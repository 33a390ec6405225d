"""`python -m api` as a process of a test's own, over a home of its own. Redis is away unless the test names one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import httpx

from fumehood.blob_store import BlobStore
from fumehood.job_store import JobStore
from fumehood.tenant import new_key
from fumehood.testing import MemoryEvents, free_port
from tests.services import until
from tests.unit.front_desk import Worker

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30.0


class ApiProcess:
    """`program` are the arguments of the interpreter; `settings` win over what else is given, and None is one that is not."""

    def __init__(
        self,
        home: Path,
        *,
        program: Sequence[str] = ("-m", "api"),
        environment: Mapping[str, str] = MappingProxyType({}),
        key: str | None = None,
        **settings: object,
    ) -> None:
        home.mkdir(mode=0o700)
        self.home, self.port, self.key = home, free_port(), key or new_key()
        self._program, self._given, self._environment = program, settings, environment
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        settings = {
            "HOME": self.home,
            "API_PORT": self.port,
            "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "BOOTSTRAP_KEY": self.key,
            "DISK_FLOOR_BYTES": 0,
            "BODY_IDLE_SECONDS": 1,
            **{name.upper(): value for name, value in self._given.items()},
        }
        given = {f"FUMEHOOD_{name}": str(value) for name, value in settings.items() if value is not None}
        environment = {"PATH": os.environ["PATH"], **given}
        with (self.home / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._program], cwd=ROOT, env=environment | dict(self._environment), stderr=log
            )
        until(self.answers, seconds=START_SECONDS, what="the server's first answer")
        return self.process

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/healthz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / "api.log").read_text()

    def client(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {key or self.key}"}, timeout=20)

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def connect(self, head: str, body: bytes = b"") -> socket.socket:
        """A connection on which a request with our key was begun."""
        connection = self.dial()
        connection.sendall(f"{head}\r\nHost: desk\r\nAuthorization: Bearer {self.key}\r\n\r\n".encode() + body)
        return connection

    @contextmanager
    def store(self) -> Iterator[JobStore]:
        store = JobStore(f"sqlite:///{self.home / 'fumehood.db'}")
        yield store
        store.close()

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """One that makes results up, in this thread."""
        with self.store() as store:
            yield Worker(SimpleNamespace(store=store, blobs=BlobStore(self.home), events=MemoryEvents()))  # type: ignore[arg-type]

    def incoming(self) -> list[Path]:
        return list((self.home / "incoming").iterdir())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
