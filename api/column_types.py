"""Types of columns, in the words of a dataset's description: what a value is in JSON, two of them as examples, and the type's name in
pyarrow.

The words are the runner's, so any text may stand there; what is not known is a value of any kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_DEPTH = 16
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)\(([0-9]{1,3}), (-?[0-9]{1,3})\)")
_LIST = re.compile(r"list<(.+)>", re.DOTALL)
_CATEGORY = re.compile(r"dictionary<(.+?)(, ordered)?>", re.DOTALL)
_INTEGER = re.compile(r"(u?)int(8|16|32|64)")
_OF_UNIT = re.compile(r"(time32|time64|duration)\[(s|ms|us|ns)\]")
_MISSING = (None, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnType:
    schema: dict[str, Any]
    """Of a value in JSON, in the terms of JSON Schema."""
    examples: tuple[Any, Any] = _MISSING
    """In JSON; missing where JSON and CSV have no way to write one that the runner would read back."""
    arrow: str | None = None
    """An expression of pyarrow; None where the words do not say the type whole."""


_PLAIN = {
    "null": ColumnType(schema={}, arrow="pa.null()"),
    "bool": ColumnType(schema={"type": "boolean"}, examples=(True, False), arrow="pa.bool_()"),
    "halffloat": ColumnType(schema={"type": "number"}, examples=(0.5, 1.5), arrow="pa.float16()"),
    "float": ColumnType(schema={"type": "number", "format": "float"}, examples=(0.5, 1.5), arrow="pa.float32()"),
    "double": ColumnType(schema={"type": "number", "format": "double"}, examples=(0.5, 1.5), arrow="pa.float64()"),
    "string": ColumnType(schema={"type": "string"}, examples=("a", "b"), arrow="pa.string()"),
    "binary": ColumnType(schema={"type": "string", "contentEncoding": "base64"}, arrow="pa.binary()"),
    "date32[day]": ColumnType(schema={"type": "string", "format": "date"}, examples=("2025-01-31", "2025-02-28"), arrow="pa.date32()"),
    "date64[ms]": ColumnType(schema={"type": "string", "format": "date"}, examples=("2025-01-31", "2025-02-28"), arrow="pa.date64()"),
}
_UNKNOWN = ColumnType(schema={})


def column_type(words: str, depth: int = 0) -> ColumnType:
    if words in _PLAIN:
        return _PLAIN[words]
    for pattern, make in _FAMILIES:
        if depth < _DEPTH and (found := pattern.fullmatch(words)):
            return make(found, depth)
    return _UNKNOWN


def _integer(found: re.Match[str], _: int) -> ColumnType:
    unsigned, bits = found[1] == "u", int(found[2])
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return ColumnType(schema={"type": "integer", "minimum": low, "maximum": high}, examples=(1, 2), arrow=f"pa.{found[0]}()")


def _moment(found: re.Match[str], _: int) -> ColumnType:
    unit, zone = found[1], found[2]
    mark, arrow = ("", f"pa.timestamp({unit!r})") if zone is None else ("Z", f"pa.timestamp({unit!r}, {zone!r})")
    # Only with a zone it is what JSON Schema calls a date and time.
    schema = {"type": "string"} | ({"format": "date-time"} if zone else {})
    return ColumnType(schema=schema, examples=(f"2025-01-31T12:00:00{mark}", f"2025-02-28T18:30:00{mark}"), arrow=arrow)


def _decimal(found: re.Match[str], _: int) -> ColumnType:
    precision, scale = int(found[2]), int(found[3])
    ones = ("1", "2") if scale <= 0 else (f"1.{'0' * (scale - 1)}5", f"2.{'0' * (scale - 1)}5")
    fits = 0 <= scale < precision
    examples = ones if fits else _MISSING
    return ColumnType(
        schema={"type": "string", "format": "decimal"}, examples=examples, arrow=f"pa.decimal{found[1]}({precision}, {scale})"
    )


def _of_unit(found: re.Match[str], _: int) -> ColumnType:
    arrow = f"pa.{found[1]}({found[2]!r})"
    if found[1] == "duration":
        return ColumnType(schema={"type": "integer"}, arrow=arrow)
    return ColumnType(schema={"type": "string"}, examples=("12:00:00", "18:30:00"), arrow=arrow)


def _list(found: re.Match[str], depth: int) -> ColumnType:
    inner = column_type(found[1], depth + 1)
    first, second = inner.examples
    examples = ([first], [first, second]) if first is not None else _MISSING
    items = {"type": [inner.schema["type"], "null"]} if "type" in inner.schema else {}
    return ColumnType(
        schema={"type": "array", "items": {**inner.schema, **items}} if items else {"type": "array"},
        examples=examples,
        arrow=f"pa.list_({inner.arrow})" if inner.arrow else None,
    )


def _category(found: re.Match[str], depth: int) -> ColumnType:
    inner = column_type(found[1], depth + 1)
    # The words do not say the order of the categories, so none that is written could be read back.
    if found[2]:
        return ColumnType(schema=inner.schema)
    return ColumnType(
        schema=inner.schema, examples=inner.examples, arrow=f"pa.dictionary(pa.int32(), {inner.arrow})" if inner.arrow else None
    )


_FAMILIES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], int], ColumnType]], ...] = (
    (_INTEGER, _integer),
    (_ZONED, _moment),
    (_DECIMAL, _decimal),
    (_OF_UNIT, _of_unit),
    (_LIST, _list),
    (_CATEGORY, _category),
)
