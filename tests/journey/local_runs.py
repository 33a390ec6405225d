"""Local runs as processes, each test with a temporary directory of its own, so that what one leaves is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.workshop import docker

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 120.0


class LocalRuns:
    def __init__(self, directory: Path, image: str) -> None:
        self.directory = directory
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FUMEHOOD_")}
        self.environment = kept | {
            "TMPDIR": str(self.temporary),
            "FUMEHOOD_IMAGE": image,
            "XDG_CONFIG_HOME": str(directory / "config"),
            "PYTHONPATH": str(ROOT),
        }

    @property
    def home(self) -> Path:
        return self.temporary / f"fumehood-local-{os.geteuid()}"

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def begin(self, *arguments: object) -> subprocess.Popen[str]:
        """The command, from any directory."""
        # As from a terminal: whoever starts the tests in the background hands down that signals are ignored.
        command = ["env", "--default-signal=INT,HUP", sys.executable, "-m", "cli", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=self.directory, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=RUN_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def containers(self, *, only_running: bool = False) -> list[str]:
        every = [] if only_running else ["--all"]
        found = docker("ps", *every, "--filter", "label=fumehood.home", "--format", '{{.Names}}={{.Label "fumehood.home"}}')
        return [line.partition("=")[0] for line in found if line.partition("=")[2].startswith(str(self.temporary))]

    def leftovers(self) -> list[str]:
        """Containers, and every file but the empty locks of user ids, which are for the next run."""
        files = [path for path in self.temporary.rglob("*") if not path.is_dir() and path.parent.name != "uids"]
        return [*self.containers(), *map(str, files)]


@pytest.fixture
def local_runs(image: str, tmp_path: Path) -> Iterator[LocalRuns]:
    runs = LocalRuns(tmp_path, image)
    yield runs
    left = runs.leftovers()
    for container in runs.containers():
        docker("rm", "--force", container)
    assert left == []
