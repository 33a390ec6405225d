"""Real processes: a Redis, `python -m worker`, the engine and the sandbox image. No API: jobs come through the store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import create_app
from fumehood.settings import Settings
from fumehood.tenant import new_key
from fumehood.testing import RedisServer, redis_server
from tests.journey.workshop import Workshop, docker
from tests.services import missing
from tests.unit.front_desk import Counter, Served

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def image() -> str:
    """The id of the image that fits the checkout's inputs, or FUMEHOOD_TEST_IMAGE."""
    if given := os.environ.get("FUMEHOOD_TEST_IMAGE"):
        return given
    if subprocess.run(["docker", "version"], capture_output=True, timeout=30).returncode:
        missing("no container engine")
    build = [sys.executable, str(ROOT / "images" / "build.py"), "anaconda", "--print-tag"]
    tag = subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1]
    found = docker("image", "ls", "--quiet", "--no-trunc", tag)
    return found[0] if found else missing(f"no image {tag}; run `python3 images/build.py anaconda`")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        missing("no redis-server")
    with redis_server() as server:
        yield server


@pytest.fixture
def workshop(image: str, redis: RedisServer, tmp_path: Path) -> Iterator[Workshop]:
    """A home, its store and queue, and as many workers as the test starts. At the end nothing of it may be left, and that is
    looked for with the engine's eyes and the file system's, not with the service's."""
    shop = Workshop(tmp_path / "home", image, redis)
    try:
        yield shop
        shop.stop_all()
        assert shop.leftovers() == []
    finally:
        shop.kill_all()


@pytest.fixture
def us(workshop: Workshop) -> Iterator[Counter]:
    """A tenant at a desk whose worker is a process and whose sandboxes are containers."""
    key = new_key()
    given = {"disk_floor_bytes": 0, "errand_wait_seconds": 60, "bootstrap_key": key}
    served = Served(create_app(Settings(**(workshop.settings.model_dump() | given))))
    workshop.start_worker()
    yield Counter(served, key)
    served.stop()
