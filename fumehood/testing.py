"""Testing: builders of values, a Redis of one's own, the in-memory messengers. Shipped, and without pytest."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from fumehood.dataset import Dataset
from fumehood.job import Input, Job, new_id
from fumehood.memory import MemoryEvents, MemoryQueue
from fumehood.outcome import Erasure, Outcome, Reason

__all__ = ["MemoryEvents", "MemoryQueue", "RedisServer", "dataset", "erasure", "free_port", "job", "outcome", "redis_server"]


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


def erasure(of: Job | None = None, **overrides: Any) -> Erasure:
    """The receipt, not signed, of an attempt: that of the job `of`, as it was claimed."""
    of = of or job(id="job_test", attempt=1, fence=1)
    values: dict[str, Any] = {
        "job": of.id,
        "attempt": of.attempt,
        "fence": of.fence,
        "worker": "wrk_test",
        "container": "fumehood-test",
        "container_id": "c0" * 32,
        "began_at": 1_699_999_990.0,
        "files": 7,
        "bytes": 1024,
        "erased_at": 1_700_000_000.0,
    }
    return Erasure(**(values | overrides))


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
