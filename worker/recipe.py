"""What sandboxes are made with that no job has asked for: those that wait for one, and the one that proves the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from fumehood.limits import ERRAND_DISK_BYTES, MIB, Limits
from fumehood.settings import Settings
from worker.sandbox import Sandbox, StopSignal

# Limits that are the engine's to change of a container that lives.
FITTED = ("memory_bytes", "cpus", "processes")
PROBE_LIMITS = Limits(memory_bytes=512 * MIB, disk_bytes=16 * MIB, output_bytes=1 * MIB, wall_seconds=5.0)


class Making(Protocol):
    """What sandboxes that wait are made with, and how many may."""

    @property
    def limits(self) -> Limits: ...

    @property
    def at_least(self) -> int: ...

    @property
    def at_most(self) -> int: ...

    @property
    def idle_cpu_seconds(self) -> float | None:
        """So much of the processors one may use while it waits; None where nothing in it could use any."""

    def unfit(self, limits: Limits) -> str | None:
        """Why a sandbox of this recipe cannot get `limits` any more; None where it can."""

    @property
    def owner(self) -> str | None:
        """The tenant that they are for; None where they are for everybody."""

    def furnish(self, sandbox: Sandbox, stop: StopSignal) -> None:
        """Put into a sandbox that is ready what it is to wait with. Raises anything; the sandbox is thrown away then."""

    def gone(self, sandbox: Sandbox, *, cpu_seconds: float) -> None:
        """It and its files are gone, and it served nobody; it has used so much of the processors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """For jobs of any tenant: nothing of anybody's is in them."""

    limits: Limits
    at_least: int
    at_most: int
    changeable: bool = True
    """Memory, processors and processes can be changed of a sandbox that waits: most runtimes can."""
    idle_cpu_seconds: float | None = None
    owner: str | None = None

    def unfit(self, limits: Limits) -> str | None:
        """Its runner can lower the size of a file."""
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

    def furnish(self, sandbox: Sandbox, stop: StopSignal) -> None:
        """They wait as they are."""

    def gone(self, sandbox: Sandbox, *, cpu_seconds: float) -> None:
        """Nothing was written down of it."""


def errand_limits(settings: Settings) -> Limits:
    """What every errand can be fitted into."""
    most = settings.ceiling.output_bytes
    return replace(settings.limits, disk_bytes=min(ERRAND_DISK_BYTES, settings.limits.disk_bytes), output_bytes=most)
