"""One engine for the rung: it is killed often, and started again."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.engine import PrivateEngine, private_engine
from tests.sandboxes import sandbox_image


@pytest.fixture(scope="session")
def image() -> str:
    return sandbox_image()


@pytest.fixture(scope="session")
def engine(image: str) -> Iterator[PrivateEngine]:
    if os.geteuid() != 0:
        pytest.skip("an engine of one's own needs root")
    with private_engine(image) as engine:
        yield engine
