"""The reader of the corpus, and that an installed command has the corpus too."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.corpus import PROMISES, SMALL, attacks, read
from fumehood.outcome import Reason

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
GOOD = '# expect: timed_out\n# promise: 5\n# limits: {"wall_seconds": 3}\n"""Waits,\nfor ever."""\n'


def test_an_attack_says_how_it_must_end_and_what_it_may_use(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(GOOD)
    attack = read(tmp_path / "waits.py")
    assert (attack.name, attack.reason, attack.promise, attack.what) == ("waits", Reason.TIMED_OUT, 5, "Waits, for ever.")
    assert (attack.limits.wall_seconds, attack.limits.memory_bytes) == (3, SMALL.memory_bytes)
    assert attack.script == GOOD


@pytest.mark.parametrize("text", ["", GOOD.replace("# promise: 5", "# promise: 8"), GOOD.replace("timed_out", "tired"), GOOD[1:]])
def test_a_file_that_does_not_begin_like_an_attack_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(text)
    with pytest.raises(ValueError, match=r"other\.py does not begin|not a valid Reason"):
        read(tmp_path / "other.py")


def test_a_runtime_may_end_an_attack_in_another_way() -> None:
    spin = attacks()["spin"]
    assert spin.endings("runc") == {Reason.TIMED_OUT}
    assert spin.endings("runsc") == {Reason.TIMED_OUT, Reason.OUT_OF_MEMORY, Reason.CRASHED}
    bomb = attacks()["memory_bomb"]
    assert bomb.endings("runc") == {Reason.OUT_OF_MEMORY}
    assert bomb.endings("runsc") == {Reason.OUT_OF_MEMORY, Reason.CRASHED}
    assert spin.on("runsc") == spin


def test_what_cannot_hold_on_a_runtime_is_not_asked_there_and_the_rest_must_end_as_it_says() -> None:
    look = attacks()["look_around"]
    assert look.on("runc") == look
    assert "/proc/cmdline" in look.script
    assert "/proc/cmdline" not in look.on("runsc").script
    assert look.endings("runsc") == {Reason.OK}


def test_the_promises_are_those_of_the_threat_model() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text()
    assert dict(re.findall(r"^\| \*\*(\d)\*\* ([^|]+?) \|", page, re.M)) == {str(number): promise for number, promise in PROMISES.items()}


def test_an_installed_command_brings_the_whole_corpus(tmp_path: Path) -> None:
    """A wheel of a copy without anything that was built before, unpacked where no checkout is near."""
    copy, installed = tmp_path / "copy", tmp_path / "installed"
    for name in ("fumehood", "api", "worker", "gate", "courier", "cli", "tests/hostile/attacks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    built = subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], cwd=copy, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    shutil.unpack_archive(tmp_path / built.stdout.splitlines()[-1], installed, "zip")
    # Nothing of the checkout is on the path of this one: -I leaves out the directory, and the first entry wins over site-packages.
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from cli.app import main; sys.argv[1:] = ['doctor', '--list']; main()"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == attacks().keys()
    # What the API reads beside its modules comes along: `fumehood run --local` starts it from there.
    beside = {path.name for path in (ROOT / "api").iterdir() if path.is_file() and path.suffix != ".py"}
    assert beside == {path.name for path in (installed / "api").iterdir() if path.suffix != ".py"} == {"help_page.css", "help_page.js"}
