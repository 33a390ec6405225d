"""Style, types and import rules are tests like any other."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent

# A module that grows past this wants a second room.
MODULE_LINES_MAX = 350
PACKAGES = ("fumehood", "api", "worker", "gate", "courier", "cli", "setup")

CHECKS = {
    "style": ["ruff", "check", "--no-cache", "."],
    "types": ["mypy"],
    "types of the set-up": ["mypy", "--strict", "--explicit-package-bases", *sorted(map(str, (ROOT / "setup").glob("*.py")))],
    "imports": ["lint-imports", "--no-cache"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_whole_project_passes(name: str) -> None:
    program, *arguments = CHECKS[name]
    environment = os.environ | {"MYPYPATH": f"{ROOT / 'setup'}:{ROOT}"} if "set-up" in name else os.environ
    done = subprocess.run([TOOLS / program, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_outgrows_its_room() -> None:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in modules}
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES_MAX} == {}


ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for package in ("fumehood", "api", "worker", "gate", "courier")
        for path in (ROOT / package).rglob("*.py")
        if ENVIRONMENT & names_of(path)
    ]
    assert set(readers) <= {"fumehood/settings.py"}


def names_of(path: Path) -> set[str]:
    """All that the code names; what only stands in a text, as in a sample for others, is none."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return imported | attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


def test_a_reader_of_the_environment_would_be_seen(tmp_path: Path) -> None:
    for code in ("import os\nos.environ['A']", "from os import getenv as read", "import os as o\no.environb", "getenv('A')"):
        (tmp_path / "reads.py").write_text(code)
        assert ENVIRONMENT & names_of(tmp_path / "reads.py"), code
    (tmp_path / "shows.py").write_text("text = f\"os.environ['A'] {1}\"")
    assert not ENVIRONMENT & names_of(tmp_path / "shows.py")


def test_only_one_module_imports_the_engine() -> None:
    importers = [
        path.relative_to(ROOT).as_posix()
        for package in ("fumehood", "api", "worker", "gate", "courier", "cli")
        for path in (ROOT / package).rglob("*.py")
        if any(line.strip().startswith(("import docker", "from docker")) for line in path.read_text().splitlines())
    ]
    assert set(importers) <= {"worker/docker_engine.py"}
