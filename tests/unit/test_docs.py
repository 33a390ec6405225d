"""What stands twice is held together here: limits and their settings, commands and the README, links and files."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from fumehood.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", ["limits", "ceiling"])
def test_one_limit_is_changed_by_its_name_and_the_others_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = getattr(Settings(), name)
    monkeypatch.setenv(f"FUMEHOOD_{name.upper()}__WALL_SECONDS", "600")
    assert getattr(Settings(), name) == replace(before, wall_seconds=600.0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in target and not target.startswith("#")]
    missing = [target for target in targets if not (page.parent / unquote(target.partition("#")[0])).exists()]
    assert missing == []


def test_every_make_target_that_a_page_names_exists() -> None:
    shown = set(re.findall(r"\bmake ([a-z][a-z-]+)", "\n".join(re.findall(r"`[^`\n]+`|```.*?```", _all_pages(), re.S))))
    known = subprocess.run(["make", "-prRq", "-C", ROOT], capture_output=True, text=True, timeout=30).stdout
    assert shown
    assert shown <= set(re.findall(r"^([a-z][a-z-]+):", known, re.M))


def test_every_file_of_the_project_that_a_command_names_exists() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", _all_pages(), re.S))
    named = set(re.findall(r"\b((?:examples|images|tests|docs)/[\w./-]+\w)", blocks))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


def _all_pages() -> str:
    return "\n".join(page.read_text() for page in PAGES)
