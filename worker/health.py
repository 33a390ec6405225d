"""`python -I -S worker/health.py HOME`: exit 0 where a worker of this host lives and its loop went round lately.

For the health check of a container, many times a minute: the standard library only, and as little of it as will do. Without
store, Redis or engine: those may be away for a while, and a restart of the worker would not bring them back.
"""

# ruff: noqa: PTH118, PTH208
# (pathlib takes longer to import than all of this to run.)
from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time


def healthy(home: str) -> bool:
    directory = os.path.join(home, "workers")
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return any(name.endswith(".lock") and not name.startswith(".") and _lives(os.path.join(directory, name)) for name in names)


def _lives(path: str) -> bool:
    """Whether the registration is a worker's of this host, pulsed in time, and is locked: the kernel lets go of a dead one's."""
    try:
        with open(path, "rb") as file:
            facts = json.loads(file.read(4096))
            age_seconds = time.time() - os.fstat(file.fileno()).st_mtime
            # A clock that was set back makes an age negative; the lock still says that the process lives.
            if facts["host"] != socket.gethostname() or age_seconds > facts["pulse_seconds"]:
                return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return False


if __name__ == "__main__":
    sys.exit(0 if healthy(sys.argv[1]) else 1)
