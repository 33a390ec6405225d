"""Values: what the service tells of, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A stored table or bundle; can be given to `run` as often as you like. For a zip `rows` counts its entries.

    `columns`: `[{"name", "type", "nullable"}]`; `pinned`: whether it stays until it is deleted; `expires_at`: until when it stays
    otherwise, unless it is used; `record`: all that the service says of it.
    """

    id: str
    name: str
    format: str
    bytes: int
    rows: int
    columns: list[dict[str, Any]] = field(repr=False)
    pinned: bool = False
    expires_at: str | None = None
    record: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobOutput:
    """A table that a job left, `output` being `result` or `result2`: an input of another run, without a download."""

    job: str
    output: str


def dataset_of(record: dict[str, Any]) -> Dataset:
    names = ("id", "name", "format", "bytes", "rows", "columns", "pinned", "expires_at")
    return Dataset(**{name: record[name] for name in names if name in record}, record=record)
