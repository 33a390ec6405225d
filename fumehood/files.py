"""Files: the few file system steps that more than one part needs, each with its durability."""

from __future__ import annotations

import os
from pathlib import Path


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
