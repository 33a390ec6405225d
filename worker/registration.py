"""Registration: a worker is alive while it holds the lock on its file in `<home>/workers/`.

The kernel lets go of the lock when the worker dies, however it dies, so nobody waits for a lease to run out before cleaning
up behind a worker of this host. The file says host and process, nothing secret; its time of change is the worker's pulse.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from fumehood.files import make_private

log = structlog.get_logger(__name__)

SUFFIX = ".lock"
PULSE_SECONDS = 60.0


class Registration:
    """This worker's own lock, held from the constructor to `leave()`."""

    def __init__(self, home: Path, *, pulse_seconds: float = PULSE_SECONDS) -> None:
        """`pulse_seconds`: who was not heard of for so long counts as stuck (worker/health.py reads it)."""
        self.worker = f"wrk_{secrets.token_hex(8)}"
        self.directory = home / "workers"
        make_private(self.directory)
        self._path = self.directory / f"{self.worker}{SUFFIX}"
        # Locked under a name that no reaper reads, then renamed: nobody ever sees a living worker's file unlocked.
        unfinished = self.directory / f".{self.worker}"
        self._descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        facts = {"host": socket.gethostname(), "process": os.getpid(), "pulse_seconds": pulse_seconds}
        os.write(self._descriptor, json.dumps(facts).encode())
        unfinished.rename(self._path)
        self._held: set[str] = set()

    def pulse(self) -> None:
        """Say that the worker's loop lives."""
        os.utime(self._descriptor)

    def leave(self) -> None:
        """Orderly exit: nothing of ours is left, so nobody need look. Idempotent."""
        self._path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def is_live(self, worker: str) -> bool:
        """Whether a worker of this home and host lives. One whose file is gone, or which we are burying, does not."""
        if worker == self.worker:
            return True
        if worker in self._held or not worker or "/" in worker:
            return False
        descriptor = _lock(self.directory / f"{worker}{SUFFIX}")
        if descriptor is None:
            return (self.directory / f"{worker}{SUFFIX}").exists()
        os.close(descriptor)
        return False

    @contextmanager
    def dead(self) -> Iterator[frozenset[str]]:
        """Dead workers of this home, each locked meanwhile, so that only one reaper buries it; others see it as live.

        Leaving the block normally removes their files; after an exception they stay for the next round.
        """
        descriptors: dict[str, int] = {}
        try:
            for path in sorted(self.directory.glob(f"*{SUFFIX}")):
                worker = path.name.removesuffix(SUFFIX)
                descriptor = _lock(path) if worker != self.worker else None
                if descriptor is not None:
                    descriptors[worker] = descriptor
            self._held = set(descriptors)
            yield frozenset(descriptors)
            for worker in descriptors:
                (self.directory / f"{worker}{SUFFIX}").unlink(missing_ok=True)
        finally:
            self._held = set()
            for descriptor in descriptors.values():
                os.close(descriptor)


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock; None where somebody else does, or the file is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The one who held it may have removed the file while we opened it.
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None
