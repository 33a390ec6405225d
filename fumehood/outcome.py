"""How a run ended, whose fault it was, and that it is gone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Blame(StrEnum):
    NOBODY = "nobody"
    TENANT = "tenant"
    SERVICE = "service"


class Reason(StrEnum):
    """The closed vocabulary of endings."""

    OK = "ok"
    SCRIPT_ERROR = "script_error"
    BAD_ENTRY_POINT = "bad_entry_point"
    BAD_PARAMETERS = "bad_parameters"
    BAD_RETURN = "bad_return"
    BAD_INPUT = "bad_input"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    OUTPUT_TOO_LARGE = "output_too_large"
    TOO_MANY_PROCESSES = "too_many_processes"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SANDBOX_ERROR = "sandbox_error"
    LOST = "lost"

    @property
    def blame(self) -> Blame:
        return BLAME[self]


# Blame alone decides whether to run again (only the service's own faults) and whether to alert.
BLAME: dict[Reason, Blame] = {reason: Blame.TENANT for reason in Reason} | {
    Reason.OK: Blame.NOBODY,
    Reason.CANCELLED: Blame.NOBODY,
    Reason.EXPIRED: Blame.SERVICE,
    Reason.SANDBOX_ERROR: Blame.SERVICE,
    Reason.LOST: Blame.SERVICE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What one attempt used, by the engine's count and our own clock, never by the tenant's word."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_peak_bytes: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """The receipt: this attempt's container and files were looked for after their removal and are gone.

    Only the journey and the reaper make one, after looking, and the store for a job that never ran. `container` is the one
    that was removed, None where there was none to remove; `files` and `bytes` count what who signs took away.
    """

    container: str | None
    files: int
    bytes: int
    erased_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an attempt ended, and what it left to publish. `report` is the runner's word, for display only."""

    reason: Reason
    message: str = ""
    error: dict[str, Any] | None = None
    usage: Usage = field(default_factory=Usage)
    outputs: dict[str, int] = field(default_factory=dict)
    """Published blobs by name (`result`, `result2`, `files`, `log`), each with its size in bytes."""
    report: dict[str, Any] = field(default_factory=dict)
    """`result`, `result2`, `files`, `notes`, `log` as in docs/wall.md."""
    milliseconds: dict[str, float] = field(default_factory=dict)
    """Time spent in each room of the journey, and the runner's own phases as `run.…`."""
    image: str | None = None
    """The image's digest, `sha256:…`."""
    start: str | None = None
    """`warm` where the sandbox was ready before the job came, `cold` where it was started for it; None where none was used."""
    start_reason: str | None = None
    """Why it was not warm."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
