"""Every block of every page does what the page says, against a service of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import PYTHON, ROOT, SHELL, blocks_of, pages
from tests.docs.reader import Reader
from tests.e2e.stand import Stand

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
    assert stand.sandboxes() == []
    assert stand.scratch() == []
