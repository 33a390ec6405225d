"""Real containers. Whatever these tests do, the engine must look as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandboxes import Wall, left_over, sandbox_image


@pytest.fixture(scope="session")
def image() -> str:
    return sandbox_image()


@pytest.fixture(scope="session")
def wall(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wall]:
    """Naked containers for the session; at its end the engine knows none of this home's, and no scratch is left."""
    wall = Wall(tmp_path_factory.mktemp("wall") / "home", image)
    yield wall
    left = left_over(wall.client, wall.home)
    wall.close()
    assert not any(left.values()), left


@pytest.fixture
def sandbox_home(wall: Wall, tmp_path: Path) -> Iterator[Path]:
    """A home of the test's own, whose containers and scratch must be gone after the test."""
    home = tmp_path / "home"
    yield home
    left = left_over(wall.client, home)
    assert not any(left.values()), left
