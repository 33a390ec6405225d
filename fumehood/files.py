"""Files: the few file system steps that more than one part needs, each with its durability; and how many may be open."""

from __future__ import annotations

import fcntl
import os
import resource
import secrets
from pathlib import Path

from fumehood.errors import Misconfigured


def make_private(directory: Path) -> None:
    """Make a directory, and its parents, readable by us alone whatever the umask is; what exists is left as it is.

    Every new name is fsynced into its parent: a file that is on disk in a directory that is not would be lost.
    """
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for each in reversed(missing):
        try:
            each.mkdir(mode=0o700)
        except FileExistsError:
            continue  # somebody else was faster
        each.chmod(0o700)
        sync_directory(each.parent)


def sync_directory(directory: Path) -> None:
    """fsync a directory: from now on its names survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_locked(directory: Path) -> tuple[Path, int]:
    """A new file of a random name, and a descriptor that holds its lock for as long as this process has it open."""
    while True:
        path = directory / secrets.token_hex(16)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_at(path, os.fstat(descriptor)):
                return path, descriptor
        except BlockingIOError:
            pass  # a sweeper came between creation and lock: it takes this one, we take another
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def lock_if_free(path: Path) -> int | None:
    """The descriptor of a file that nobody else holds; None where somebody does, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_at(path: Path, facts: os.stat_result) -> bool:
    """Whether `path` still is a name of that very file; a link is none."""
    try:
        return os.path.samestat(facts, path.lstat())
    except FileNotFoundError:
        return False


def allow_files(needed: int, *, connections: int) -> None:
    """Let this process have `needed` files open: where a file cannot be opened, or a connection be taken, nobody is served.

    Raises:
        Misconfigured: the system does not allow it.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        raise Misconfigured(f"this process may have {most:,} files open; expected {needed:,} or more for {connections:,} connections")
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
