"""System calls around processes: hardening, the end of everything, and the container's own figures."""

import ctypes
import os
import resource
import signal
import time

PR_SET_DUMPABLE = 4
LIBC = ctypes.CDLL(None, use_errno=True)


def set_dumpable(value: bool) -> None:
    """A dumpable process can be traced, and its memory written, by any other of the same uid."""
    if LIBC.prctl(PR_SET_DUMPABLE, int(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


def lower_file_limit(file_bytes: int) -> None:
    """No file of this process or its children can grow past `file_bytes` (EFBIG, not a signal: Python ignores SIGXFSZ)."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard != resource.RLIM_INFINITY:
        file_bytes = min(file_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def reap() -> dict[int, int]:
    """Collect every dead child without waiting; maps process id to wait status.

    As the first process we inherit all orphans, so this also clears the zombies of the script.
    """
    ended = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def kill_all(seconds: float) -> dict[int, int]:
    """Kill every other process of the container and collect all of them; maps process id to wait status.

    Raises:
        TimeoutError: something was still there after `seconds` (a process in an uninterruptible wait).
    """
    deadline = time.monotonic() + seconds
    ended = {}
    while True:
        try:
            # To a first process, -1 means everybody else in its process namespace. The kernel does it in one step
            # that no fork can slip through.
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            ended |= reap()
            return ended
        ended |= reap()
        if time.monotonic() > deadline:
            raise TimeoutError("a process of the script could not be ended")
        time.sleep(0.001)


def _read_figure(path: str, key: str | None = None) -> int | None:
    """A number from a cgroup file: the whole file, or the value after `key`."""
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(4096).decode()
    except (OSError, ValueError):
        return None
    words = text.split() if key is None else next((line.split()[1:] for line in text.splitlines() if line.startswith(key + " ")), [])
    return int(words[0]) if words and words[0].isdigit() else None


# cgroup v2 first, then v1.
MEMORY_PEAK = (("/sys/fs/cgroup/memory.peak", None), ("/sys/fs/cgroup/memory/memory.max_usage_in_bytes", None))
OOM_KILLS = (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"))


def first_figure(places: tuple) -> int | None:
    """The first of `places` that can be read; None where the container cannot see its cgroup."""
    return next((value for path, key in places if (value := _read_figure(path, key)) is not None), None)
