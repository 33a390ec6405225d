"""Values of a profile: JSON scalars, texts of at most 200 characters.

As in JSON (cells.py); but integers beyond ±2^53, which many readers round, and infinities are text, and so are lists and
structs. However large a value is, only its beginning is looked at.
"""

import json
import math

import pyarrow as pa

from . import cells as json_cells
from .failure import cut

CHARACTERS = 200
SAFE_INTEGER = 2**53
CHARACTER_BYTES = 4


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def cells(column: pa.ChunkedArray) -> list:
    """A few values."""
    return [cell(value) for value in column]


def cell(value: pa.Scalar) -> object:
    """One value as null, true or false, a number or a text."""
    if not value.is_valid:
        return None
    try:
        return next((show for is_kind, show in SHOWN if is_kind(value.type)), as_in_json)(value)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError):
        return cut(f"<{value.type} without a readable text>", CHARACTERS)


def real(value: pa.Scalar) -> float | str | None:
    number = float(value.as_py())
    if math.isfinite(number):
        return number
    return None if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def whole(value: pa.Scalar) -> int | str:
    number = value.cast(pa.int64()).as_py() if pa.types.is_duration(value.type) else value.as_py()
    return number if abs(number) <= SAFE_INTEGER else str(number)


def text(value: pa.Scalar) -> str:
    """The beginning of a text, which may be a gigabyte long."""
    return cut(value.as_buffer()[: (CHARACTERS + 1) * CHARACTER_BYTES].to_pybytes().decode("utf-8", "ignore"), CHARACTERS)


def bytes_text(value: pa.Scalar) -> str:
    return cut(json_cells.as_base64(value.as_buffer()[:CHARACTERS].to_pybytes()), CHARACTERS)


def nested(value: pa.Scalar) -> str:
    """The beginning of a list or struct as JSON text."""
    found, characters = [], 0
    for part in parts(value):
        found.append(part)
        characters += len(part)
        if characters > CHARACTERS:
            break
    return cut("".join(found), CHARACTERS)


def parts(value: pa.Scalar):
    """The pieces of a value's JSON text, from the first on; no more is looked at than is asked for."""
    kind = value.type
    if not value.is_valid or not pa.types.is_nested(kind):
        yield json.dumps(cell(value), ensure_ascii=False)
    elif pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            yield f"{', ' if number else '{'}{json.dumps(cut(kind.field(number).name, CHARACTERS), ensure_ascii=False)}: "
            yield from parts(value[number])
        yield "}" if kind.num_fields else "{}"
    else:
        yield "["
        for number, item in enumerate(value.values):
            if number:
                yield ", "
            yield from parts(item)
        yield "]"


def as_in_json(value: pa.Scalar) -> object:
    return json_cells.plain(pa.repeat(value, 1)).to_pylist()[0]


# The first row that fits; all other types are as in JSON.
SHOWN = (
    (pa.types.is_dictionary, lambda value: cell(value.value)),
    (pa.types.is_string, text),
    (pa.types.is_large_string, text),
    (json_cells.is_bytes, bytes_text),
    (pa.types.is_nested, nested),
    (pa.types.is_floating, real),
    (pa.types.is_boolean, lambda value: value.as_py()),
    (pa.types.is_integer, whole),
    (pa.types.is_duration, whole),
    (pa.types.is_interval, lambda value: str(list(value.as_py()))),
)
