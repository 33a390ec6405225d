"""The corpus in real containers, two at a time. Afterwards the engine must look as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fumehood.settings import Settings
from tests.hostile.corpus import Ground
from tests.sandboxes import left_over, sandbox_image
from worker.docker_sandbox import DockerHost


@pytest.fixture(scope="session")
def image() -> str:
    return sandbox_image()


@pytest.fixture(scope="session")
def ground(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Where the attacks run, beside a neighbour's file; at the end no container and no scratch of it may be left."""
    home: Path = tmp_path_factory.mktemp("hostile") / "home"
    ground = Ground(DockerHost(Settings(home=home, image=image), worker_id="hostile"), home)
    yield ground
    ground.close()
    left = left_over(ground.client, home)
    ground.client.close()
    assert not any(left.values()), left
