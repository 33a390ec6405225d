"""Collect: read what a dead sandbox left behind, through the descriptors of the files that we made ourselves.

The only thing of a sandbox that is ever parsed is its report: at most 1 MiB of JSON, held against the shape that
docs/wall.md gives. What is not in the shape is dropped, what is too long is cut, and what contradicts the files on disk makes
it no report at all. A report is the tenant's word: for display only.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from fumehood.limits import KIB, MIB, Limits
from fumehood.outcome import Reason
from worker.scratch import Scratch

log = structlog.get_logger(__name__)

REPORT_BYTES = 1 * MIB
# What the supervisor adds to the log after its cap: the traceback at the end, and the mark where the middle was cut.
LOG_SLACK_BYTES = 16 * KIB
INTEGER_MAX = 2**63 - 1
SHORT, SENTENCE, TEXT = 200, 2_000, 64 * KIB
COLUMNS, FILES, NOTES, NOTE_FIELDS, FRAMES, PHASES = 20_000, 5_000, 1_000, 12, 100, 30
MEDIA_TYPE = re.compile(r"[a-z0-9]{1,40}/[a-z0-9.+-]{1,80}", re.ASCII)
# What a runner can know. The other reasons are the service's to give.
REASONS = {str(reason): reason for reason in Reason if reason not in (Reason.CANCELLED, Reason.EXPIRED, Reason.LOST)}


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

    def for_display(self) -> dict[str, Any]:
        """`result`, `result2`, `files`, `notes`, `log`: what an outcome carries on."""
        return {"result": self.result, "result2": self.result2, "files": list(self.files), "notes": list(self.notes), "log": self.log}


# What in the report speaks of an output: forgotten where the output has been cut away.
DESCRIBED = {"result.arrow": "result", "result2.arrow": "result2", "files.bin": "files"}


class BadReport(ValueError):
    """The report is not in the shape of docs/wall.md, or contradicts the files; says where."""


def collect(scratch: Scratch, limits: Limits) -> Report:
    """Only after the container is dead. Never raises for anything that a sandbox wrote.

    Raises:
        SandboxError: an output is no regular file any more, which no sandbox can bring about.
    """
    too_large = _cut(scratch, limits)
    sizes = {output: scratch.size(output) for output in scratch.descriptors}
    try:
        values = _parse(scratch.read("report.json", limit_bytes=REPORT_BYTES + 1))
        values |= {DESCRIBED[output]: None for output in too_large if output in DESCRIBED}
        return Report(**_shape(values, sizes), too_large=too_large)
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
        "files.bin": limits.output_bytes,
        "log": limits.log_bytes + LOG_SLACK_BYTES,
    }
    sizes = {output: scratch.size(output) for output in scratch.descriptors}
    too_large = tuple(output for output, cap in caps.items() if sizes[output] > cap)
    # A log's beginning is still a log; half a table is nothing.
    sizes |= {output: caps[output] if output == "log" else 0 for output in too_large}
    for output, size in sizes.items():
        os.ftruncate(scratch.descriptors[output], size)
    return too_large


def _parse(data: bytes) -> dict[str, Any]:
    if not data:
        raise BadReport("the report is empty")
    if len(data) > REPORT_BYTES:
        raise BadReport(f"the report has more than {REPORT_BYTES:,} bytes")
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
    reason = values.get("reason")
    if not isinstance(reason, str) or reason not in REASONS:
        raise BadReport("/reason is not one that a runner can give")
    child = _object(values.get("child"), "/child", or_none=True)
    files = enumerate(_list(values.get("files"), "/files", FILES))
    notes = enumerate(_list(values.get("notes"), "/notes", NOTES))
    return {
        "reason": REASONS[reason],
        "message": _text(values.get("message", ""), "/message", SENTENCE),
        "error": _error(values.get("error")),
        "exit_code": _optional(child.get("exit_code"), lambda value: _integer(value, "/child/exit_code", low=-INTEGER_MAX)),
        "signal": _optional(child.get("signal"), lambda value: _integer(value, "/child/signal")),
        "result": _table(values.get("result"), "/result", sizes["result.arrow"]),
        "result2": _table(values.get("result2"), "/result2", sizes["result2.arrow"]),
        "files": tuple(_file(item, f"/files/{at}", sizes["files.bin"]) for at, item in files),
        "log": _log(values.get("log"), sizes["log"]),
        "notes": tuple(_note(item, f"/notes/{at}") for at, item in notes),
        "milliseconds": _phases(values.get("milliseconds")),
        "memory_peak_bytes": _optional(values.get("memory_peak_bytes"), lambda value: _integer(value, "/memory_peak_bytes")),
        "oom_kills": _optional(values.get("oom_kills"), lambda value: _integer(value, "/oom_kills")),
    }


def _error(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    error = _object(value, "/error")
    return {
        "type": _text(error.get("type", ""), "/error/type", SHORT),
        "message": _text(error.get("message", ""), "/error/message", TEXT),
        "traceback": _text(error.get("traceback", ""), "/error/traceback", TEXT),
        "file": _optional(error.get("file"), lambda item: _text(item, "/error/file", SENTENCE)),
        "line": _optional(error.get("line"), lambda item: _integer(item, "/error/line")),
        "source": _optional(error.get("source"), lambda item: _text(item, "/error/source", SENTENCE)),
        "frames": [_frame(item, f"/error/frames/{at}") for at, item in enumerate(_list(error.get("frames"), "/error/frames", FRAMES))],
    }


def _frame(value: Any, at: str) -> dict[str, Any]:
    frame = _object(value, at)
    return {
        "file": _text(frame.get("file", ""), f"{at}/file", SENTENCE),
        "line": _optional(frame.get("line"), lambda item: _integer(item, f"{at}/line")),
        "function": _text(frame.get("function", ""), f"{at}/function", SHORT),
        "source": _optional(frame.get("source"), lambda item: _text(item, f"{at}/source", SENTENCE)),
    }


def _table(value: Any, at: str, file_bytes: int) -> dict[str, Any] | None:
    if value is None:
        return None
    table = _object(value, at)
    columns = [_object(item, f"{at}/columns") for item in _list(table.get("columns"), f"{at}/columns", COLUMNS)]
    if columns and not file_bytes:
        raise BadReport(f"{at} describes a table; its file is empty")
    return {
        "rows": _integer(table.get("rows"), f"{at}/rows"),
        "columns": [
            {
                "name": _text(column.get("name"), f"{at}/columns/name", SENTENCE),
                "type": _text(column.get("type"), f"{at}/columns/type", SENTENCE),
                "nullable": _boolean(column.get("nullable", True), f"{at}/columns/nullable"),
            }
            for column in columns
        ],
    }


def _file(value: Any, at: str, file_bytes: int) -> dict[str, Any]:
    file = _object(value, at)
    offset, size = _integer(file.get("offset"), f"{at}/offset"), _integer(file.get("bytes"), f"{at}/bytes")
    if offset + size > file_bytes:
        raise BadReport(f"{at} ends at byte {offset + size:,}; the files have {file_bytes:,}")
    if file.get("role") not in ("figure", "artifact"):
        raise BadReport(f"{at}/role is neither figure nor artifact")
    return {
        "role": file["role"],
        "name": _text(file.get("name"), f"{at}/name", SENTENCE),
        "media_type": _media_type(file.get("media_type")),
        "offset": offset,
        "bytes": size,
    }


def _media_type(value: Any) -> str:
    """It becomes a header of ours, so it is plain or nothing."""
    return value if isinstance(value, str) and MEDIA_TYPE.fullmatch(value) else "application/octet-stream"


def _log(value: Any, file_bytes: int) -> dict[str, Any]:
    """The size is the file's own; only whether the middle was cut is the runner's word."""
    return {"bytes": file_bytes, "truncated": _boolean(_object(value, "/log", or_none=True).get("truncated", False), "/log/truncated")}


def _note(value: Any, at: str) -> dict[str, Any]:
    note = _object(value, at)
    if not isinstance(note.get("kind"), str):
        raise BadReport(f"{at}/kind is no text")
    kept = {_text(key, at, SHORT): _plain(item) for key, item in list(note.items())[:NOTE_FIELDS]}
    return {key: item for key, item in kept.items() if item is not None}


def _plain(value: Any) -> str | int | float | bool | None:
    """A text, number or boolean as it may be stored; None for anything else."""
    if isinstance(value, str):
        return _text(value, "", SENTENCE)
    if (
        isinstance(value, bool)
        or (isinstance(value, int) and abs(value) <= INTEGER_MAX)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    return None


def _phases(value: Any) -> dict[str, float]:
    checked = {}
    for name, item in list(_object(value, "/milliseconds", or_none=True).items())[:PHASES]:
        number = _plain(item)
        if isinstance(number, (str, bool)) or number is None or number < 0:
            raise BadReport("/milliseconds holds something that is no duration")
        checked[_text(name, "/milliseconds", SHORT)] = float(number)
    return checked


def _object(value: Any, at: str, *, or_none: bool = False) -> dict[str, Any]:
    if value is None and or_none:
        return {}
    if not isinstance(value, dict):
        raise BadReport(f"{at} is no object")
    return value


def _list(value: Any, at: str, most: int) -> list[Any]:
    """Cut to `most`: a long list is a tenant's doing, and no reason to call the service's own work broken."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadReport(f"{at} is no list")
    return value[:most]


def _text(value: Any, at: str, characters: int) -> str:
    """Cut to `characters`; lone surrogates, which no encoder takes, become question marks, and NUL, which no database takes, goes."""
    if not isinstance(value, str):
        raise BadReport(f"{at} is no text")
    clean = value.encode("utf-8", "replace").decode("utf-8").replace("\0", "�")
    return clean if len(clean) <= characters else clean[: characters - 1] + "…"


def _integer(value: Any, at: str, *, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= INTEGER_MAX:
        raise BadReport(f"{at} is no whole number from {low} on")
    return value


def _boolean(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise BadReport(f"{at} is neither true nor false")
    return value


def _optional(value: Any, check: Callable[[Any], Any]) -> Any:
    return None if value is None else check(value)
