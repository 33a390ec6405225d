# expect: ok
# promise: 5
"""Slows the supervisor down, as processes of one user may: its disk's order, its memory's place, its pages."""

import ctypes
import os

import pandas

IOPRIO_SET, MOVE_PAGES, MIGRATE_PAGES, PROCESS_MADVISE, PROCESS_MRELEASE, SCHED_SETATTR = 251, 279, 256, 440, 448, 314
IDLE, BATCH = 3 << 13, (ctypes.c_uint32 * 14)(56, 3)


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    supervisor = os.pidfd_open(1)
    mask = (ctypes.c_ulong * 16)(1)
    calls = {
        "ioprio_set": (IOPRIO_SET, 1, 1, IDLE), "sched_setattr": (SCHED_SETATTR, 1, BATCH, 0), "move_pages": (MOVE_PAGES, 1, 0, None, None, None, 0),
        "migrate_pages": (MIGRATE_PAGES, 1, 64, mask, mask), "process_madvise": (PROCESS_MADVISE, supervisor, None, 0, 20, 0),
        "process_mrelease": (PROCESS_MRELEASE, supervisor, 0),
    }  # fmt: skip
    done = [name for name, arguments in calls.items() if libc.syscall(*arguments) >= 0]
    assert not done, done


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
