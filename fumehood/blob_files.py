"""Files of the blob store in the making and in the going: a body that comes, a note of what is not settled, and what the disk refuses."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import structlog

from fumehood.errors import DiskFull, Misconfigured, NotFound, StoreUnavailable, TooLarge
from fumehood.files import create_locked
from fumehood.limits import MIB

log = structlog.get_logger()

# How much of a body is written between two looks at the free space.
_LOOK_EVERY_BYTES = 16 * MIB


class Incoming:
    """`write(chunk)` counts and hashes as it goes; `bytes`, `sha256` (hex) afterwards. Raises TooLarge past `limit_bytes`
    and DiskFull on ENOSPC, or below `floor_bytes` of free space: looked at before the first byte and every 16 MiB, so that
    uploads which come at once cannot together use up what a look at each one's beginning has let pass.

    The file holds a lock while it is written, so that a sweeper can tell it from one that a dead process left.
    """

    def __init__(self, directory: Path, *, limit_bytes: int, floor_bytes: int, free_bytes: Callable[[], int]) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._floor_bytes, self._free_bytes, self._look_at_bytes = floor_bytes, free_bytes, 0
        self._hash = hashlib.sha256()
        with disk():
            self.path, self.descriptor = create_locked(directory)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        if self.bytes + len(chunk) > self.limit_bytes:
            size = self.bytes + len(chunk)
            raise TooLarge(f"the body has {size:,} bytes or more; the limit is {self.limit_bytes:,}", limit=self.limit_bytes, value=size)
        if self.bytes + len(chunk) > self._look_at_bytes:
            self._require_floor(len(chunk))
            self._look_at_bytes = self.bytes + len(chunk) + _LOOK_EVERY_BYTES
        rest = memoryview(chunk)
        with disk():
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        self._hash.update(chunk)
        self.bytes += len(chunk)

    def _require_floor(self, next_bytes: int) -> None:
        free = self._free_bytes()
        if free < self._floor_bytes + next_bytes:
            # Nobody who sends learns how many: see `api.errands.check_space`.
            log.info("disk full", free_bytes=free, taken_bytes=self.bytes, needed_bytes=next_bytes, floor_bytes=self._floor_bytes)
            raise DiskFull(f"too few bytes are free for what comes after {self.bytes:,} of the body", retry_after_seconds=30)

    def close(self) -> None:
        """Give up the name and the lock; what was kept stays where it was linked to. Idempotent."""
        if self.descriptor >= 0:
            with disk():
                self.path.unlink(missing_ok=True)
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Unsettled:
    """A note that says whose blobs and row are just being made, or removed, together; locked while its writer lives.

    It is taken away at the end of the block, except after StoreUnavailable: then nobody knows whether the row is there.
    """

    def __init__(self, directory: Path, tenant: str, prefix: str) -> None:
        with disk():
            self._path, self._descriptor = create_locked(directory)
            try:
                os.write(self._descriptor, f"{tenant}/{prefix}".encode())
            except OSError:
                self._path.unlink(missing_ok=True)
                os.close(self._descriptor)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, StoreUnavailable):
            with disk():
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def disk() -> Iterator[None]:
    """What the operating system refuses, in our words: no message holds a path."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("the blob is not there") from error
    except FileExistsError:
        raise  # a key written twice: a programming error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DiskFull("the disk is full", retry_after_seconds=60) from error
        if error.errno == errno.EXDEV:
            raise Misconfigured(
                "blobs and scratch are not on one mount; expected the whole home on one, mounted once and at the same path everywhere"
            ) from error
        raise StoreUnavailable(f"the blob store does not answer ({errno.errorcode.get(error.errno or 0, 'unknown')})") from error


def remove(path: Path) -> tuple[int, int]:
    """Files and bytes removed at `path` and below it; links are removed and never followed."""
    try:
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode):
            path.unlink()
            return 1, facts.st_size
        below = [remove(child) for child in path.iterdir()]
        path.rmdir()
    except FileNotFoundError:
        return 0, 0  # another one removes it too
    return sum(files for files, _ in below), sum(size for _, size in below)
