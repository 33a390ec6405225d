"""BlobStore: immutable files, one directory per tenant. The bytes are opaque: nothing here looks inside them."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from fumehood.blob_files import Incoming, Unsettled, disk, remove
from fumehood.errors import SandboxError
from fumehood.files import is_at, lock_if_free, make_private, sync_directory
from fumehood.limits import GIB

# One step of a key. Everything a key is made of comes from the service: ids, numbers, names of outputs.
_STEP = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")

# Below so many free inodes the disk counts as full, whatever bytes are left.
_INODES_FLOOR = 10_000

# A tenant's id and a prefix are far shorter.
_NOTE_BYTES = 1024


class BlobStore:
    """Files below `<home>/blobs/<tenant>/<key>`, mode 0444, every directory 0700, same mount as the scratch.

    Keys are made by the service (`datasets/<id>/original`, `jobs/<id>/script.py`, `jobs/<id>/<fence>/result`), never by a
    caller; one that would leave the tenant's directory is a programming error (ValueError). A key is written once: a
    second file under it is a FileExistsError. What the disk refuses is DiskFull or StoreUnavailable.
    """

    def __init__(self, home: Path) -> None:
        self._blobs = home / "blobs"
        self._incoming = home / "incoming"
        self._unsettled = home / "unsettled"
        with disk():
            for directory in (self._blobs, self._incoming, self._unsettled):
                make_private(directory)
                # The blobs are world-readable files; one that was made or restored by other means must not open them.
                directory.chmod(0o700)

    def incoming(self, *, limit_bytes: int = 64 * GIB, floor_bytes: int = 0) -> Incoming:
        """A file in the making, on the same mount, which stops where less than `floor_bytes` would stay free for everybody
        else. Use as a context manager: what was not kept is removed."""
        return Incoming(self._incoming, limit_bytes=limit_bytes, floor_bytes=floor_bytes, free_bytes=self.free_bytes)

    def sweep_incoming(self) -> int:
        """Remove the files in the making whose process is gone (nobody holds their lock). Returns how many."""
        swept = 0
        with disk():
            for path in sorted(self._incoming.iterdir()):
                descriptor = lock_if_free(path)
                if descriptor is not None:
                    path.unlink(missing_ok=True)
                    os.close(descriptor)
                    swept += 1
        return swept

    def unsettled(self, tenant: str, prefix: str) -> Unsettled:
        """Around the time in which only one of the two is there: blobs below `prefix`, and the row that names them. Whoever dies
        in it leaves a note behind, and `settle` then finishes what was begun. A context manager."""
        self._place(tenant, prefix)
        return Unsettled(self._unsettled, tenant, prefix)

    def settle(self, is_named: Callable[[str, str], bool]) -> int:
        """Remove what the dead left without a row: `is_named(tenant, prefix)` asks for it. Returns how many prefixes."""
        removed = 0
        with disk():
            notes = sorted(self._unsettled.iterdir())
        for note in notes:
            with disk():
                descriptor = lock_if_free(note)
            if descriptor is None:
                continue
            try:
                tenant, _, prefix = os.read(descriptor, _NOTE_BYTES).decode().partition("/")
                # A note without a word is of one who died before there was a blob.
                if prefix and not is_named(tenant, prefix):
                    self.delete(tenant, prefix)
                    removed += 1
                with disk():
                    note.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
        return removed

    def keep(self, incoming: Incoming, tenant: str, key: str) -> int:
        """fsync, make read-only, link to its place, fsync the directory. Returns the size in bytes."""
        return self.keep_all(tenant, {key: incoming})[key]

    def keep_all(self, tenant: str, incoming: Mapping[str, Incoming]) -> dict[str, int]:
        """The same for several, by key."""
        sizes = self.publish_all(tenant, {key: (each.descriptor, each.path) for key, each in incoming.items()})
        for each in incoming.values():
            each.close()
        return sizes

    def publish(self, descriptor: int, path: Path, tenant: str, key: str) -> int:
        """`publish_all` of one file. Returns the size in bytes."""
        return self.publish_all(tenant, {key: (descriptor, path)})[key]

    def publish_all(self, tenant: str, finished: Mapping[str, tuple[int, Path]]) -> dict[str, int]:
        """Link finished output files into the store, by key: the descriptor was opened at the file's creation and the path is where
        it lies in the scratch; fchmod 0444, fsync, link (never a copy), and each directory fsynced once, after all of its names.
        Returns the sizes in bytes, by key. Where one fails, those before it are there.

        Raises:
            SandboxError: what lies at the path is not the regular file behind the descriptor.
            Misconfigured: store and scratch are not on one mount (EXDEV).
        """
        sizes: dict[str, int] = {}
        directories: set[Path] = set()
        with disk():
            for key, (descriptor, path) in finished.items():
                place = self._place(tenant, key)
                facts = os.fstat(descriptor)
                if not stat.S_ISREG(facts.st_mode) or not is_at(path, facts):
                    raise SandboxError("the file to publish is not the one that was made for it")
                os.fchmod(descriptor, 0o444)
                os.fsync(descriptor)
                if place.parent not in directories:
                    make_private(place.parent)
                    directories.add(place.parent)
                os.link(path, place, follow_symlinks=False)
                sizes[key] = facts.st_size
            for directory in directories:
                sync_directory(directory)
        return sizes

    def open(self, tenant: str, key: str) -> BinaryIO:
        """Raises NotFound."""
        with disk():
            return self._place(tenant, key).open("rb")

    def size(self, tenant: str, key: str) -> int:
        """Raises NotFound."""
        with disk():
            return self._place(tenant, key).lstat().st_size

    def link_into(self, tenant: str, key: str, directory: Path, name: str) -> int:
        """Hard-link a blob into `directory` as `name`; nothing is copied. Returns the size in bytes.

        Raises:
            NotFound: the blob was deleted since the job was submitted.
            Misconfigured: store and scratch are not on one mount (EXDEV).
        """
        if not _STEP.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a linked file")
        place = self._place(tenant, key)
        with disk():
            os.link(place, directory / name, follow_symlinks=False)
            return place.lstat().st_size

    def copy_into(self, tenant: str, key: str, directory: Path, name: str, *, offset: int, length: int) -> int:
        """Copy a window of a blob into `directory` as `name`, read-only for everybody. Returns `length`.

        Raises:
            NotFound: the blob was deleted since the job was submitted.
            StoreUnavailable: the blob ends before the window does.
        """
        if not _STEP.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a copied file")
        with disk(), self._place(tenant, key).open("rb") as source:
            target = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            try:
                at, end = offset, offset + length
                while at < end:
                    copied = os.copy_file_range(source.fileno(), target, end - at, offset_src=at)
                    if copied == 0:
                        raise OSError(errno.EIO, "a blob ends early")
                    at += copied
                os.fchmod(target, 0o444)
            finally:
                os.close(target)
        return length

    def link(self, tenant: str, key: str, new_key: str) -> int:
        """Give a blob a second key, durably; nothing is copied. Returns the size in bytes. Raises NotFound."""
        source, place = self._place(tenant, key), self._place(tenant, new_key)
        with disk():
            size = source.lstat().st_size
            make_private(place.parent)
            os.link(source, place, follow_symlinks=False)
            sync_directory(place.parent)
        return size

    def delete(self, tenant: str, prefix: str) -> tuple[int, int]:
        """Remove a blob, or everything below a prefix. Returns files and bytes. Absent is fine."""
        place = self._place(tenant, prefix)
        with disk():
            files, size = remove(place)
            if files:
                sync_directory(place.parent)
        return files, size

    def some_of(self, tenant: str, *, limit: int) -> list[str]:
        """Prefixes, `<room>/<id>`, below which a tenant may have blobs; at most so many."""
        found = []
        with disk():
            top = self._blobs / tenant
            for room in sorted(top.iterdir()) if _STEP.fullmatch(tenant) and top.is_dir() else ():
                inside = [f"{room.name}/{each.name}" for each in room.iterdir()] if room.is_dir() else []
                found += inside or [room.name]
                if len(found) >= limit:
                    break
        return found[:limit]

    def leave(self, tenant: str) -> bool:
        """Remove what is left of a tenant's place when its blobs are gone. False where something is still there, or somebody is just
        making, or removing, a blob of it."""
        self._place(tenant, "any")
        with disk():
            for note in self._unsettled.iterdir():
                try:
                    if note.read_bytes()[:_NOTE_BYTES].decode().startswith(f"{tenant}/"):
                        return False
                except FileNotFoundError:
                    continue
            try:
                (self._blobs / tenant).rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                return False
        return True

    def free_bytes(self) -> int:
        """Free space on the store's file system for us (statvfs), 0 when its inodes are nearly used up."""
        with disk():
            facts = os.statvfs(self._blobs)
        # Some file systems have no fixed number of inodes and say 0 of 0.
        if facts.f_files and facts.f_favail < min(_INODES_FLOOR, facts.f_files // 20):
            return 0
        return facts.f_bavail * facts.f_frsize

    def _place(self, tenant: str, key: str) -> Path:
        steps = [tenant, *key.split("/")]
        if not all(_STEP.fullmatch(step) for step in steps):
            raise ValueError(f"{key!r} of tenant {tenant!r} is no key")
        return self._blobs.joinpath(*steps)
