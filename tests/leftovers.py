"""The tests leave the machine as they found it: pictures before and after, taken through the engine and /proc.

What the service says about itself (receipts, counters) is not asked. `FUMEHOOD_TEST_LEFTOVERS=ours` looks only at what
carries this session's marks, for machines whose engine others use meanwhile; the default is everything.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

MARK = "FUMEHOOD_TEST_SESSION"
BROKEN_OFF = pytest.StashKey[bool]()
BEFORE = pytest.StashKey[tuple[Path, tuple[str, set[str]]]]()
SETTLE_SECONDS = 20.0
ENGINE_SECONDS = 30
# Enough to tell whose it is; a sandbox carries the list of its packages as a label.
LINE_CHARACTERS = 500

# What to list, and how one line of each looks. An image is looked at by its names; one without any is dangling.
LISTS: dict[str, list[str]] = {
    "container": ["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}} ({{.Image}}, {{.Labels}})"],
    "volume": ["volume", "ls", "--format", "{{.Name}}"],
    "network": ["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"],
    "image": ["image", "ls", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"],
}
# Building what is missing may leave images of ours, by their full names; nothing else.
KEPT_IMAGES = " fumehood-"


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_over(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session where something is there afterwards that was not there before."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # Each would see what the others have in flight; who started them looks.
        yield
        return
    places = tmp_path_factory.getbasetemp()
    before = _begun(places)
    yield
    left = _ended(before, places)
    if left:
        if request.config.stash.get(BROKEN_OFF, False):
            # No test is left that could fail, and pytest would end without its summary. The session has failed anyway.
            print(left)
        else:
            pytest.fail(left, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Who only shares the tests out among workers runs no fixture; before it starts them, it looks by itself."""
    if session.config.getoption("dist", "no") != "no":
        places = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # There is no other way to it here.
        session.config.stash[BEFORE] = places, _begun(places)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Fixtures that still stand now are those of a session that was broken off (-x, a failed rung, a keyboard)."""
    session.config.stash[BROKEN_OFF] = True
    result = yield  # Workers end in here.
    if BEFORE in session.config.stash:
        places, before = session.config.stash[BEFORE]
        left = _ended(before, places)
        if left:
            print(f"\n{left}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


def _begun(places: Path) -> tuple[str, set[str]]:
    """This session's mark, and what is there before it."""
    mark = secrets.token_hex(8)
    os.environ[MARK] = mark  # Inherited by every process a test starts, also by one that has left its parents.
    return mark, picture(places, mark)


def _ended(before: tuple[str, set[str]], places: Path) -> str:
    """What there is to say about what was left; nothing where nothing was."""
    mark, there = before
    left = _settled(there, places, mark)
    del os.environ[MARK]
    return "\n".join(["the tests left something behind:", *(f"  {line[:LINE_CHARACTERS]}" for line in sorted(left))]) if left else ""


def picture(places: Path, mark: str) -> set[str]:
    """What is there now, one line a thing. A process counts when it carries `mark` and is not this one."""
    return _engine() | _processes(mark) | _files(places)


def _settled(before: set[str], places: Path, mark: str) -> set[str]:
    """What is there too much, after what is just going has had its time."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        after = picture(places, mark)
        left = {line for line in after - before if not (line.startswith("image ") and KEPT_IMAGES in line)}
        if os.environ.get("FUMEHOOD_TEST_LEFTOVERS") == "ours":
            left = {line for line in left if line.startswith(("process ", "file ")) or str(places) in line or "fumehood-test" in line}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.25)


def _engine() -> set[str]:
    lines: set[str] = set()
    for kind, arguments in LISTS.items():
        try:
            done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=ENGINE_SECONDS)
        except FileNotFoundError:
            return set()
        if done.returncode:
            # The same line before and after where there is no engine; a new one where it died meanwhile.
            return {"the engine does not answer"}
        lines |= {f"{kind} {line}" for line in done.stdout.splitlines()}
    return lines


def _processes(mark: str) -> set[str]:
    sought, found = f"{MARK}={mark}".encode(), set()
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            if sought in (directory / "environ").read_bytes().split(b"\0"):
                words = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.add(f"process {directory.name} {words[:200]}")
        except OSError:  # It has ended, or is another user's.
            continue
    return found


def _files(places: Path) -> set[str]:
    """What lies in the scratch and among the unfinished uploads of every home that the tests made."""
    # Not rglob, which stumbles over a directory that goes meanwhile.
    homes = [Path(directory) for directory, names, _ in os.walk(places) if "scratch" in names]
    return {f"file {path}" for home in homes for name in ("scratch", "incoming") for path in (home / name).glob("*")}
