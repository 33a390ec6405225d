"""One engine for the rung: it is killed often, and started again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.engine import PrivateEngine, private_engine
from tests.sandboxes import sandbox_image

BRIDGE = Path("/sys/class/net/docker0")
"""Of the machine's own engine."""


@pytest.fixture(scope="session")
def image() -> str:
    return sandbox_image()


@pytest.fixture(scope="session")
def engine(image: str) -> Iterator[PrivateEngine]:
    if os.geteuid() != 0:
        pytest.skip("an engine of one's own needs root")
    had_bridge = BRIDGE.exists()
    with private_engine(image) as engine:
        yield engine
    assert BRIDGE.exists() == had_bridge, f"{BRIDGE.name} of the machine's engine has gone with the tests' own"
