"""The corpus in real containers, two at a time. Afterwards the engine must look as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.corpus import Ground, standing
from tests.sandboxes import sandbox_image


@pytest.fixture(scope="session")
def image() -> str:
    return sandbox_image()


@pytest.fixture(scope="session")
def ground(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    home: Path = tmp_path_factory.mktemp("hostile") / "home"
    with standing(home, image, worker="hostile") as ground:
        yield ground
