"""Chunk: a job that runs many items of one batch. What its sandbox is given for them, and what its report says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fumehood.blob_store import BlobStore
from fumehood.job import Input, Job
from fumehood.job_store import JobStore
from worker.shapes import (
    INTEGER_MAX,
    NOTES,
    SENTENCE,
    BadReport,
    boolean_of,
    error_of,
    integer_of,
    list_of,
    note_of,
    object_of,
    reason_of,
    table_of,
    text_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedItems:
    request: dict[str, Any] = field(default_factory=dict)
    """What the sandbox's request says of them."""
    numbers: tuple[int, ...] = ()
    bytes_in: int = 0


def stage_items(job: Job, store: JobStore, blobs: BlobStore, inside: Path) -> StagedItems:
    """Link every blob that an item reads into the sandbox's inputs, each once; items say which window of it is theirs.

    Raises:
        NotFound: the batch, or a blob of it, is gone.
    """
    chunk = store.chunk_of(job)
    files: dict[str, str] = {}
    sizes: list[int] = []
    items: list[dict[str, Any]] = []
    for item in chunk.items:
        for given in item.inputs.values():
            if given.blob not in files:
                files[given.blob] = f"items{len(files)}"
                blobs.link_into(job.tenant, given.blob, inside, files[given.blob])
            sizes.append(given.bytes)
        inputs = {port: _window(given, files[given.blob]) for port, given in item.inputs.items()}
        items.append({"number": item.number, "inputs": inputs, "parameters": item.parameters})
    request: dict[str, Any] = {"items": items, "item_wall_seconds": chunk.wall_seconds}
    return StagedItems(request=request, numbers=tuple(item.number for item in chunk.items), bytes_in=sum(sizes))


def _window(given: Input, file: str) -> dict[str, Any]:
    window = {"format": given.format, "file": file}
    return window if given.offset is None else {**window, "offset": given.offset, "bytes": given.bytes}


def endings_of(value: Any, numbers: Sequence[int], sizes: dict[str, int]) -> tuple[dict[str, Any], ...]:
    """How each of the items `numbers` ended, in the form of `fumehood.batch.Ending`.

    Raises:
        BadReport: it is not about exactly these items, or contradicts the files.
    """
    said = [object_of(item, "/items") for item in list_of(value, "/items", len(numbers) + 1)]
    if [item.get("number") for item in said] != list(numbers):
        raise BadReport("/items is not about the items of the chunk")
    # Numbers are the chunk's own: to Python 1.0 and true are equal to 1, to a database they are not.
    return tuple(_ending(number, item, f"/items/{at}", sizes) for at, (number, item) in enumerate(zip(numbers, said, strict=True)))


def _ending(number: int, item: dict[str, Any], at: str, sizes: dict[str, int]) -> dict[str, Any]:
    log = object_of(item.get("log"), f"{at}/log")
    notes = enumerate(list_of(item.get("notes"), f"{at}/notes", NOTES))
    return {
        "number": number,
        "reason": str(reason_of(item.get("reason"), f"{at}/reason")),
        "message": text_of(item.get("message", ""), f"{at}/message", SENTENCE),
        "error": error_of(item.get("error")),
        "result": _table_of(item.get("result"), f"{at}/result", sizes["result.arrow"]),
        "result2": _table_of(item.get("result2"), f"{at}/result2", sizes["result.arrow"]),
        "log": _place_of(log, f"{at}/log", sizes["log"]) | {"truncated": boolean_of(log.get("truncated", False), f"{at}/log/truncated")},
        "notes": [note_of(note, f"{at}/notes/{place}") for place, note in notes],
        "milliseconds": float(integer_of(item.get("milliseconds"), f"{at}/milliseconds")),
    }


def _table_of(value: Any, at: str, file_bytes: int) -> dict[str, Any] | None:
    table = table_of(value, at, file_bytes)
    return None if table is None else table | _place_of(value, at, file_bytes)


def _place_of(value: dict[str, Any], at: str, file_bytes: int) -> dict[str, Any]:
    offset, size = integer_of(value.get("offset"), f"{at}/offset"), integer_of(value.get("bytes"), f"{at}/bytes")
    if offset + size > min(file_bytes, INTEGER_MAX):
        raise BadReport(f"{at} ends at byte {offset + size:,}; its file has {file_bytes:,}")
    return {"offset": offset, "bytes": size}
