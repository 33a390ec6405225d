"""User ids for sandboxes: each belongs to one sandbox at a time, on the whole host.

Containers that share a uid also share kernel quotas that no cgroup divides (inotify instances, pipe pages, queued
signals), so one tenant could starve another or signal to it. A uid is held by an flock on `<home>/uids/<uid>`: the kernel
lets go of it when the worker dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from fumehood.errors import SandboxError


class SandboxUid:
    """A uid that nobody else on this host holds until `release()`."""

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go of it; idempotent. The file stays: removing a file that others may be about to lock would let two hold one uid."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take_uid(home: Path, *, first: int, count: int) -> SandboxUid:
    """Take a free uid of `first` … `first + count - 1`, beginning at a random one so that a uid is not soon used again.

    Raises:
        SandboxError: every uid of the range is held, or the files cannot be locked.
    """
    directory = home / "uids"
    start = secrets.randbelow(count)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for step in range(count):
            number = first + (start + step) % count
            descriptor = os.open(directory / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            return SandboxUid(number, descriptor)
    except OSError as error:
        raise SandboxError(f"a user id for the sandbox could not be locked: {error.strerror}") from error
    raise SandboxError(f"all {count} user ids for sandboxes are in use; expected a free one")
