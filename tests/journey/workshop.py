"""A workshop of the tests' own: a home, and workers that are processes."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fumehood.blob_store import BlobStore
from fumehood.errors import StoreUnavailable
from fumehood.job import Input, Job, Kind, State, new_id
from fumehood.job_queue import CeleryQueue
from fumehood.job_store import JobStore
from fumehood.limits import MIB, Limits
from fumehood.outcome import Erasure
from fumehood.receipt import SigningKey, document, verify
from fumehood.settings import Settings
from fumehood.tenant import new_key
from fumehood.testing import RedisServer
from tests.services import until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 40.0

# Small, so that many fit on a small machine; a disk reservation is five times the larger of disk and output.
LIMITS = Limits(wall_seconds=60, memory_bytes=512 * MIB, disk_bytes=16 * MIB, output_bytes=16 * MIB, cpus=1.0)

RETURNS_A_TABLE = """
import pandas as pd

def azureml_main(df=None):
    print("hello from the sandbox")
    return pd.DataFrame({"n": [1, 2, 3]}),
"""
RUNS_FOR_LONG = """
import time

def azureml_main():
    print("running", flush=True)
    time.sleep(50)
"""


@dataclass
class WorkerProcess:
    process: subprocess.Popen[bytes]
    log_path: Path

    def log(self) -> str:
        return self.log_path.read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, *, seconds: float = STOP_SECONDS) -> int:
        return self.process.wait(seconds)


class Workshop:
    def __init__(self, home: Path, image: str, redis: RedisServer) -> None:
        home.mkdir(mode=0o700)
        self.home = home
        self._secret = home / "redis_password"
        self._secret.write_text(redis.password)
        self.receipt_key = secrets.token_hex(32)
        (home / "receipt_key").write_text(self.receipt_key)
        self.environment = {
            "FUMEHOOD_HOME": str(home),
            "FUMEHOOD_REDIS_URL": redis.url,
            "FUMEHOOD_REDIS_PASSWORD_FILE": str(self._secret),
            "FUMEHOOD_RECEIPT_KEY_FILE": str(home / "receipt_key"),
            "FUMEHOOD_IMAGE": image,
            "FUMEHOOD_SLOTS": "2",
            "FUMEHOOD_DISK_FLOOR_BYTES": "0",
            "FUMEHOOD_BEAT_SECONDS": "0.3",
            "FUMEHOOD_REAP_SECONDS": "1",
            "FUMEHOOD_LEASE_SECONDS": "5",
        }
        self.settings = Settings(home=home, redis_url=redis.url, redis_password_file=self._secret, image=image)
        self.store = JobStore(self.settings.store_url)
        self.store.migrate()
        self.blobs = BlobStore(home)
        self.queue = CeleryQueue(self.settings)
        self.tenant = self.store.ensure_tenant("test", new_key()).id
        self.workers: list[WorkerProcess] = []

    # workers -----------------------------------------------------------------------------------------------------------
    def start_worker(self, *, ready: bool = True, program: Sequence[str] = ("-m", "worker"), **settings: object) -> WorkerProcess:
        """`python -m worker`, or another `program` of the interpreter; returns when it says that it is ready."""
        log_path = self.home.parent / f"worker{len(self.workers)}.log"
        extra = {f"FUMEHOOD_{name.upper()}": str(value) for name, value in settings.items()}
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *program], cwd=ROOT, env=os.environ | self.environment | extra, stdout=log, stderr=log
            )
        worker = WorkerProcess(process, log_path)
        self.workers.append(worker)
        if ready:
            said_or_over = lambda: '"event": "ready"' in worker.log() or process.poll() is not None  # noqa: E731
            until(said_or_over, seconds=START_SECONDS, what="the worker is ready")
            assert process.poll() is None, worker.log()
        return worker

    def stop_all(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.signal(signal.SIGTERM)
        for worker in self.workers:
            assert worker.ended() in (0, -signal.SIGKILL), worker.log()

    def kill_all(self) -> None:
        """Whatever the test left running, and its containers, which then end by themselves."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(10)
        for container in self.containers():
            docker("rm", "--force", container)
        self.queue.close()
        self.store.close()

    # jobs --------------------------------------------------------------------------------------------------------------
    def put(self, key: str, content: bytes, format_name: str) -> Input:
        """A blob of the tenant's, as an input."""
        with self.blobs.incoming() as incoming:
            incoming.write(content)
            self.blobs.keep(incoming, self.tenant, key)
        return Input(blob=key, format=format_name, bytes=len(content))

    def submit(self, script: str, *, ticket: bool = True, limits: Limits = LIMITS, dataset1: bytes | None = None) -> Job:
        job_id = new_id("job")
        files = {"script": (textwrap.dedent(script).encode(), "py", "script.py")}
        if dataset1 is not None:
            files["dataset1"] = (dataset1, "csv", "dataset1")
        inputs = {port: self.put(f"jobs/{job_id}/{name}", content, format_name) for port, (content, format_name, name) in files.items()}
        job = Job(id=job_id, tenant=self.tenant, kind=Kind.SCRIPT, inputs=inputs, limits=limits)
        self.store.submit(job)
        if ticket:
            assert self.queue.send_ticket(job.kind.lane)
        return job

    def row(self, job: Job) -> Job:
        return self.store.get_job(self.tenant, job.id)

    def running(self, job: Job, *, seconds: float = 30) -> Job:
        """The row, once the script has printed something."""
        until(lambda: self.row(job).state is State.RUNNING, seconds=seconds, what="the job is claimed")
        until(lambda: any(path.stat().st_size for path in self.home.glob("scratch/*/out/log")), seconds=seconds, what="the script prints")
        return self.row(job)

    def ended(self, job: Job, *, seconds: float = 40) -> Job:
        until(lambda: self.row(job).state.final, seconds=seconds, what="the job ends")
        return self.row(job)

    def output(self, job: Job, name: str) -> bytes:
        with self.blobs.open(job.tenant, job.output_blob(name)) as file:
            return file.read()

    def is_healthy(self) -> bool:
        """What a container's health check asks."""
        command = [sys.executable, "-I", "-S", "worker/health.py", str(self.home)]
        return subprocess.run(command, cwd=ROOT, timeout=30, check=False).returncode == 0

    def freeze(self, worker: WorkerProcess) -> None:
        """Stop a worker between two transactions: one that is frozen inside a write to SQLite holds up everybody."""

        def is_frozen_outside() -> bool:
            worker.signal(signal.SIGSTOP)
            try:
                probe.worker_beat("probe", {})
            except StoreUnavailable:
                worker.signal(signal.SIGCONT)
                return False
            return True

        probe = JobStore(self.settings.store_url, busy_seconds=0.5)
        try:
            until(is_frozen_outside, seconds=20, what="the worker is frozen outside a transaction")
        finally:
            probe.close()

    def check_receipt(self, row: Job) -> Erasure:
        """What a row has is signed, and with a key that was published."""
        assert row.erasure is not None
        published = [key.public for key in self.store.receipt_keys()]
        assert published == [SigningKey(self.receipt_key).public]
        verify(document(row.erasure), published)
        return row.erasure

    # what is there, seen from outside ----------------------------------------------------------------------------------
    def containers(self, *, only_running: bool = False) -> list[str]:
        every = [] if only_running else ["--all"]
        return docker("ps", *every, "--filter", f"label=fumehood.home={self.home}", "--format", "{{.Names}}")

    def scratch(self) -> list[Path]:
        return sorted(path for name in ("scratch", "incoming") for path in (self.home / name).glob("*"))

    def waiting(self, count: int) -> list[str]:
        """The names of the containers, once a worker says that `count` sandboxes wait for jobs, and there are no others."""

        def ready() -> list[str]:
            warm = [row["warm"]["jobs"] for row in self.store.workers(seen_within_seconds=10.0) if "warm" in row]
            names = self.containers()
            return names if warm == [count] and len(names) == count else []

        return until(ready, seconds=START_SECONDS, what=f"{count} sandboxes wait")

    def left_of(self, job: Job) -> list[str]:
        """What there still is of the attempt that a row names; others may wait beside it."""
        row = self.row(job)
        remains = self.home / "scratch" / str(row.scratch)
        return [name for name in self.containers() if name == row.sandbox] + ([str(remains)] if remains.exists() else [])

    def leftovers(self) -> list[str]:
        """Containers, scratch and unfinished uploads of this home, and registrations of workers that have ended."""
        return [*self.containers(), *map(str, self.scratch()), *map(str, (self.home / "workers").glob("*"))]


def docker(*arguments: str) -> list[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()
