"""Scratch: one private directory per attempt, on the same mount as the blobs."""

from __future__ import annotations

from pathlib import Path

OUTPUTS = ("result.arrow", "result2.arrow", "report.json", "files.bin", "log")


class Scratch:
    """`<home>/scratch/<opaque>/` (0700) with `in/` (0755, read-only mount of the sandbox) and `out/` (five empty files, 0666).

    `name` is random and says nothing; `worker` (a small file inside) names the owner for the reaper. The outputs'
    descriptors are opened when the files are made, and only they are ever read: never a path a second time.
    """

    name: str
    directory: Path
    inside: Path
    outside: dict[str, Path]
    descriptors: dict[str, int]

    @classmethod
    def create(cls, home: Path, *, worker: str) -> Scratch:
        raise NotImplementedError

    def size(self, output: str) -> int:
        """From `fstat`; regular file or SandboxError."""
        raise NotImplementedError

    def read(self, output: str, *, offset: int = 0, limit_bytes: int) -> bytes:
        """At most `limit_bytes`, by descriptor."""
        raise NotImplementedError

    def erase(self) -> tuple[int, int]:
        """Close the descriptors, remove everything, and look that it is gone. Returns files and bytes. Idempotent."""
        raise NotImplementedError
