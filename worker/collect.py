"""Collect: read what a dead sandbox left behind, through the descriptors of the files that we made ourselves.

The only thing of a sandbox that is ever parsed is its report: at most 1 MiB of JSON (and 8 KiB for each item of a chunk), held
against the shape that docs/wall.md gives. What is not in the shape is dropped, what is too long is cut, and what contradicts the
files on disk makes it no report at all. A report is the tenant's word: for display only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from fumehood.batch import ITEM_REPORT_BYTES
from fumehood.limits import KIB, MIB, Limits
from fumehood.outcome import Reason
from worker.chunk import endings_of
from worker.scratch import Scratch
from worker.shapes import (
    FILES,
    INTEGER_MAX,
    NOTES,
    SENTENCE,
    BadReport,
    answer_of,
    entry_of,
    error_of,
    file_of,
    integer_of,
    list_of,
    log_of,
    note_of,
    object_of,
    optional_of,
    phases_of,
    reason_of,
    schemas_of,
    table_of,
    text_of,
)

log = structlog.get_logger(__name__)

REPORT_BYTES = 1 * MIB
# What the supervisor adds to the log after its cap: the traceback at the end, and the mark where the middle was cut.
LOG_SLACK_BYTES = 16 * KIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one run left. `reason` is what the runner says it saw; None where there is no report that can be read, and
    `problem` says why. `too_large` names the outputs past their own caps; they have been cut, so that nothing can publish them."""

    reason: Reason | None
    problem: str = ""
    message: str = ""
    error: dict[str, Any] | None = None
    exit_code: int | None = None
    signal: int | None = None
    result: dict[str, Any] | None = None
    result2: dict[str, Any] | None = None
    files: tuple[dict[str, Any], ...] = ()
    log: dict[str, Any] = field(default_factory=dict)
    notes: tuple[dict[str, Any], ...] = ()
    milliseconds: dict[str, float] = field(default_factory=dict)
    memory_peak_bytes: int | None = None
    oom_kills: int | None = None
    too_large: tuple[str, ...] = ()
    entry: dict[str, Any] | None = None
    schemas: dict[str, Any] | None = None
    """Of a check: what the script takes, and the columns of its tables."""
    answer: dict[str, str] | None = None
    """Of a job whose result was asked for in a format: which it is."""
    items: tuple[dict[str, Any], ...] = ()
    """Of a chunk: how each of its items ended."""

    def for_display(self) -> dict[str, Any]:
        """`result`, `result2`, `files`, `notes`, `log`: what an outcome carries on; what a check or an answer has beside, where it has it;
        and `items`, which the store takes from it."""
        shown = {"result": self.result, "result2": self.result2, "files": list(self.files), "notes": list(self.notes), "log": self.log}
        beside = {"entry": self.entry, "schemas": self.schemas, "answer": self.answer, "items": list(self.items) or None}
        return shown | {name: value for name, value in beside.items() if value is not None}


# What in the report speaks of an output: forgotten where the output has been cut away.
DESCRIBED = {"result.arrow": "result", "result2.arrow": "result2", "files.bin": "files"}


def collect(scratch: Scratch, limits: Limits, *, items: Sequence[int] = ()) -> Report:
    """Only after the container is dead. Never raises for anything that a sandbox wrote. `items` are the numbers of a chunk's.

    Raises:
        SandboxError: an output is no regular file any more, which no sandbox can bring about.
    """
    too_large = _cut(scratch, limits)
    sizes = {output: scratch.size(output) for output in scratch.descriptors}
    try:
        most = REPORT_BYTES + ITEM_REPORT_BYTES * len(items)
        values = _parse(scratch.read("report.json", limit_bytes=most + 1), most)
        values |= {DESCRIBED[output]: None for output in too_large if output in DESCRIBED}
        shaped = _shape(values, sizes)
        ended = endings_of(values.get("items"), items, sizes) if items and shaped["reason"] is Reason.OK else ()
        return Report(**shaped, too_large=too_large, items=ended)
    except BadReport as error:
        # The verdict is the tenant's crash, so this line is how a runner of ours that writes nonsense would be found out. An
        # empty report is that of a run which never got so far.
        if sizes["report.json"]:
            log.warning("report not usable", scratch=scratch.name, problem=str(error))
        return Report(reason=None, problem=str(error), log={"bytes": sizes["log"], "truncated": "log" in too_large}, too_large=too_large)


def _cut(scratch: Scratch, limits: Limits) -> tuple[str, ...]:
    """One number caps every file inside (`RLIMIT_FSIZE`), so each file's own cap is held here. Returns the outputs past theirs.

    Every output is cut, if only at its own end: blocks reserved beyond it have no size, and would stay with a blob for its life.
    """
    caps = {
        "result.arrow": limits.output_bytes,
        "result2.arrow": limits.output_bytes,
        # All of them were in `/job`, so no more than fits there is theirs.
        "files.bin": limits.disk_bytes,
        "log": limits.log_bytes + LOG_SLACK_BYTES,
    }
    sizes = {output: scratch.size(output) for output in scratch.descriptors}
    too_large = tuple(output for output, cap in caps.items() if sizes[output] > cap)
    # A log's beginning is still a log; half a table is nothing.
    sizes |= {output: caps[output] if output == "log" else 0 for output in too_large}
    for output, size in sizes.items():
        os.ftruncate(scratch.descriptors[output], size)
    return too_large


def _parse(data: bytes, most: int) -> dict[str, Any]:
    if not data:
        raise BadReport("the report is empty")
    if len(data) > most:
        raise BadReport(f"the report has more than {most:,} bytes")
    try:
        values = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadReport(f"the report is not strict JSON: {type(error).__name__}") from error
    if not isinstance(values, dict) or values.get("version") != 1:
        raise BadReport("the report is no object of version 1")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _shape(values: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    """The report's known fields, each of its type and within its bounds."""
    child = object_of(values.get("child"), "/child", or_none=True)
    files = enumerate(list_of(values.get("files"), "/files", FILES))
    notes = enumerate(list_of(values.get("notes"), "/notes", NOTES))
    return {
        "reason": reason_of(values.get("reason"), "/reason"),
        "message": text_of(values.get("message", ""), "/message", SENTENCE),
        "error": error_of(values.get("error")),
        "exit_code": optional_of(child.get("exit_code"), lambda value: integer_of(value, "/child/exit_code", low=-INTEGER_MAX)),
        "signal": optional_of(child.get("signal"), lambda value: integer_of(value, "/child/signal")),
        "result": table_of(values.get("result"), "/result", sizes["result.arrow"]),
        "result2": table_of(values.get("result2"), "/result2", sizes["result2.arrow"]),
        "files": tuple(file_of(item, f"/files/{at}", sizes["files.bin"]) for at, item in files),
        "log": log_of(values.get("log"), sizes["log"]),
        "notes": tuple(note_of(item, f"/notes/{at}") for at, item in notes),
        "milliseconds": phases_of(values.get("milliseconds")),
        "memory_peak_bytes": optional_of(values.get("memory_peak_bytes"), lambda value: integer_of(value, "/memory_peak_bytes")),
        "oom_kills": optional_of(values.get("oom_kills"), lambda value: integer_of(value, "/oom_kills")),
        "entry": entry_of(values.get("entry")),
        "schemas": schemas_of(values.get("schemas")),
        "answer": answer_of(values.get("answer")),
    }
