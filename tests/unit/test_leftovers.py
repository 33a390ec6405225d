"""The guard itself: a session of pytest that leaves something behind must fail, whatever its tests say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# An engine that lists, for each kind, what stands in the file of that name.
ENGINE = """\
#!/bin/sh
case $1 in ps) kind=container ;; *) kind=$1 ;; esac
cat "{shelf}/$kind" 2>/dev/null || true
"""

CONFTEST = """\
import tests.leftovers
from tests.leftovers import nothing_is_left_over, pytest_sessionfinish, pytest_sessionstart

tests.leftovers.SETTLE_SECONDS = 0.5
"""
TEST = """\
import os, pathlib, subprocess

SHELF = pathlib.Path("{shelf}")


def test(tmp_path):
    home = tmp_path / "home"
    (home / "scratch").mkdir(parents=True)
    {body}


def test_another():
    pass
"""


# How the tests of a session are run: the guard looks where they are shared out, too.
WAYS = {"one process": (), "workers": ("--numprocesses=2",)}


@pytest.fixture
def shelf() -> Iterator[Path]:
    """Not in `tmp_path`: there the outer session's guard would find what the inner sessions leave."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "shelf"
        directory.mkdir()
        (directory / "docker").write_text(ENGINE.format(shelf=directory))
        (directory / "docker").chmod(0o755)
        (directory / "image").write_text("sha256:1 debian:12\n")
        yield directory


def session(shelf: Path, body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a test with `body` and one that never fails, with the guard and the shelf as its engine."""
    place = shelf.parent / "inner"
    place.mkdir()
    (place / "conftest.py").write_text(CONFTEST)
    (place / "test_inner.py").write_text(TEST.format(shelf=shelf, body=body))
    # The inner session is a whole one, also where the outer is one of several.
    outer = {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}
    # Only what the guard needs: the other plugins take longer to import than the session takes.
    ours = {"PYTHONPATH": str(ROOT), "FUMEHOOD_TEST_LEFTOVERS": "all", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", "--rootdir", place, "--basetemp",
         shelf.parent / "base", *arguments, place],
        cwd=place, capture_output=True, text=True, timeout=60,
        env=outer | ours | {"PATH": f"{shelf}:{os.environ['PATH']}"},
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_session_that_leaves_nothing_passes(shelf: Path, way: str) -> None:
    done = session(shelf, "(SHELF / 'image').write_text('sha256:1 debian:12\\nsha256:2 fumehood-service:abc\\n')", *WAYS[way])
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("(SHELF / 'container').write_text('abc forgotten (image, a=b)\\n')", "container abc forgotten"),
        ("(SHELF / 'volume').write_text('forgotten\\n')", "volume forgotten"),
        ("(SHELF / 'network').write_text('abc forgotten\\n')", "network abc forgotten"),
        ("(SHELF / 'image').write_text('sha256:1 debian:12\\nsha256:2 <none>:<none>\\n')", "image sha256:2 <none>:<none>"),
        ("(home / 'scratch/0af3').mkdir()", "/home/scratch/0af3"),
        ("(home / 'incoming/half').mkdir(parents=True)", "/home/incoming/half"),
    ],
)
def test_a_session_that_leaves_something_fails_and_names_it(shelf: Path, body: str, line: str) -> None:
    done = session(shelf, body)
    assert done.returncode == 1, done.stdout
    assert line in done.stdout


def test_what_workers_leave_is_found_by_who_started_them(shelf: Path) -> None:
    done = session(shelf, "(SHELF / 'volume').write_text('forgotten\\n'); (home / 'scratch/0af3').mkdir()", *WAYS["workers"])
    assert done.returncode == 1, done.stdout
    assert "volume forgotten" in done.stdout
    assert "/home/scratch/0af3" in done.stdout


def test_a_session_that_is_broken_off_still_ends_with_its_summary(shelf: Path) -> None:
    done = session(shelf, "(SHELF / 'volume').write_text('forgotten\\n'); assert False", "-x")
    assert done.returncode == 1, done.stdout
    assert "volume forgotten" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failed")


@pytest.mark.parametrize("way", WAYS)
def test_a_process_that_has_left_its_parents_is_found(shelf: Path, way: str) -> None:
    done = session(shelf, "subprocess.Popen(['sleep', '60'], start_new_session=True, stdin=-3, stdout=-3, stderr=-3)", *WAYS[way])
    found = re.search(r"process (\d+) sleep 60", done.stdout)
    assert done.returncode == 1, done.stdout
    assert found
    os.kill(int(found.group(1)), 9)
