"""What the workshop's unit tests share: a bench with a real store and blobs in a temporary home, and a fake engine."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fumehood.blob_store import BlobStore
from fumehood.job import Input, Job, Kind, new_id
from fumehood.job_store import JobStore
from fumehood.receipt import SigningKey
from fumehood.script import Version, check_of
from fumehood.tenant import new_key
from fumehood.testing import MemoryEvents, MemoryQueue, erasure, outcome
from worker.deps import Deps
from worker.journey import carry
from worker.sandbox import StopSignal
from worker.testing import FakeSandboxHost

KEY = SigningKey("0a" * 32)
SCRIPT = b"def azureml_main(): ...\n"


class Clock:
    """A clock that moves when it is told to, or when somebody pauses."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Bench:
    home: Path
    template: Path
    worker: str = "wrk_test"
    clock: Clock = field(default_factory=Clock)
    doubts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(self.template, self.home / "fumehood.db")
        self.store = JobStore(f"sqlite:///{self.home / 'fumehood.db'}")
        self.tenant = self.store.ensure_tenant("test", new_key()).id
        self.blobs = BlobStore(self.home)
        self.queue = MemoryQueue()
        self.events = MemoryEvents()
        self.host = FakeSandboxHost(worker=self.worker)
        self.deps = Deps(
            home=self.home,
            worker=self.worker,
            store=self.store,
            blobs=self.blobs,
            events=self.events,
            queue=self.queue,
            host=self.host,
            sign=KEY.sign,
            doubt=self.doubts.append,
            floor_bytes=0,
            beat_seconds=0.01,
            lease_seconds=5.0,
            engine_seconds=5.0,
            monotonic=self.clock,
            pause=self.clock.pause,
        )

    def close(self) -> None:
        self.store.close()
        # What a test leaves on purpose is no leftover of the session.
        shutil.rmtree(self.home / "scratch", ignore_errors=True)

    # jobs ----------------------------------------------------------------------------------------------------------------
    def put(self, key: str, content: bytes) -> Input:
        with self.blobs.incoming() as incoming:
            incoming.write(content)
            self.blobs.keep(incoming, self.tenant, key)
        return Input(blob=key, format="csv", bytes=len(content))

    def submit(self, *, kind: Kind = Kind.SCRIPT, attempts_max: int = 3, **overrides: object) -> Job:
        job_id = new_id("job")
        port = "script" if kind is Kind.SCRIPT else "dataset1"
        job = Job(
            id=job_id,
            tenant=self.tenant,
            kind=kind,
            inputs={port: self.put(f"jobs/{job_id}/{port}", SCRIPT)},
            attempts_max=attempts_max,
        )
        return self.store.submit(replace(job, **overrides)).job  # type: ignore[arg-type]

    def publish(self, columns: list[dict[str, Any]] | None = None) -> Version:
        """A version that is ready, and expects these columns of its table."""
        version_id = new_id("ver")
        script = replace(self.put(f"scripts/{version_id}/script.py", SCRIPT), format="python", version=version_id)
        version = Version(id=version_id, tenant=self.tenant, script="score", inputs={"script": script})
        made, _ = self.store.publish(version, check_of(version, new_id("job"), attempts_max=1, retention=None))
        claimed = self.store.claim(worker=self.worker, lane=Kind.CHECK.lane, disk_budget_bytes=2**60)
        assert claimed is not None
        schemas = {"inputs": {} if columns is None else {"dataset1": columns}, "outputs": {}}
        self.store.finish(claimed, outcome(report={"schemas": schemas}), erasure(claimed))
        return self.store.get_version(self.tenant, "score", made.number)

    def claim(self, job: Job | None = None) -> Job:
        """The next job of the lane, which is `job` where that is named."""
        wanted = job or self.submit()
        claimed = self.store.claim(worker=self.worker, lane=wanted.kind.lane, disk_budget_bytes=2**60)
        assert claimed is not None
        assert claimed.id == wanted.id
        return claimed

    def carry(self, job: Job, *, stop: StopSignal | None = None, **changes: object) -> Job | None:
        return carry(job, replace(self.deps, **changes), stop or StopSignal())  # type: ignore[arg-type]

    def row(self, job: Job) -> Job:
        return self.store.get_job(job.tenant, job.id)

    # what is there -------------------------------------------------------------------------------------------------------
    def published(self, job: Job) -> dict[str, bytes]:
        """Every output in the store, of any attempt: `<fence>/<name>` → content."""
        directory = self.home / "blobs" / self.tenant / "jobs" / job.id
        return {str(path.relative_to(directory)): path.read_bytes() for path in directory.glob("*/*")}

    def scratch(self) -> list[str]:
        return [path.name for path in (self.home / "scratch").glob("*")]

    def told(self, job: Job) -> list[tuple[str, dict[str, object]]]:
        return [(event.kind, event.data) for event in self.events.published(job.id)]


@pytest.fixture
def bench(home: Path, template: Path) -> Iterator[Bench]:
    bench = Bench(home, template)
    yield bench
    bench.close()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def fail_first_rmdir(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next directory that is removed stays, once: what lay in it is gone already."""
    rmdir, tries = Path.rmdir, []

    def at_the_second_try(path: Path) -> None:
        tries.append(path)
        if len(tries) == 1:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", at_the_second_try)
