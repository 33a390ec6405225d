"""Shapes: the fields of a report, each held against its type and its bounds.

What is too long is cut; what is of another type, or contradicts the files on disk, makes the whole no report at all (`BadReport`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from fumehood.limits import KIB
from fumehood.outcome import Reason

INTEGER_MAX = 2**63 - 1
SHORT, SENTENCE, TEXT = 200, 2_000, 64 * KIB
COLUMNS, FILES, NOTES, NOTE_FIELDS, FRAMES, PHASES = 20_000, 5_000, 1_000, 12, 100, 30
# Of an entry point and of a schema; a report's own size bounds them together.
PARAMETERS, SCHEMA_COLUMNS = 1_000, 10_000
PARAMETER_TYPES = ("int", "float", "str", "bool")
SCHEMA_PORTS = {"inputs": ("dataset1", "dataset2"), "outputs": ("result", "result2")}
MEDIA_TYPE = re.compile(r"[a-z0-9]{1,40}/[a-z0-9.+-]{1,80}", re.ASCII)
# What a runner can know. The other reasons are the service's to give.
REASONS = {str(reason): reason for reason in Reason if reason not in (Reason.CANCELLED, Reason.EXPIRED, Reason.LOST)}


class BadReport(ValueError):
    """The report is not in the shape of docs/wall.md, or contradicts the files; says where."""


def reason_of(value: Any, at: str) -> Reason:
    if not isinstance(value, str) or value not in REASONS:
        raise BadReport(f"{at} is not one that a runner can give")
    return REASONS[value]


def error_of(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    error = object_of(value, "/error")
    return {
        "type": text_of(error.get("type", ""), "/error/type", SHORT),
        "message": text_of(error.get("message", ""), "/error/message", TEXT),
        "traceback": text_of(error.get("traceback", ""), "/error/traceback", TEXT),
        "file": optional_of(error.get("file"), lambda item: text_of(item, "/error/file", SENTENCE)),
        "line": optional_of(error.get("line"), lambda item: integer_of(item, "/error/line")),
        "source": optional_of(error.get("source"), lambda item: text_of(item, "/error/source", SENTENCE)),
        "frames": [frame_of(item, f"/error/frames/{at}") for at, item in enumerate(list_of(error.get("frames"), "/error/frames", FRAMES))],
    }


def frame_of(value: Any, at: str) -> dict[str, Any]:
    frame = object_of(value, at)
    return {
        "file": text_of(frame.get("file", ""), f"{at}/file", SENTENCE),
        "line": optional_of(frame.get("line"), lambda item: integer_of(item, f"{at}/line")),
        "function": text_of(frame.get("function", ""), f"{at}/function", SHORT),
        "source": optional_of(frame.get("source"), lambda item: text_of(item, f"{at}/source", SENTENCE)),
    }


def table_of(value: Any, at: str, file_bytes: int) -> dict[str, Any] | None:
    if value is None:
        return None
    table = object_of(value, at)
    columns = [column_of(item, f"{at}/columns") for item in list_of(table.get("columns"), f"{at}/columns", COLUMNS)]
    if columns and not file_bytes:
        raise BadReport(f"{at} describes a table; its file is empty")
    return {
        "rows": integer_of(table.get("rows"), f"{at}/rows"),
        "columns": columns,
    }


def entry_of(value: Any) -> dict[str, Any] | None:
    """What a check saw of the entry point: the parameters that a job can give, whether it takes others, and whether `init` is called."""
    if value is None:
        return None
    entry = object_of(value, "/entry")
    parameters = enumerate(list_of(entry.get("parameters"), "/entry/parameters", PARAMETERS))
    return {
        "parameters": [parameter_of(item, f"/entry/parameters/{at}") for at, item in parameters],
        "more": boolean_of(entry.get("more", False), "/entry/more"),
        "init": boolean_of(entry.get("init", False), "/entry/init"),
    }


def parameter_of(value: Any, at: str) -> dict[str, Any]:
    """A default of None stands there as one; where there is no `default`, there is none that JSON can say."""
    parameter = object_of(value, at)
    kind = parameter.get("type")
    if kind is not None and kind not in PARAMETER_TYPES:
        raise BadReport(f"{at}/type is none of {', '.join(PARAMETER_TYPES)}")
    checked = {
        "name": text_of(parameter.get("name"), f"{at}/name", SENTENCE),
        "type": kind,
        "required": boolean_of(parameter.get("required"), f"{at}/required"),
    }
    return checked | ({"default": plain_of(parameter["default"])} if "default" in parameter else {})


def schemas_of(value: Any) -> dict[str, dict[str, list[dict[str, Any]]]] | None:
    """The columns of a check's tables, by port. None, too, where one has more than SCHEMA_COLUMNS: some of them are another schema."""
    if value is None:
        return None
    schemas = object_of(value, "/schemas")
    checked: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for side, ports in SCHEMA_PORTS.items():
        tables = object_of(schemas.get(side), f"/schemas/{side}")
        checked[side] = {}
        for port in ports:
            columns = list_of(tables.get(port), f"/schemas/{side}/{port}", SCHEMA_COLUMNS + 1)
            if len(columns) > SCHEMA_COLUMNS:
                return None
            if port in tables:
                checked[side][port] = [column_of(item, f"/schemas/{side}/{port}") for item in columns]
    return checked


def column_of(value: Any, at: str) -> dict[str, Any]:
    column = object_of(value, at)
    return {
        "name": text_of(column.get("name"), f"{at}/name", SENTENCE),
        "type": text_of(column.get("type"), f"{at}/type", SENTENCE),
        "nullable": boolean_of(column.get("nullable", True), f"{at}/nullable"),
    }


def answer_of(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    answer = object_of(value, "/answer")
    return {"format": text_of(answer.get("format"), "/answer/format", SHORT), "media_type": media_type_of(answer.get("media_type"))}


def file_of(value: Any, at: str, file_bytes: int) -> dict[str, Any]:
    file = object_of(value, at)
    offset, size = integer_of(file.get("offset"), f"{at}/offset"), integer_of(file.get("bytes"), f"{at}/bytes")
    if offset + size > file_bytes:
        raise BadReport(f"{at} ends at byte {offset + size:,}; the files have {file_bytes:,}")
    if file.get("role") not in ("figure", "artifact"):
        raise BadReport(f"{at}/role is neither figure nor artifact")
    return {
        "role": file["role"],
        "name": text_of(file.get("name"), f"{at}/name", SENTENCE),
        "media_type": media_type_of(file.get("media_type")),
        "offset": offset,
        "bytes": size,
    }


def media_type_of(value: Any) -> str:
    """It becomes a header of ours, so it is plain or nothing."""
    return value if isinstance(value, str) and MEDIA_TYPE.fullmatch(value) else "application/octet-stream"


def log_of(value: Any, file_bytes: int) -> dict[str, Any]:
    """The size is the file's own; only whether the middle was cut is the runner's word."""
    return {"bytes": file_bytes, "truncated": boolean_of(object_of(value, "/log", or_none=True).get("truncated", False), "/log/truncated")}


def note_of(value: Any, at: str) -> dict[str, Any]:
    note = object_of(value, at)
    if not isinstance(note.get("kind"), str):
        raise BadReport(f"{at}/kind is no text")
    kept = {text_of(key, at, SHORT): plain_of(item) for key, item in list(note.items())[:NOTE_FIELDS]}
    return {key: item for key, item in kept.items() if item is not None}


def plain_of(value: Any) -> str | int | float | bool | None:
    """A text, number or boolean as it may be stored; None for anything else."""
    if isinstance(value, str):
        return text_of(value, "", SENTENCE)
    if (
        isinstance(value, bool)
        or (isinstance(value, int) and abs(value) <= INTEGER_MAX)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    return None


def phases_of(value: Any) -> dict[str, float]:
    checked = {}
    for name, item in list(object_of(value, "/milliseconds", or_none=True).items())[:PHASES]:
        number = plain_of(item)
        if isinstance(number, (str, bool)) or number is None or number < 0:
            raise BadReport("/milliseconds holds something that is no duration")
        checked[text_of(name, "/milliseconds", SHORT)] = float(number)
    return checked


def object_of(value: Any, at: str, *, or_none: bool = False) -> dict[str, Any]:
    if value is None and or_none:
        return {}
    if not isinstance(value, dict):
        raise BadReport(f"{at} is no object")
    return value


def list_of(value: Any, at: str, most: int) -> list[Any]:
    """Cut to `most`: a long list is a tenant's doing, and no reason to call the service's own work broken."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadReport(f"{at} is no list")
    return value[:most]


def text_of(value: Any, at: str, characters: int) -> str:
    """Cut to `characters`; lone surrogates, which no encoder takes, become question marks, and NUL, which no database takes, goes."""
    if not isinstance(value, str):
        raise BadReport(f"{at} is no text")
    clean = value.encode("utf-8", "replace").decode("utf-8").replace("\0", "�")
    return clean if len(clean) <= characters else clean[: characters - 1] + "…"


def integer_of(value: Any, at: str, *, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= INTEGER_MAX:
        raise BadReport(f"{at} is no whole number from {low} on")
    return value


def boolean_of(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise BadReport(f"{at} is neither true nor false")
    return value


def optional_of(value: Any, check: Callable[[Any], Any]) -> Any:
    return None if value is None else check(value)
