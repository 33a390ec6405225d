"""The order of the rungs: seconds before minutes, and no rung after one that failed. Inside a rung the order is random."""

from __future__ import annotations

from collections.abc import Generator

import pytest

RUNGS = ("unit", "contract", "docker", "hostile", "journey", "faults", "e2e", "docs")


def rung_of(item: pytest.Item) -> int:
    parts = item.path.parts
    return next((number for number, name in enumerate(RUNGS) if name in parts), len(RUNGS))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=rung_of)  # Stable: keeps the random order inside.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    result = yield
    if nextitem is not None and item.session.testsfailed and rung_of(nextitem) > rung_of(item):
        item.session.shouldstop = f"the rung {RUNGS[rung_of(item)]} failed; the later ones were not run"
    return result
