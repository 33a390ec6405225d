"""The service as processes that can be killed, frozen and started again: engine, Redis, API and workers over one home.

Who ends is started again a moment later, as an init system would do it; nothing else is ever done for the service.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx
import redis

from fumehood.job_store import JobStore
from fumehood.limits import MIB, Limits
from fumehood.settings import Settings
from fumehood.tenant import new_key
from fumehood.testing import free_port
from tests.faults.engine import Daemon, PrivateEngine
from tests.services import missing, until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
# What stands in a composed service's own configuration; each value is smaller so that much happens in little time.
FAST = {
    "FUMEHOOD_SLOTS": "2",
    "FUMEHOOD_DISK_FLOOR_BYTES": "0",
    "FUMEHOOD_BEAT_SECONDS": "0.3",
    "FUMEHOOD_REAP_SECONDS": "0.5",
    "FUMEHOOD_LEASE_SECONDS": "5",
    "FUMEHOOD_GRACE_SECONDS": "2",
    "FUMEHOOD_ENGINE_SECONDS": "10",
    # A machine that is killed every few seconds is no reason to give a job up.
    "FUMEHOOD_ATTEMPTS_MAX": "10",
    "FUMEHOOD_LIMITS": json.dumps(
        Limits(wall_seconds=20, memory_bytes=512 * MIB, disk_bytes=16 * MIB, output_bytes=16 * MIB, cpus=1.0).as_dict()
    ),
}


class Service:
    """`parts` by name: `redis`, `api`, `worker0`…; the engine is `engine`. Its files are below `directory`.

    `api` and `worker` are the arguments of the interpreter that runs one; `settings` and `environment` win over what else is given.
    """

    def __init__(
        self,
        directory: Path,
        engine: PrivateEngine,
        image: str,
        *,
        workers: int = 2,
        api: Sequence[str] = ("-m", "api"),
        worker: Sequence[str] = ("-m", "worker"),
        home: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        **settings: object,
    ) -> None:
        self.directory, self.engine = directory, engine
        self.home = home or directory / "home"
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.key, self._password = new_key(), secrets.token_hex(16)
        self.api_port, self.redis_port = free_port(), free_port()
        (directory / "redis_password").write_text(self._password)
        (directory / "key").write_text(self.key)
        self.receipt_key = secrets.token_hex(32)
        (directory / "receipt_key").write_text(self.receipt_key)
        (directory / "redis.conf").write_text(
            f'bind 127.0.0.1\nport {self.redis_port}\ndir {directory}\nsave ""\nappendonly no\nrequirepass {self._password}\n'
        )
        self.environment = {
            "FUMEHOOD_HOME": str(self.home),
            "FUMEHOOD_REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "FUMEHOOD_REDIS_PASSWORD_FILE": str(directory / "redis_password"),
            "FUMEHOOD_BOOTSTRAP_KEY_FILE": str(directory / "key"),
            "FUMEHOOD_RECEIPT_KEY_FILE": str(directory / "receipt_key"),
            "FUMEHOOD_API_PORT": str(self.api_port),
            "FUMEHOOD_DOCKER_HOST": engine.address,
            "FUMEHOOD_IMAGE": image,
            **FAST,
            **environment,
            **{f"FUMEHOOD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.settings = Settings(home=self.home, image=image)
        self.store = JobStore(self.settings.store_url)
        self.store.migrate()
        self.parts: dict[str, Daemon] = {}
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self.pauses = random.Random(0)
        self.parts["redis"] = Daemon("redis", [_redis_server(), str(directory / "redis.conf")], directory)
        self._add("api", [sys.executable, *api])
        for number in range(workers):
            self._add(f"worker{number}", [sys.executable, *worker])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=httpx.Timeout(40, connect=5))

    def redis(self) -> redis.Redis:
        return redis.Redis(port=self.redis_port, password=self._password, socket_timeout=5, socket_connect_timeout=2, decode_responses=True)

    # life --------------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Returns when all of it is ready."""
        for part in self.parts.values():
            part.start()
        self._keeper.start()
        self.ready()

    def ready(self, *, seconds: float = START_SECONDS) -> None:
        """Wait until API and workers say so by themselves, from now on: who was killed a moment ago said so, too."""
        since = time.time()

        def is_ready() -> bool:
            try:
                return httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200 and self._ready_workers(since) >= self.workers
            except httpx.TransportError:
                return False

        until(is_ready, seconds=seconds, what="the service is ready")

    def _ready_workers(self, since: float) -> int:
        return sum(bool(row["ready"]) and row["seen_at"] > since for row in self.store.workers(seen_within_seconds=3.0))

    @property
    def workers(self) -> int:
        return sum(name.startswith("worker") for name in self.parts)

    def stop(self) -> None:
        """In order, as `make stop` does it; then nobody is left to clean up."""
        self._over.set()
        if self._keeper.ident is not None:
            self._keeper.join(START_SECONDS)
        stopping = [part for name, part in self.parts.items() if name.startswith("worker")]
        for group in (stopping, [self.parts["api"]], [self.parts["redis"]]):
            for part in group:
                part.signal(signal.SIGCONT)
                part.signal(signal.SIGTERM)
            for part in group:
                part.ended()
        self.store.close()

    def kill(self) -> None:
        self._over.set()
        for part in self.parts.values():
            part.kill()
        self.store.close()

    def _keep(self) -> None:
        """Start what ended, after a moment, the engine too."""
        while not self._over.wait(0.2 + self.pauses.random()):
            self.engine.keep()
            for part in self.parts.values():
                if not part.alive:
                    part.start()

    def _add(self, name: str, command: list[str]) -> None:
        self.parts[name] = Daemon(name, command, self.directory, cwd=ROOT, environment=os.environ | self.environment)

    # what is there, seen from outside ----------------------------------------------------------------------------------
    def containers(self) -> list[str]:
        return self.engine.docker("ps", "--all", "--format", "{{.Names}}")

    def files_of_runs(self) -> list[str]:
        return sorted(str(path) for name in ("scratch", "incoming", "workers") for path in (self.home / name).glob("*"))


@contextmanager
def standing(service: Service) -> Iterator[Service]:
    try:
        service.start()
        yield service
        service.stop()
    finally:
        service.kill()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own, in memory, that fills up soon."""
    directory = Path(tempfile.mkdtemp(prefix="fh-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", directory], check=True, timeout=30)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True, timeout=30)
        directory.rmdir()


def _redis_server() -> str:
    return shutil.which("redis-server") or missing("no redis-server")
