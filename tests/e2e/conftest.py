"""One service for all end-to-end tests of a session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.stand import Stand, docker
from tests.services import free_port, missing


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    if not shutil.which("docker"):
        missing("docker is not installed; the end-to-end tests need it")
    made = Stand(home=tmp_path_factory.mktemp("stand") / "home", port=free_port())
    try:
        made.setup("start")
        yield made
    finally:
        if made.home.exists():
            made.setup("erase")
    assert not made.home.exists()
    assert docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={made.project}") == ""


@pytest.fixture
def client(stand: Stand) -> Iterator[httpx.Client]:
    with stand.client() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_stays(stand: Stand) -> Iterator[None]:
    """After every test: no sandbox and no file of a run is there, and nobody had to wait for that after the end of the job."""
    yield
    assert stand.sandboxes() == []
    assert stand.scratch() == []
