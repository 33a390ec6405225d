"""A whole service for one measurement: Redis, the API and workers as processes of this machine, over a home of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import httpx

from fumehood.tenant import new_key
from fumehood.testing import free_port
from worker import cgroup
from worker.isolation import LABEL_HOME

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.02
# A sandbox that used no processor for so long has its imports behind it.
QUIET_SECONDS = 0.3
ANSWER_SECONDS = 300.0


@dataclass(slots=True)
class Stand:
    home: Path
    image: str
    port: int
    key: str
    engine: docker.DockerClient
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=ANSWER_SECONDS)

    def sandboxes(self) -> list[str]:
        """Ids of the containers of this home that run."""
        return [str(found.id) for found in self.engine.containers.list(filters={"label": f"{LABEL_HOME}={self.home}"})]

    def wait_warm(self, count: int) -> None:
        """Until `count` sandboxes wait and have nothing left to do."""
        deadline, since = time.monotonic() + START_SECONDS, time.monotonic()
        seen: dict[str, float] = {}
        while time.monotonic() - since < QUIET_SECONDS or len(seen) < count:
            now = {each: found.cpu_seconds if (found := cgroup.usage(each)) else 0.0 for each in self.sandboxes()}
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(seen)} sandboxes wait after {START_SECONDS:g} s; expected {count}")
            time.sleep(LOOK_SECONDS)

    def cpu_seconds(self) -> dict[str, float]:
        """What each process of the service has used so far, its ended children too."""
        return {name: _cpu_seconds(process.pid) for name, process in self.processes.items()}

    def memory_bytes(self) -> dict[str, int]:
        return {name: _memory_bytes(process.pid) for name, process in self.processes.items()}

    def sandbox_memory_bytes(self) -> int:
        """What all sandboxes hold, less the pages of the image that they share with everybody."""
        return sum(_anonymous_bytes(each) for each in self.sandboxes())


@contextmanager
def service(image: str, *, workers: int = 1, **settings: Any) -> Iterator[Stand]:
    """A service that is ready, with `workers` workers; `settings` as in the reference. Nothing of it is left afterwards."""
    home = Path(tempfile.mkdtemp(prefix="fumehood-bench-", dir="/var/tmp"))
    engine = docker.from_env()
    stand = Stand(home=home, image=image, port=free_port(), key=new_key(), engine=engine)
    redis_port, password = free_port(), secrets.token_hex(16)
    ours = {
        "home": home,
        "image": image,
        "redis_url": f"redis://127.0.0.1:{redis_port}/0",
        "redis_password": password,
        "api_port": stand.port,
        "bootstrap_key": stand.key,
        "log_level": "warning",
    } | settings
    environment = os.environ | {f"FUMEHOOD_{name.upper()}": str(value) for name, value in ours.items()}
    redis = ["redis-server", "--port", str(redis_port), "--requirepass", password, "--save", "", "--dir", str(home)]
    try:
        commands = {"redis": redis, "api": [sys.executable, "-m", "api"]}
        commands |= {f"worker {number}": [sys.executable, "-m", "worker"] for number in range(1, workers + 1)}
        for name, command in commands.items():
            with (home / f"{name}.log").open("wb") as log:
                stand.processes[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        _until(lambda: _is_ready(stand, workers), "the service is ready", stand)
        yield stand
    finally:
        _stop(stand)
        left = stand.engine.containers.list(all=True, filters={"label": f"{LABEL_HOME}={home}"})
        for container in left:
            container.remove(force=True, v=True)
        engine.close()
        shutil.rmtree(home, ignore_errors=True)


def _stop(stand: Stand) -> None:
    for process in reversed(stand.processes.values()):  # the workers first, Redis last
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(stand: Stand, workers: int) -> bool:
    try:
        with stand.client() as client:
            answer = client.get("/readyz")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["parts"]["workers"]["detail"] == f"{workers} of {workers} ready"


def _until(condition: Callable[[], bool], what: str, stand: Stand) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        ended = [name for name, process in stand.processes.items() if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            logs = "\n".join((stand.home / f"{name}.log").read_text()[-2000:] for name in ended or stand.processes)
            raise RuntimeError(f"{what}: not within {START_SECONDS:g} s; ended: {ended}\n{logs}")
        time.sleep(LOOK_SECONDS)


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process, of the children that it has waited for, and of those that live."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(_cpu_seconds, children))


def _memory_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


def own_memory_bytes(pid: int) -> int:
    """What a process and its descendants hold themselves: without pages of files, which are the kernel's to take back."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
    except OSError:
        return 0  # it has ended
    own = sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:")))
    return own + sum(map(own_memory_bytes, children))


def _anonymous_bytes(container: str) -> int:
    """cgroup v1 and v2 call it by two names."""
    for name in (f"memory/docker/{container}", f"docker/{container}", f"system.slice/docker-{container}.scope"):
        path = cgroup.ROOT / name / "memory.stat"
        if path.exists():
            figures = dict(line.split()[:2] for line in path.read_text().splitlines())
            return int(figures.get("total_rss", figures.get("anon", "0")))
    return 0
