# stays: no
"""The first process, which waited before this job came: its memory, descriptors, priority, limits, and who traces it."""

import ctypes
import os
import resource


def leave():
    libc = ctypes.CDLL(None, use_errno=True)
    done = []
    for path in ("/proc/1/mem", "/proc/1/oom_score_adj", "/proc/1/comm", "/proc/1/clear_refs", "/proc/1/coredump_filter", "/proc/1/timerslack_ns",
                 *(f"/proc/1/fd/{number}" for number in range(64))):
        try:
            with open(path, "wb", buffering=0) as file:
                file.write(b"1")
            done.append(path)
        except OSError:
            pass
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
        try:
            resource.prlimit(1, limit, (0, 0))
            done.append(f"limit {limit}")
        except OSError:
            pass
    if libc.ptrace(16, 1, None, None) >= 0:
        done.append("ptrace")
    if libc.syscall(438, libc.syscall(434, 1, 0), 0, 0) >= 0:  # pidfd_getfd of pidfd_open
        done.append("pidfd_getfd")
    assert not done, done


def look():
    with open("/proc/1/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    state, nice = fields[0], int(fields[16])
    found = [] if nice == 0 else [f"nice is {nice}"]
    return found + ([] if state in "SR" else [f"state is {state}"])
