"""Emptying a directory, whatever a script made of it."""

import contextlib
import os
import stat


def empty(directory: str) -> None:
    """Remove all that is below. Deep trees are taken apart from the top, so that no path gets long; nothing is followed.

    Raises:
        OSError: something cannot be removed.
    """
    # Where it is not ours the script could not close it either.
    with contextlib.suppress(PermissionError):
        os.chmod(directory, 0o700)
    # Names that nothing in there has.
    lifted, number = os.urandom(8).hex(), 0
    while entries := os.listdir(directory):
        for name in entries:
            path = os.path.join(directory, name)
            if not is_directory(path):
                os.unlink(path)
                continue
            os.chmod(path, 0o700)
            for inner in os.listdir(path):
                inner_path = os.path.join(path, inner)
                if is_directory(inner_path):
                    # To move a directory it must be writable itself: its parent is noted in it.
                    os.chmod(inner_path, 0o700)
                    os.rename(inner_path, os.path.join(directory, f"{lifted}-{number}"))
                    number += 1
                else:
                    os.unlink(inner_path)
            os.rmdir(path)


def is_directory(path: str) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)
