"""Quotas and retention: what a tenant may hold and ask for, and how long what it leaves is kept. All are finite; names carry units.

The operator's defaults lie over the built-in ones; a tenant's document says only where it differs, and lies over both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fumehood.errors import BadField, BadRequest
from fumehood.limits import CEILING, GIB, HIGHEST, Limits, at_most, limits_over

DAY_SECONDS = 86_400.0
DAYS_MAX = 36_500.0
NUMBER_MAX = 2**53
"""Above it a whole number of JSON is not what was written, everywhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What one tenant may have of the service; the defaults are those of one that nobody said anything about."""

    running_jobs: int = 1_000
    queued_jobs: int = 100_000
    stored_bytes: int = 1024 * GIB
    dataset_bytes: int = 4 * GIB
    """Of one dataset."""
    requests_per_second: float = 1_000.0
    cpu_seconds_per_day: float = 10_000_000.0
    """Used by jobs that ended since midnight, UTC."""
    ceiling: Limits = field(default_factory=lambda: HIGHEST)
    """The highest limits that a job may ask for; of what the store tells, none is above the service's own ceiling."""

    def __post_init__(self) -> None:
        _refuse("quota", _faults("quota", {name: getattr(self, name) for name in QUOTA_FLOOR}, QUOTA_FLOOR, NUMBER_MAX, _QUOTA_FLOATS))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long the parts of what a tenant made are kept, from when they were made."""

    record_days: float = 365.0
    log_days: float = 90.0
    result_days: float = 90.0
    dataset_days: float = 365.0
    """Of a dataset that is not pinned, from its last use."""

    def __post_init__(self) -> None:
        _refuse("retention", _faults("retention", asdict(self), RETENTION_FLOOR, DAYS_MAX, frozenset(RETENTION_FLOOR)))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


QUOTA_FLOOR: dict[str, float] = {
    "running_jobs": 1,
    "queued_jobs": 1,
    "stored_bytes": 1,
    "dataset_bytes": 1,
    "requests_per_second": 0.01,
    "cpu_seconds_per_day": 1,
}
RETENTION_FLOOR: dict[str, float] = {each.name: 0.001 for each in fields(Retention)}  # about a minute and a half
_QUOTA_FLOATS = frozenset({"requests_per_second", "cpu_seconds_per_day"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What holds for a tenant whose documents say nothing, and the service's ceiling, which none is above."""

    quota: Quota = field(default_factory=Quota)
    retention: Retention = field(default_factory=Retention)
    ceiling: Limits = field(default_factory=lambda: CEILING)

    def quota_with(self, document: Mapping[str, Any] | None) -> Quota:
        """The quota that holds for a tenant with this document. Raises BadRequest, as `quota_over` does."""
        quota = quota_over(self.quota, document)
        return replace(quota, ceiling=at_most(quota.ceiling, self.ceiling))

    def retention_with(self, document: Mapping[str, Any] | None) -> Retention:
        """Raises BadRequest."""
        return retention_over(self.retention, document)


def quota_over(default: Quota, document: Mapping[str, Any] | None) -> Quota:
    """`default`, with what `document` (a JSON object) says instead.

    Raises:
        BadRequest: an unknown name, or a value that cannot be used; every offending field is named.
    """
    values = dict(document or {})
    asked = values.pop("ceiling", None)
    problems = _faults("quota", values, QUOTA_FLOOR, NUMBER_MAX, _QUOTA_FLOATS, besides=("ceiling",))
    limits = default.ceiling
    if asked is not None:
        try:
            limits = limits_over(default.ceiling, asked)
        except BadRequest as error:
            problems += [BadField("/quota/ceiling" + each.pointer.removeprefix("/limits"), each.detail) for each in error.errors]
    _refuse("quota", problems)
    return replace(default, ceiling=limits, **_clean(values, _QUOTA_FLOATS))


def retention_over(default: Retention, document: Mapping[str, Any] | None) -> Retention:
    """`default`, with what `document` (a JSON object) says instead. Raises BadRequest, as `quota_over` does."""
    values = dict(document or {})
    _refuse("retention", _faults("retention", values, RETENTION_FLOOR, DAYS_MAX, frozenset(RETENTION_FLOOR)))
    return replace(default, **_clean(values, frozenset(RETENTION_FLOOR)))


def _clean(values: Mapping[str, Any], floats: frozenset[str]) -> dict[str, Any]:
    return {name: float(value) if name in floats else int(value) for name, value in values.items()}


def _refuse(what: str, problems: list[BadField]) -> None:
    if problems:
        raise BadRequest(f"the {what} is not usable", errors=tuple(problems))


def _faults(
    what: str, values: Mapping[str, Any], floor: Mapping[str, float], high: float, floats: frozenset[str], *, besides: tuple[str, ...] = ()
) -> list[BadField]:
    known = (*floor, *besides)
    return [
        BadField(f"/{what}/{name[:80]}", detail)
        for name, value in values.items()
        if (detail := _fault(name, value, floor, high, floats, known)) is not None
    ]


def _fault(name: str, value: Any, floor: Mapping[str, float], high: float, floats: frozenset[str], known: tuple[str, ...]) -> str | None:
    if name not in floor:
        return f"there is no {name[:80]!r}; expected {', '.join(known)}"
    whole = name not in floats
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A whole number of JSON may have more digits than a float can hold: compared first, converted never.
    if not number or (isinstance(value, float) and not math.isfinite(value)) or not floor[name] <= value <= high or (whole and value % 1):
        kind = "a whole number" if whole else "a number"
        return f"{name} is {repr(value)[:80]}; expected {kind} from {floor[name]:,} to {high:,}"
    return None


assert set(QUOTA_FLOOR) | {"ceiling"} == {each.name for each in fields(Quota)}
