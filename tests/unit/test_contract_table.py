"""The contract's page and the tests that hold it: every rule has tests that exist, every number is the code's."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from fumehood.limits import CEILING, Limits
from fumehood.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "contract.md").read_text()
RULES = 29
EDGES = 47
NUMBERS = [*map(str, range(1, RULES + 1)), *(f"E{number}" for number in range(1, EDGES + 1))]
ROW = re.compile(r"^\| (E?\d+) \| (.*) \|$", re.MULTILINE)
TABLE = [(number, cell.split("<br>")) for number, cell in ROW.findall(PAGE)]
UNITS = ((2**30, "GiB"), (2**20, "MiB"))


@cache
def names_in(file: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def written(value: float) -> str:
    """A limit as the page writes it."""
    unit, name = next(((unit, name) for unit, name in UNITS if value >= unit and value % unit == 0), (1, ""))
    return f"{value / unit:,g} {name}".rstrip() if unit > 1 else f"{value:,.0f}"


def test_every_rule_and_edge_is_said_once_and_in_order() -> None:
    assert re.findall(r"^\*\*(E?\d+)\*\* ", PAGE, re.MULTILINE) == NUMBERS


def test_every_rule_and_edge_stands_in_the_table_once_and_in_order() -> None:
    assert [number for number, _ in TABLE] == NUMBERS


@pytest.mark.parametrize(("number", "cell"), TABLE, ids=[number for number, _ in TABLE])
def test_every_rule_and_edge_is_held_by_tests_that_exist(number: str, cell: list[str]) -> None:
    assert cell
    assert len(set(cell)) == len(cell)
    for link in cell:
        found = re.fullmatch(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", link)
        assert found, f"{number}: expected `tests/…/test_x.py::test_name`, found {link!r}"
        assert (ROOT / found[1]).exists(), f"{number}: there is no file {found[1]}"
        assert found[2] in names_in(found[1]), f"{number}: {found[1]} has no test {found[2]}"


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    assert rows == [(name, written(value), written(CEILING.as_dict()[name])) for name, value in Limits().as_dict().items()]


def test_the_sizes_of_scripts_and_bundles_are_those_of_the_settings() -> None:
    assert f"A script has up to {written(Settings.model_fields['script_bytes'].default)}." in PAGE
    assert f"A bundle has up to {written(Settings.model_fields['bundle_bytes'].default)} as a zip." in PAGE


def test_what_the_page_says_that_scripts_are_told_is_what_the_runner_says() -> None:
    runner = "".join(path.read_text() for path in sorted((ROOT / "images" / "anaconda" / "runner").glob("*.py")))
    section = PAGE.partition("## When it goes wrong")[2].partition("\n## ")[0]
    told = [row.split(" | ")[1].removesuffix(" |") for row in section.splitlines() if row.startswith("| ")][1:]
    assert len(told) >= 5
    for sentence in told:
        # Names, numbers and code differ from case to case; what stands between them does not.
        pieces = [piece.strip(" .,") for piece in re.split(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\(|\)|\d+|: ", sentence)]
        assert any(len(piece) > 12 and piece in runner for piece in pieces), f"the runner never says {sentence!r}"
