"""The host's disk. The outputs lie on it, while all that a script may fill is memory: a full disk is nobody's fault in here.

Only the supervisor's own look counts. A script that could say «the disk is full» would be run again for free.
"""

import errno
import os

from . import places

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# File systems refuse a little before they are empty. Nobody runs jobs on so little.
LEAST_FREE_BYTES = 16 * 1024 * 1024
MESSAGE = "The host's disk is full, so an output of the job could not be written."


def means_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in FULL


def is_full() -> bool:
    """True if an ordinary user can hardly write another byte where the outputs lie; False where that cannot be seen."""
    try:
        found = os.statvfs(places.RESULT)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < LEAST_FREE_BYTES
