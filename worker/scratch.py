"""Scratch: one private directory per attempt, on the same mount as the blobs."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fumehood.errors import SandboxError

OUTPUTS = ("result.arrow", "result2.arrow", "report.json", "files.bin", "log")
OWNER = "worker"
# Without a network the engine writes no names, and hides what an image says: not even localhost would be found.
HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost\n"


@dataclass(kw_only=True, slots=True)
class Removed:
    """Files and bytes on disk that were taken away, added up over every try: one that fails half-way has removed some as well."""

    files: int = 0
    bytes: int = 0


class Scratch:
    """`<home>/scratch/<opaque>/` (0700) with `in/` (0755, read-only mount of the sandbox) and `out/` (five empty files, 0666).

    `name` is random and says nothing; `worker` (a small file inside) names the owner for the reaper, `hosts` (another) becomes
    the sandbox's /etc/hosts. The outputs'
    descriptors are opened when the files are made, and only they are ever read: never a path a second time.
    """

    def __init__(self, home: Path, name: str, descriptors: dict[str, int]) -> None:
        self.name = name
        self.directory = home / "scratch" / name
        self.inside = self.directory / "in"
        self.hosts = self.directory / "hosts"
        self.outside = {output: self.directory / "out" / output for output in OUTPUTS}
        self.descriptors = descriptors
        self._removed = Removed()

    @classmethod
    def create(cls, home: Path, *, worker: str) -> Scratch:
        """Make the directory under a name that carries the owner, then rename it: the reaper never finds one without owner.

        Raises:
            SandboxError: the file system refused; nothing is left.
        """
        name = secrets.token_hex(16)
        parent = home / "scratch"
        unfinished = parent / f".{name}.{worker}"
        scratch = cls(home, name, {})
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.mkdir(mode=0o700)
            (unfinished / OWNER).write_text(worker)
            (unfinished / "hosts").write_text(HOSTS)
            (unfinished / "hosts").chmod(0o444)
            (unfinished / "in").mkdir()
            (unfinished / "in").chmod(0o755)
            (unfinished / "out").mkdir(mode=0o700)
            for output in OUTPUTS:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                scratch.descriptors[output] = os.open(unfinished / "out" / output, flags, 0o600)
                # The sandbox's uid owns nothing here, so it needs the mode; nobody else gets past the directory's 0700.
                os.fchmod(scratch.descriptors[output], 0o666)
            unfinished.rename(scratch.directory)
        except OSError as error:
            scratch._close()
            _remove(unfinished, Removed())
            raise SandboxError(f"the attempt's directory could not be made: {error.strerror}") from error
        return scratch

    def size(self, output: str) -> int:
        """From `fstat`; regular file or SandboxError."""
        found = os.fstat(self.descriptors[output])
        if not stat.S_ISREG(found.st_mode):
            raise SandboxError(f"output {output} has mode {found.st_mode:o}; expected a regular file")
        return found.st_size

    def read(self, output: str, *, offset: int = 0, limit_bytes: int) -> bytes:
        """At most `limit_bytes`, by descriptor."""
        chunks: list[bytes] = []
        while limit_bytes > 0:
            chunk = os.pread(self.descriptors[output], min(limit_bytes, 1 << 20), offset)
            if not chunk:
                break
            chunks.append(chunk)
            offset += len(chunk)
            limit_bytes -= len(chunk)
        return b"".join(chunks)

    def erase(self) -> Removed:
        """Close the descriptors, remove everything, and look that it is gone. Returns what this and every earlier try removed.

        Raises:
            SandboxError: it is still there; another try goes on from here.
        """
        self._close()
        erase_directory(self.directory, self._removed)
        return replace(self._removed)

    def _close(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors.clear()


def owners(home: Path) -> Iterator[tuple[Path, str]]:
    """Every scratch directory of this home, unfinished ones too, with the worker that made it (empty where nobody can say)."""
    parent = home / "scratch"
    for directory in sorted(parent.iterdir()) if parent.is_dir() else []:
        if not directory.is_dir():
            continue
        if directory.name.startswith("."):
            yield directory, directory.name.partition(".")[2].partition(".")[2]
            continue
        try:
            yield directory, (directory / OWNER).read_text()[:200]
        except PermissionError:
            yield directory, ""  # Another user's, so nobody's here; it will not let itself be removed, and who tries says so.
        except FileNotFoundError:
            # Erased while we were looking, or half erased by a worker that died over it.
            if directory.exists():
                yield directory, ""


def erase_directory(directory: Path, removed: Removed) -> None:
    """Remove a scratch directory, if there is one, and look that it is gone. What goes is added to `removed`, also where it fails.

    Raises:
        SandboxError: it is still there.
    """
    _remove(directory, removed)
    if os.path.lexists(directory):
        raise SandboxError("the attempt's directory is still there after its removal; expected it to be gone")


def _remove(directory: Path, removed: Removed) -> None:
    """Everything below is ours (a sandbox can only write into files that exist), so the tree is two levels deep."""
    try:
        # The owner's name goes last: what a dying worker leaves half removed can still be told apart.
        for path in sorted(directory.rglob("*"), key=lambda path: (path.name == OWNER, -len(path.parts))):
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode):
                path.rmdir()
            else:
                path.unlink()
                removed.files += 1
                # A file may hold more blocks than its size says; `st_blocks` counts in 512 bytes whatever the file system's are.
                removed.bytes += max(found.st_size, 512 * found.st_blocks)
        directory.rmdir()
    except FileNotFoundError:
        pass  # Somebody else removes it too: the reaper and a worker that came back.
    except OSError as error:
        raise SandboxError(f"the attempt's directory could not be removed: {error.strerror}") from error
