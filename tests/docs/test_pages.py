"""Every block of every page does what the page says, against a service of the tests' own."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import PYTHON, ROOT, SHELL, blocks_of, pages
from tests.docs.reader import Reader
from tests.e2e.stand import Stand
from tests.services import until

PAGES = [page for page in pages() if f"```{SHELL}" in page.read_text() or f"```{PYTHON}" in page.read_text()]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_says_happens(page: Path, stand: Stand, tmp_path: Path) -> None:
    reader = Reader(stand, tmp_path)
    try:
        for block in blocks_of(page):
            reader.do(block)
    finally:
        reader.close()
    # A page may leave a job on its way, so its end is waited for; then nothing of any run is there.
    with stand.client() as client:
        until(lambda: not any(unfinished(client, state) for state in ("queued", "running")), seconds=60, what="the page's jobs end")
    assert stand.sandboxes() == []
    assert stand.scratch() == []


def unfinished(client: httpx.Client, state: str) -> list[object]:
    items: list[object] = client.get("/v1/jobs", params={"state": state}).raise_for_status().json()["items"]
    return items
