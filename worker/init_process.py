"""A container's first process, watched directly.

When it is dead, nothing of the container lives: the kernel ends and reaps all others of its pid namespace first. The engine says
the same some 30 ms later, after it has cleaned up.
"""

from __future__ import annotations

import math
import os
import select
from contextlib import suppress
from pathlib import Path
from typing import Self

from worker import runtimes

PROC = Path("/proc")


class InitProcess:
    def __init__(self, descriptor: int) -> None:
        """`descriptor` is one of a process; `close` closes it."""
        self._descriptor = descriptor

    @classmethod
    def find(cls, pid: int, container: str, *, runtime: str, proc: Path = PROC) -> Self | None:
        """By the pid and the full id that the engine tells. None where it cannot be seen from here: a worker that has a pid
        namespace of its own sees nobody under that number, or somebody else."""
        if not runtimes.family(runtime).init_is_watched or not container or pid <= 0:
            return None
        with suppress(OSError):
            found = cls(os.pidfd_open(pid))
            # Looked at in this order: a number may be given to another process meanwhile, a descriptor never.
            if _is_of(container, proc / str(pid) / "cgroup") and not found.ends_within(0):
                return found
            found.close()
        return None

    def ends_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(math.ceil(seconds * 1000)))

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _is_of(container: str, path: Path) -> bool:
    try:
        return container in path.read_text()
    except OSError:
        return False
