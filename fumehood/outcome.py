"""How a run ended, whose fault it was, and that it is gone."""

from __future__ import annotations

import re
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


_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """The receipt: this attempt's container and files were looked for after their removal and are gone.

    Only the journey and the reaper make one, after looking, and the store for a job that never ran. `files` and `bytes` count
    what the worker that signs took away. Times are seconds since the epoch by the worker's own clock, which may jump: nothing here says
    that one is before the other. What is signed, and how, stands in `fumehood.receipt`.

    Raises ValueError for what no erasure can be.
    """

    job: str
    attempt: int
    fence: int
    worker: str | None
    """Who removed it and looked. None where nobody had to: the job never ran."""
    container: str | None
    """Name of the container that was removed; None where there was none to remove."""
    container_id: str | None
    """Its full id at the engine. None beside a name only in a receipt of before ids were kept, which nobody signed."""
    began_at: float | None
    """When the container was made; None where there is no id."""
    files: int
    bytes: int
    erased_at: float
    key: str | None = None
    """Fingerprint of the key that signed; None together with `signature`."""
    signature: str | None = None

    def __post_init__(self) -> None:
        wrong = [name for name in ("attempt", "fence", "files", "bytes") if getattr(self, name) < 0]
        if wrong:
            raise ValueError(f"{wrong[0]} of an erasure is {getattr(self, wrong[0])}; expected no less than 0")
        if (self.container_id is None) != (self.began_at is None) or (self.container is None and self.container_id is not None):
            raise ValueError("an erasure names a part of its container; expected name, id and beginning, or none of them")
        if self.container_id is not None and not _CONTAINER_ID.fullmatch(self.container_id):
            raise ValueError(f"a container's id is {self.container_id!r}; expected 64 hexadecimal digits")
        if (self.key is None) != (self.signature is None):
            raise ValueError("an erasure has a signature or the name of a key; expected both or none")
        if self.signature is not None and (self.worker is None or (self.container is not None and self.container_id is None)):
            raise ValueError("a signed erasure names no worker or not the id of its container; expected both")


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
    """`result`, `result2`, `files`, `notes`, `log` as in docs/wall.md; of a check also `entry` and `schemas`, and `answer` where the result
    was asked for in a format."""
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
