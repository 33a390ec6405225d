"""What sandboxes are made with that no job has asked for: those that wait for one, and the one that proves the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fumehood.limits import ERRAND_DISK_BYTES, MIB, Limits
from fumehood.settings import Settings

# Limits that are the engine's to change of a container that lives.
FITTED = ("memory_bytes", "cpus", "processes")
PROBE_LIMITS = Limits(memory_bytes=512 * MIB, disk_bytes=16 * MIB, output_bytes=1 * MIB, wall_seconds=5.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What the sandboxes of a lane are made with, and how many may wait."""

    limits: Limits
    at_least: int
    at_most: int
    changeable: bool = True
    """Memory, processors and processes can be changed of a sandbox that waits: most runtimes can."""

    def unfit(self, limits: Limits) -> str | None:
        """Why a sandbox of this recipe cannot get `limits` any more; None where it can. Its runner can lower the size of a file."""
        ours = self.limits
        for name in () if self.changeable else FITTED:
            if getattr(limits, name) != getattr(ours, name):
                return (
                    f"{name} is {getattr(limits, name):,}; warm sandboxes have {getattr(ours, name):,}, and this runtime cannot change it"
                )
        if limits.disk_bytes != ours.disk_bytes:
            return f"disk_bytes is {limits.disk_bytes:,}; warm sandboxes have {ours.disk_bytes:,}"
        if limits.file_bytes > ours.file_bytes:
            return f"output_bytes is {limits.output_bytes:,}; warm sandboxes can write {ours.file_bytes:,} into a file"
        return None


def errand_limits(settings: Settings) -> Limits:
    """What every errand can be fitted into."""
    most = settings.ceiling.output_bytes
    return replace(settings.limits, disk_bytes=min(ERRAND_DISK_BYTES, settings.limits.disk_bytes), output_bytes=most)
