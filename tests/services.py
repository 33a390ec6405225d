"""Services of tests: what to do where one is missing, and how to wait for one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

T = TypeVar("T")
POLL_SECONDS = 0.05


def missing(what: str) -> NoReturn:
    """End the test: `make test` and CI demand everything, a plain pytest does not."""
    if os.environ.get("FUMEHOOD_TEST_REQUIRE") == "1" or os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def until(condition: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """The first value of `condition` that is true; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:g} s; last seen: {value!r}")
        time.sleep(POLL_SECONDS)
