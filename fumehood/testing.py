"""Testing: in-memory queue and events, builders of values, a Redis of one's own. Shipped, and without pytest."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from fumehood.dataset import Dataset
from fumehood.events import STREAM_EVENTS, Event, Events, Newest, as_document, start_of
from fumehood.job import Input, Job, Lane, new_id
from fumehood.job_queue import TICKETS_MAX, JobQueue
from fumehood.outcome import Erasure, Outcome, Reason


# values ----------------------------------------------------------------------------------------------------------------
def job(**overrides: Any) -> Job:
    """A queued script job of the tenant `ten_test` that names one blob as its script."""
    job_id = overrides.pop("id", None) or new_id("job")
    values: dict[str, Any] = {"tenant": "ten_test", "inputs": {"script": Input(blob=f"jobs/{job_id}/script.py", format="py", bytes=1)}}
    return Job(id=job_id, **(values | overrides))


def dataset(**overrides: Any) -> Dataset:
    """A small CSV dataset of the tenant `ten_test`; its bytes are nobody else's."""
    dataset_id = overrides.pop("id", None) or new_id("ds")
    values: dict[str, Any] = {
        "tenant": "ten_test",
        "name": "numbers.csv",
        "format": "csv",
        "bytes": 8,
        "sha256": dataset_id.encode().hex().ljust(64, "0")[:64],
        "blob": f"datasets/{dataset_id}/original",
        "table_blob": f"datasets/{dataset_id}/table.arrow",
        "table_bytes": 512,
        "rows": 2,
        "columns": [{"name": "a", "type": "int64", "nullable": True}],
    }
    return Dataset(id=dataset_id, **(values | overrides))


def outcome(reason: Reason = Reason.OK, **overrides: Any) -> Outcome:
    values: dict[str, Any] = {"reason": reason, "outputs": {"result": 512, "log": 3} if reason is Reason.OK else {"log": 3}}
    return Outcome(**(values | overrides))


def erasure(**overrides: Any) -> Erasure:
    values: dict[str, Any] = {"container": "fumehood-test", "files": 7, "bytes": 1024, "erased_at": 1_700_000_000.0}
    return Erasure(**(values | overrides))


# in-memory messengers --------------------------------------------------------------------------------------------------
class MemoryQueue(JobQueue):
    """Counts tickets. `away = True` behaves as a Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self._tickets: Counter[Lane] = Counter()
        self._changed = threading.Condition()

    def send_ticket(self, lane: Lane) -> bool:
        if self.away:
            return False
        with self._changed:
            self._tickets[lane] = min(self._tickets[lane] + 1, TICKETS_MAX)
            self._changed.notify_all()
        return True

    def depth(self, lane: Lane) -> int | None:
        return None if self.away else self._tickets[lane]

    def take_ticket(self, lane: Lane, *, timeout_seconds: float = 0.0) -> bool:
        """What a worker does: wait for a ticket and take it away. False where none came in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._tickets[lane] > 0, timeout_seconds):
                return False
            self._tickets[lane] -= 1
            return True


class MemoryEvents(Events):
    """Streams as lists. `away = True` behaves as a Redis that does not answer."""

    def __init__(self) -> None:
        self.away = False
        self._lock = threading.Lock()
        self._streams: dict[str, deque[Event]] = defaultdict(lambda: deque(maxlen=STREAM_EVENTS))
        self._newest = Newest()
        self._count = 0
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def publish(self, job_id: str, kind: str, data: dict[str, Any]) -> None:
        document = as_document(job_id, kind, data)
        if self.away or document is None:
            return
        with self._lock:
            self._count += 1
            stream = self._streams[job_id]
            stream.append(Event(f"{self._count}-0", kind, json.loads(document)))
            kept = self._newest.count(job_id, len(document))
            while kept is not None and len(stream) > kept:
                stream.popleft()
            for loop, came in self._waiting:
                loop.call_soon_threadsafe(came.set)

    def forget(self, job_id: str) -> None:
        if not self.away:
            with self._lock:
                self._newest.forget(job_id)
                self._streams.pop(job_id, None)

    async def follow(self, job_id: str, *, after: str = "0", timeout_seconds: float) -> AsyncGenerator[Event, None]:
        deadline = time.monotonic() + timeout_seconds
        last = _position(start_of(after))
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(waiter)
        try:
            while not self.away:
                waiter[1].clear()
                for event in self.published(job_id):
                    if _position(event.id) > last:
                        last = _position(event.id)
                        yield event
                        if event.kind == "end":
                            return
                try:
                    await asyncio.wait_for(waiter[1].wait(), deadline - time.monotonic())
                except TimeoutError:
                    return
        finally:
            with self._lock:
                self._waiting.discard(waiter)

    def published(self, job_id: str) -> list[Event]:
        """What a test looks at."""
        with self._lock:
            return list(self._streams.get(job_id, ()))


def _position(event_id: str) -> tuple[int, int]:
    time_part, _, number = event_id.partition("-")
    return int(time_part), int(number or 0)


# servers ---------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class RedisServer:
    url: str
    password: str
    process: subprocess.Popen[bytes]


@contextmanager
def redis_server(*, port: int | None = None, password: str = "p@ss/wörd:%41?#", settings: str = "") -> Iterator[RedisServer]:
    """A Redis of one's own on a free port, in a directory that goes away with it. Its password has every awkward letter.

    `settings` are more lines of its configuration; the last word on a setting counts.

    Raises RuntimeError where `redis-server` is not installed or does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not installed; expected it on PATH (Debian: apt-get install redis-server)")
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="fumehood-redis-") as directory:
        configuration = Path(directory, "redis.conf")
        configuration.write_text(
            f'bind 127.0.0.1\nport {port}\ndir {directory}\nsave ""\nappendonly no\nlogfile {directory}/log\nrequirepass "{password}"\n'
            + settings
        )
        process = subprocess.Popen([program, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for_redis(port, password, process)
            yield RedisServer(f"redis://127.0.0.1:{port}/0", password, process)
        finally:
            process.kill()
            process.wait(10)


def _wait_for_redis(port: int, password: str, process: subprocess.Popen[bytes], *, within_seconds: float = 20.0) -> None:
    deadline = time.monotonic() + within_seconds
    with redis.Redis(port=port, password=password, socket_timeout=1, socket_connect_timeout=1) as client:
        while True:
            try:
                client.ping()
                return
            except (redis.RedisError, OSError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"redis-server did not answer on port {port} within {within_seconds} s") from error
                time.sleep(0.02)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
