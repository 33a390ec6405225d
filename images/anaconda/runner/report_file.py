"""Putting the report where the worker reads it, even on a full disk."""

import contextlib
import os

from . import disk, places, report


def write(descriptor: int, text: bytes) -> bool:
    """Write the report. On a full disk of the host: a short one in place of all other outputs, or False and none."""
    try:
        replace(descriptor, text)
        return True
    except OSError as error:
        if not disk.means_full(error):
            raise
        for path in (places.RESULT, places.RESULT2, places.FILES, places.LOG):
            with contextlib.suppress(OSError):
                os.truncate(path, 0)
        short = report.of_failure("sandbox_error", error)
    try:
        replace(descriptor, short)
    except OSError:
        return False
    return True


def replace(descriptor: int, text: bytes) -> None:
    """Replace whatever is in the file: the script could write there as well, while it lived."""
    written = 0
    while written < len(text):
        written += os.pwrite(descriptor, text[written:], written)
    os.ftruncate(descriptor, written)
