"""Dataset: an immutable blob of one tenant, with the description that a sandbox made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fumehood.quota import DAY_SECONDS, Retention

# format → media types that name it (the first is what we answer with) and file name endings.
FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "arrow": (("application/vnd.apache.arrow.file",), (".arrow", ".feather", ".ipc")),
    "arrow-stream": (("application/vnd.apache.arrow.stream",), (".arrows",)),
    "parquet": (("application/vnd.apache.parquet", "application/x-parquet"), (".parquet", ".pq")),
    "csv": (("text/csv", "application/csv"), (".csv",)),
    "json": (("application/json",), (".json",)),
    "ndjson": (("application/x-ndjson", "application/ndjson", "application/jsonl"), (".ndjson", ".jsonl")),
    "zip": (("application/zip", "application/x-zip-compressed"), (".zip",)),
}
ARROW = FORMATS["arrow"][0][0]
TABLE_FORMATS = tuple(name for name in FORMATS if name != "zip")
STUDIO = "studio"
"""A whole request of a client of Azure Machine Learning Studio, or an answer for one; `-types` and `-records` are other answers. Only a
call of a script reads or writes them, in its sandbox: nobody can upload one, and none is made of a stored table."""
ALL_FORMATS = FORMATS | dict.fromkeys((STUDIO, f"{STUDIO}-types", f"{STUDIO}-records"), FORMATS["json"])
"""Whatever a job's input or result may be in."""


def format_of(media_type: str | None, file_name: str | None) -> str | None:
    """The format that a media type or else a file name's ending says; None where neither says one."""
    plain = (media_type or "").partition(";")[0].strip().lower()
    for name, (media_types, _) in FORMATS.items():
        if plain in media_types:
            return name
    lower = (file_name or "").lower()
    for name, (_, endings) in FORMATS.items():
        if lower.endswith(endings):
            return name
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """`blob` is the original as it came; `table_blob` its canonical Arrow form (None for a zip)."""

    id: str
    tenant: str
    name: str
    format: str
    bytes: int
    sha256: str
    blob: str
    table_blob: str | None
    table_bytes: int | None
    rows: int
    columns: list[dict[str, Any]] = field(default_factory=list)
    """`[{"name", "type", "nullable"}]`: the runner's word, for display only."""
    created_at: float = 0.0
    kept_seconds: float | None = Retention().dataset_days * DAY_SECONDS
    """How long it stays after its last use; None where it does for ever."""
    expires_at: float | None = None
    """None where it is pinned, and until it is stored."""
    pinned: bool = False
