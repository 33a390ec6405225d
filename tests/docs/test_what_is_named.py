"""What pages name exists: settings, limits, commands and their options, tests; and few blocks are not run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from cli.app import app
from fumehood.limits import REQUESTABLE
from fumehood.settings import Settings
from tests.docs.blocks import LANGUAGES, ROOT, SHELL, Block, blocks_of, pages

NOT_RUN_MAX = 8
TEXTS = sorted([*ROOT.glob("*.md"), ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")])
# Read by the set-up, the command or the supervisor instead of the service's settings.
OTHER_VARIABLES = {"FUMEHOOD_TEST_EXAMPLES", "FUMEHOOD_URL", "FUMEHOOD_KEY", "FUMEHOOD_WAIT_SECONDS", "FUMEHOOD_STORE"}
BLOCKS = [block for page in pages() for block in blocks_of(page)]


def commands() -> dict[str, set[str]]:
    """`run`, `datasets upload`, …: each with its options."""
    found: dict[str, set[str]] = {}

    def walk(path: tuple[str, ...], command: object) -> None:
        params = getattr(command, "params", [])
        found[" ".join(path)] = {word for one in params for word in (*one.opts, *one.secondary_opts) if word.startswith("-")} | {"--help"}
        for name, inner in getattr(command, "commands", {}).items():
            walk((*path, name), inner)

    walk((), typer.main.get_command(app))
    return found


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert [f"{block.place}: {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES and block.file is None] == []


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    not_run = [block for block in BLOCKS if block.not_run is not None]
    print(*(f"{block.place}: {block.not_run}" for block in not_run), sep="\n")
    assert len(not_run) <= NOT_RUN_MAX, [block.place for block in not_run]
    assert [block.place for block in not_run if len(str(block.not_run).split()) < 4] == []


def test_a_test_that_a_page_names_exists() -> None:
    named = {name for page in TEXTS for name in re.findall(r"tests/[\w/]+\.py", page.read_text())}
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=lambda block: block.place)
def test_a_json_block_is_json(block: Block) -> None:
    for document in block.text.strip().split("\n\n"):
        json.loads(document)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_variable_a_page_names_is_a_setting(page: Path) -> None:
    known = {f"FUMEHOOD_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    named = set(re.findall(r"\bFUMEHOOD_[A-Z_]*[A-Z](?!\*)", page.read_text()))
    unknown = {name for name in named if name.partition("__")[0] not in known}
    assert unknown == set()
    nested = {name for name in named if "__" in name}
    assert {name for name in nested if name.partition("__")[2].lower() not in REQUESTABLE} == set()


def test_every_command_and_option_in_a_block_exists() -> None:
    known = commands()
    lines = [
        (block.place, line)
        for block in BLOCKS
        if block.language == SHELL
        for line in block.text.replace("\\\n", " ").splitlines()
        if re.search(r"(^|[ (]|\.venv/bin/)fumehood [a-z]", line)
    ]
    assert lines
    calls = [(place, call) for place, line in lines for call in re.findall(r"(?:^|[ (]|\.venv/bin/)fumehood ([^|)]*)", line)]
    wrong = [place for place, call in calls if not _fits(call.split(), known)]
    assert wrong == []


def test_every_command_in_a_sentence_exists() -> None:
    known = {name.split()[0] for name in commands() if name}
    named = {word for page in TEXTS for word in re.findall(r"`(?:\.venv/bin/)?fumehood ([a-z]+)", page.read_text())}
    assert named
    assert named <= known


def _fits(words: list[str], known: dict[str, set[str]]) -> bool:
    command = next((name for count in (3, 2, 1) if (name := " ".join(words[:count])) in known), None)
    return command is not None and {word.partition("=")[0] for word in words if word.startswith("-")} <= known[command]


@pytest.mark.parametrize(
    ("call", "fits"),
    [
        ("run a.py --quiet", True),
        ("run a.py --qiet", False),
        ("walk a.py", False),
        ("images export --out x", True),
        ("admin key list x --jsn", False),
    ],
)
def test_a_wrong_command_would_be_seen(call: str, fits: bool) -> None:
    assert _fits(call.split(), commands()) == fits
