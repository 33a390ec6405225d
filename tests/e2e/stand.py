"""A whole service of the tests' own: set up the way `make run` does it, with another home, port and project name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fumehood.testing import free_port
from tests.services import missing, until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TABLE = EXAMPLES / "pima-indians-diabetes.csv"
START_SECONDS = 1200


@dataclass(frozen=True, slots=True)
class Stand:
    home: Path
    port: int
    store: str | None = None
    """None: whatever the home has."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def project(self) -> str:
        return f"fumehood-test-{self.port}"

    @property
    def key_file(self) -> Path:
        return self.home / "secrets" / "bootstrap_key"

    def setup(self, command: str) -> str:
        """`python3 setup COMMAND` for this stand; fails with its output."""
        return run([sys.executable, "-B", "setup", command], env=self.environment(), seconds=START_SECONDS)

    def environment(self) -> dict[str, str]:
        ours = {"FUMEHOOD_HOME": str(self.home), "FUMEHOOD_API_PORT": str(self.port), "FUMEHOOD_PROJECT": self.project, "FORCE": "1"}
        return os.environ | ours | ({"FUMEHOOD_STORE": self.store} if self.store else {})

    def client(self) -> httpx.Client:
        key = self.key_file.read_text().strip()
        return httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {key}"}, timeout=httpx.Timeout(90, connect=5))

    def containers(self) -> dict[str, str]:
        """Service → container id."""
        shape = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        listed = docker("ps", "--all", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.project}", "--format", shape)
        return dict(line.split(" ", 1) for line in listed.splitlines())

    def sandboxes(self) -> list[str]:
        """Names of the containers of scripts, running or not, as the engine sees them; without those that wait for one."""
        used = [name for name in self._containers_of_scripts() if not _waits(self.home / "scratch" / name.removeprefix("fumehood-"))]
        # One that waited may have gone meanwhile: its container before its directory.
        return [name for name in self._containers_of_scripts() if name in used]

    def _containers_of_scripts(self) -> list[str]:
        return docker("ps", "--all", "--filter", f"label=fumehood.home={self.home}", "--format", "{{.Names}}").splitlines()

    def scratch(self) -> list[Path]:
        """Files of runs; without the directories of sandboxes that wait."""
        runs = [path for path in (self.home / "scratch").iterdir() if path.exists() and not _waits(path)]
        return [*runs, *(self.home / "incoming").iterdir()]

    def inspect(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", self.containers()[service]))[0]
        return found

    def processes(self, service: str) -> list[int]:
        """Process ids on the host of what runs in the container, without its init."""
        init = int(self.inspect(service)["State"]["Pid"])
        return descendants(init) if init else []


def _waits(directory: Path) -> bool:
    """Whether no job's request was laid into an attempt's directory: nothing was, and nothing came out; or a script that is open there."""
    if not directory.exists() or (directory / "in" / "request.json").exists():
        return False
    nothing_in = not list(directory.glob("in/*")) and not any(path.stat().st_size for path in directory.glob("out/*"))
    return nothing_in or (directory / "in" / "prepare.json").exists()


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    if not shutil.which("docker"):
        missing("docker is not installed; the end-to-end tests need it")
    with standing(Stand(home=tmp_path_factory.mktemp("stand") / "home", port=free_port())) as made:
        yield made


@contextmanager
def standing(made: Stand) -> Iterator[Stand]:
    """The service from its start to its erasure, and a look that nothing is left."""
    try:
        made.setup("start")
        yield made
    finally:
        if made.home.exists():
            made.setup("erase")
    assert not made.home.exists()
    assert docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={made.project}") == ""


def docker(*arguments: str) -> str:
    return run(["docker", *arguments], seconds=120)


def run(command: Sequence[str | Path], *, seconds: float, env: Mapping[str, str] | None = None) -> str:
    """What the command printed; the test fails with it where the command does."""
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def descendants(pid: int) -> list[int]:
    """Children first, then theirs; what ends meanwhile is left out."""
    try:
        children = [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
    except OSError:
        return []
    return children + [inner for child in children for inner in descendants(child)]


def submit(client: httpx.Client, script: str, table: str, *, wait_seconds: int = 0) -> dict[str, Any]:
    """The record of a job whose files came with the request; final where the wait was long enough."""
    answer = client.post(
        "/v1/jobs",
        headers={"Prefer": f"wait={wait_seconds}"},
        files={"script": ("script.py", script.encode(), "text/x-python"), "dataset1": ("table.csv", table.encode(), "text/csv")},
    )
    assert answer.status_code == (200 if wait_seconds else 202), answer.text
    record: dict[str, Any] = answer.json()
    return record


def ended(client: httpx.Client, job_id: str, *, seconds: float) -> dict[str, Any]:
    """The record of a job when it is final; the service is asked to wait, and may be away for moments."""

    def look() -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = client.get(f"/v1/jobs/{job_id}", params={"wait": 20}).raise_for_status().json()
        except httpx.TransportError:
            return None
        return record if record["state"] in ("succeeded", "failed", "cancelled") else None

    return until(look, seconds=seconds, what=f"job {job_id} ends")
