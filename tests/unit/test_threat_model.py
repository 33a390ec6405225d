"""The threat model names tests; each of them is there, and each promise has some."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = re.findall(r"^\| (?:\*\*)?([1-9])(?:\*\*)? ([^\n]*)$", PAGE, re.MULTILINE)
TEST = re.compile(r"`(tests/[a-z_/]+\.py)::(\w+)`")


def test_every_promise_has_its_tests() -> None:
    assert sorted({number for number, _ in ROWS}) == list("1234567")
    assert [row for _, row in ROWS if len(TEST.findall(row)) != 1] == []


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(PAGE))))
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
