"""Limits: every bound of a run. All are finite, and every name carries its unit."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fumehood.errors import BadField, BadRequest

KIB, MIB, GIB = 2**10, 2**20, 2**30
PARAMETERS_BYTES = 64 * KIB
ERRAND_DISK_BYTES = 16 * MIB
"""What errands get at most: they write no temporary files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bounds of one run; the defaults are those a job gets when it names none.

    `disk_bytes` is held in memory (tmpfs), so it must stay below `memory_bytes`: a larger file system would end as an
    out-of-memory kill instead of a clear «disk full».
    """

    wall_seconds: float = 300.0
    memory_bytes: int = 2 * GIB
    cpus: float = 1.0
    disk_bytes: int = 512 * MIB
    processes: int = 256
    output_bytes: int = 1 * GIB
    log_bytes: int = 10 * MIB
    figures: int = 200
    bundle_entries: int = 10_000
    bundle_unpacked_bytes: int = 500 * MIB

    def __post_init__(self) -> None:
        problems = [problem for name in FLOOR for problem in _check(name, getattr(self, name), low=FLOOR[name], high=math.inf)]
        if not problems and self.disk_bytes >= self.memory_bytes:
            problems.append(
                BadField(
                    "/limits/disk_bytes",
                    f"disk_bytes is {self.disk_bytes:,}; it is held in memory and must be below memory_bytes, {self.memory_bytes:,}",
                )
            )
        if problems:
            raise BadRequest("the limits are not usable", errors=tuple(problems))

    @property
    def file_bytes(self) -> int:
        """The size cap of every single file the sandbox writes (`RLIMIT_FSIZE`)."""
        return max(self.output_bytes, self.disk_bytes)

    @property
    def reserved_bytes(self) -> int:
        """Disk that an attempt may fill in the worst case: five output files, each up to `file_bytes`."""
        return 5 * self.file_bytes

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Limits:
        return cls(**values)


# The least that a run can start with: the runner itself, with pandas loaded, needs about 60 MB, a few threads, and half a
# second of one processor, three times that where nothing is in the page cache.
FLOOR: dict[str, float] = {
    "wall_seconds": 0.1,
    "memory_bytes": 128 * MIB,
    "cpus": 0.1,
    "disk_bytes": 1 * MIB,
    "processes": 16,
    "output_bytes": 64 * KIB,
    "log_bytes": 4 * KIB,
    "figures": 0,
    "bundle_entries": 1,
    "bundle_unpacked_bytes": 1 * MIB,
}

# What a job may ask for; the bundle's bounds are the operator's.
REQUESTABLE = ("wall_seconds", "memory_bytes", "cpus", "disk_bytes", "processes", "output_bytes", "log_bytes", "figures")

_FLOATS = {"wall_seconds", "cpus"}


def requested(values: dict[str, Any], *, default: Limits, ceiling: Limits) -> Limits:
    """The limits of a job that asks for `values` (a JSON object) on top of `default`.

    Raises:
        BadRequest: an unknown name, a value that is not a positive finite number, or one above `ceiling`; every
            offending field is named.
    """
    problems: list[BadField] = []
    for name, value in values.items():
        if name not in REQUESTABLE:
            problems.append(BadField(f"/limits/{name}", f"there is no limit {name!r}; the limits are {', '.join(REQUESTABLE)}"))
        else:
            problems.extend(_check(name, value, low=FLOOR[name], high=getattr(ceiling, name)))
    if problems:
        raise BadRequest("the limits are not usable", errors=tuple(problems))
    clean: dict[str, Any] = {name: float(value) if name in _FLOATS else int(value) for name, value in values.items()}
    # Asking for less memory alone should not fail on a disk limit that the caller never named.
    if "memory_bytes" in clean and "disk_bytes" not in clean:
        clean["disk_bytes"] = int(min(default.disk_bytes, clean["memory_bytes"] // 2))
    return replace(default, **clean)


def limits_over(default: Limits, values: Any) -> Limits:
    """`default` with `values` (a JSON object) instead, whatever the default's own height: a ceiling may be above another one.

    Raises:
        BadRequest: as `requested` does; pointers begin with `/limits`.
    """
    if not isinstance(values, dict):
        raise BadRequest("the limits are not usable", errors=(BadField("/limits", "expected an object"),))
    return requested(values, default=default, ceiling=HIGHEST)


def at_most(limits: Limits, ceiling: Limits) -> Limits:
    """`limits`, none of those that a job may ask for above the `ceiling`'s."""
    lowered: dict[str, Any] = {name: min(getattr(limits, name), getattr(ceiling, name)) for name in REQUESTABLE}
    lowered["disk_bytes"] = min(lowered["disk_bytes"], lowered["memory_bytes"] - 1)
    return replace(ceiling, **lowered)


def parameters_bytes(parameters: dict[str, Any]) -> int:
    """The size of a job's parameters: as JSON without spaces, in UTF-8, however they were written."""
    return len(json.dumps(parameters, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def check_parameters_size(parameters: dict[str, Any]) -> BadField | None:
    """What is wrong with it."""
    size = parameters_bytes(parameters)
    if size <= PARAMETERS_BYTES:
        return None
    return BadField("/parameters", f"are {size:,} bytes of JSON; the limit is {PARAMETERS_BYTES:,}")


def _check(name: str, value: Any, *, low: float, high: float) -> list[BadField]:
    bound = f"expected a number from {low:,} to {high:,}" if math.isfinite(high) else f"expected a finite number of at least {low:,}"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A whole number of JSON may have more digits than a float can hold.
    if not number or (isinstance(value, float) and not math.isfinite(value)) or (name not in _FLOATS and int(value) != value):
        return [BadField(f"/limits/{name}", f"{name} is {_shown(value)}; {bound}")]
    if not low <= value <= high:
        return [BadField(f"/limits/{name}", f"{name} is {_cut(f'{value:,}')}; {bound}")]
    return []


def _shown(value: Any) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"


CEILING = Limits(
    wall_seconds=3600.0,
    memory_bytes=8 * GIB,
    cpus=2.0,
    disk_bytes=4 * GIB,
    processes=1024,
    output_bytes=4 * GIB,
    log_bytes=50 * MIB,
    figures=1000,
    bundle_entries=10_000,
    bundle_unpacked_bytes=500 * MIB,
)

assert set(FLOOR) == {field.name for field in fields(Limits)}

HIGHEST = Limits(
    **{name: 2**53 for name in FLOOR if name not in (*_FLOATS, "disk_bytes")},
    **dict.fromkeys(_FLOATS, float(2**53)),  # type: ignore[arg-type]
    disk_bytes=2**53 - 1,
)
"""No bound but the form: the ceiling of a tenant that has none but the service's."""
