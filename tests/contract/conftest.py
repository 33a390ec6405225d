"""The script contract, rule by rule, in the real image.

The image is the one that fits the checkout's inputs (`python3 images/build.py anaconda`). With
FUMEHOOD_MOUNT_RUNNER=images/anaconda/runner the newest image is used instead and that directory is mounted over its
runner, so that a change can be tried at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.bench import Bench, has_engine
from tests.services import missing

ROOT = Path(__file__).resolve().parents[2]


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture(scope="session")
def image() -> str:
    if not has_engine():
        missing("no container engine")
    if os.environ.get("FUMEHOOD_MOUNT_RUNNER"):
        newest = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "fumehood-anaconda").split("\n")[0]
        return newest or missing("no image called fumehood-anaconda")
    build = [sys.executable, str(ROOT / "images" / "build.py"), "anaconda", "--print-tag"]
    tag = subprocess.run(build, capture_output=True, text=True, check=True).stdout.strip().split()[-1]
    if not docker("image", "inspect", "--format", "{{.Id}}", tag):
        missing(f"no image {tag}; run `python3 images/build.py anaconda`")
    return tag


@pytest.fixture(scope="session")
def sandbox(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Runs requests; see `Bench.run`."""
    directory = tmp_path_factory.mktemp("bench")
    # The engine's mounts need a path that the sandbox's uid can walk.
    for parent in (directory, directory.parent, directory.parent.parent):
        parent.chmod(0o755)
    mounted = os.environ.get("FUMEHOOD_MOUNT_RUNNER")
    bench = Bench(image, directory, mounted and str(Path(mounted).resolve()))
    yield bench
    bench.clean()
