"""BlobStore: immutable files, one directory per tenant. The bytes are opaque: nothing here looks inside them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO


class BlobStore:
    """Files below `<home>/blobs/<tenant>/<key>`, mode 0444, every directory 0700, same mount as the scratch.

    Keys are made by the service (`datasets/<id>/original`, `jobs/<id>/script.py`, `jobs/<id>/<fence>/result`), never by a
    caller; one that would leave the tenant's directory is a programming error (ValueError).
    """

    def __init__(self, home: Path) -> None:
        raise NotImplementedError

    def incoming(self) -> Incoming:
        """A file in the making, on the same mount. Use as a context manager: what was not kept is removed."""
        raise NotImplementedError

    def keep(self, incoming: Incoming, tenant: str, key: str) -> int:
        """fsync, make read-only, link to its place, fsync the directory. Returns the size in bytes."""
        raise NotImplementedError

    def publish(self, descriptor: int, path: Path, tenant: str, key: str) -> int:
        """Link a finished output file into the store: `descriptor` was opened at its creation and `path` is where it
        lies in the scratch; fchmod 0444, fsync, link (never a copy), fsync the directory. Returns the size in bytes."""
        raise NotImplementedError

    def open(self, tenant: str, key: str) -> BinaryIO:
        """Raises NotFound."""
        raise NotImplementedError

    def size(self, tenant: str, key: str) -> int:
        raise NotImplementedError

    def link_into(self, tenant: str, key: str, directory: Path, name: str) -> int:
        """Hard-link a blob into `directory` as `name`; nothing is copied. Returns the size in bytes.

        Raises:
            NotFound: the blob was deleted since the job was submitted.
            Misconfigured: store and scratch are not on one mount (EXDEV).
        """
        raise NotImplementedError

    def delete(self, tenant: str, prefix: str) -> tuple[int, int]:
        """Remove a blob, or everything below a prefix. Returns files and bytes. Absent is fine."""
        raise NotImplementedError

    def free_bytes(self) -> int:
        """Free space on the store's file system for us (statvfs), 0 when its inodes are nearly used up."""
        raise NotImplementedError


class Incoming:
    """`write(chunk)` counts and hashes as it goes; `bytes`, `sha256` (hex) afterwards. Raises TooLarge past `limit_bytes`
    and DiskFull on ENOSPC."""
