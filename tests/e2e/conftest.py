"""What end-to-end tests share beside the service (tests/e2e/stand.py)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.stand import Stand


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
