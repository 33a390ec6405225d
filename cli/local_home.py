"""LocalHome: the private directory of one local run, and what dead ones left behind.

Below a directory of the user's own lie `workers/` (a lock per living run, as workers of a service have them), `uids/`, and
`runs/<run>/`, each the home of one run. The kernel lets go of a lock when its process dies, however it dies; the next run
finds it free and removes what that run left: containers first, files after them.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

import platformdirs

from cli.errors import NoLocalRun
from cli.terminal import one_line, say, size
from fumehood.errors import FumehoodError
from worker.isolation import LABEL_HOME
from worker.registration import Registration

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# Behind those of a service on this machine, and for each user others: their locks cannot be seen by one another.
UID_FIRST, UIDS, USERS = 1_879_048_192 + 4096, 64, 1_000_000


class Engine(Protocol):
    def labelled(self, label: str) -> list[tuple[str, dict[str, str]]]: ...

    def remove(self, name: str) -> bool: ...


def sandbox_uids() -> dict[str, int]:
    """The settings that name the user ids of this user's sandboxes."""
    return {"sandbox_uid_first": UID_FIRST + os.geteuid() % USERS * UIDS, "sandbox_uid_count": UIDS}


@contextmanager
def local_home(engine: Engine, *, needed_bytes: int) -> Iterator[tuple[Path, Registration]]:
    """A home with room for `needed_bytes`, and its registration; at the end both are gone, containers of the home included.

    Raises:
        NoLocalRun: no directory can be used; says of each why.
    """
    parent = _parent(needed_bytes)
    registration = Registration(parent)
    home = parent / "runs" / registration.worker
    try:
        _bury_the_dead(engine, parent, registration)
        home.mkdir(mode=0o700, parents=True)
        # Runs at the same time must not share a sandbox's user id.
        (parent / "uids").mkdir(mode=0o700, exist_ok=True)
        (home / "uids").symlink_to(parent / "uids")
        yield home, registration
    finally:
        ignore_signals()
        if _erase(engine, home):
            registration.leave()


def _bury_the_dead(engine: Engine, parent: Path, registration: Registration) -> None:
    with registration.dead() as dead:
        stuck = [worker for worker in dead if not _erase(engine, parent / "runs" / worker)]
        if dead:
            say(f"removed what {len(dead) - len(stuck)} local run{'s' * (len(dead) - len(stuck) != 1)} left that did not end in order")
        if stuck:
            # Their locks must stay for the next run, which tries again.
            raise NoLocalRun(f"what an earlier local run left at {one_line(parent)} cannot be removed; see above")


def _erase(engine: Engine, home: Path) -> bool:
    """Remove the home's containers and files and look that they are gone; False, and a line for each, where something stays."""
    try:
        for name, _ in engine.labelled(f"{LABEL_HOME}={home}"):
            engine.remove(name)
        # A home that is being removed is nobody's: the files of a container that may still run stay until it is gone.
        shutil.rmtree(home, ignore_errors=True)
        if os.path.lexists(home):
            raise NoLocalRun(f"{home} cannot be removed")
    except FumehoodError as error:
        say(f"not everything is erased: {error.detail}; the next local run tries again")
        return False
    return True


def _parent(needed_bytes: int) -> Path:
    """The user's own directory, in the first place that has room."""
    problems = []
    for place in dict.fromkeys((Path(tempfile.gettempdir()), Path("/var/tmp"), Path(platformdirs.user_cache_dir()))):
        try:
            parent = _private(place.resolve() / f"fumehood-local-{os.geteuid()}")
            free_bytes = shutil.disk_usage(parent).free
        except OSError as error:
            problems.append(f"{place}: {error.strerror}")
            continue
        if free_bytes >= needed_bytes:
            return parent
        problems.append(f"{place}: {size(free_bytes)} free")
    raise NoLocalRun(
        f"a run with these limits may fill {size(needed_bytes)} of disk, and there is no place for that ({'; '.join(problems)}); "
        "free some, name another directory in TMPDIR, or run with less, such as --limit output_bytes=64MiB --limit disk_bytes=64MiB"
    )


def _private(directory: Path) -> Path:
    """Make it, 0700. In a directory where everybody may write, its name may have been taken by somebody else: refused."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise FileExistsError(0, f"{directory.name} is not yours")
    directory.chmod(0o700)
    return directory


@contextmanager
def signals_lead_out() -> Iterator[None]:
    """SIGTERM and a closed terminal leave the block as an exception does, so that everything is erased."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, *SIGNALS)}
    try:
        for each in SIGNALS:
            signal.signal(each, leave)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """For what is short and bounded and must be done, however often somebody presses Ctrl-C."""
    for each in (signal.SIGINT, *SIGNALS):
        signal.signal(each, signal.SIG_IGN)
