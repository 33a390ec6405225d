"""From a table to CSV: what a cell cannot hold becomes text, and what has no text is refused by the name of its column."""

import json

import pyarrow as pa
from pyarrow import csv

from .failure import cut, safe_text
from .refused import Refused

NAME_CHARACTERS = 100
WHY_CHARACTERS = 200


def write(table: pa.Table, path: str, progress) -> None:
    """Write as CSV. Lists, structs and intervals become JSON text, bytes hexadecimal text, durations their number.

    Raises:
        Refused: `bad_input`, naming the first column that cannot be written, and its type.
    """
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            cells = as_cells(column)
        except Exception as error:
            raise refused(field, error) from None
        if in_universal_time(column.type, cells.type):
            text = f"Column {field.name!r} ({field.type}) is written in UTC: its zone is not known."
            progress.note("dtype_change", text, column=field.name)
        elif cells.type != column.type and not pa.types.is_dictionary(column.type):
            progress.note("dtype_change", f"Column {field.name!r} ({field.type}) is written as text.", column=field.name)
        columns.append(cells)
    try:
        csv.write_csv(pa.table(columns, names=table.column_names), path)
    except (pa.ArrowException, ValueError, TypeError) as error:
        for field, cells in zip(table.schema, columns, strict=True):
            try:
                csv.write_csv(pa.table([cells], names=[field.name]), pa.MockOutputStream())
            except Exception as why:
                raise refused(field, why) from None
        raise error


def as_cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a type that CSV can hold."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Not by a cast: it knows no nested values.
        return as_cells(pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], kind.value_type))
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        return texts(column, as_json)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return texts(column, bytes.hex)
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if pa.types.is_timestamp(kind) and not is_known_zone(kind):
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    return column


def texts(column: pa.ChunkedArray, text_of) -> pa.ChunkedArray:
    """Every value as a text of its own; missing stays missing."""
    return pa.chunked_array([[None if value is None else text_of(value) for value in column.to_pylist()]], pa.large_string())


def as_json(value: object) -> str:
    return json.dumps(value, default=str)


def is_known_zone(kind: pa.TimestampType) -> bool:
    """False for a zone that Arrow cannot find: a file may name any."""
    try:
        pa.nulls(1, kind).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def in_universal_time(before: pa.DataType, after: pa.DataType) -> bool:
    value = before.value_type if pa.types.is_dictionary(before) else before
    return pa.types.is_timestamp(value) and value != after


def refused(field: pa.Field, error: Exception) -> Exception:
    """What to raise for a column that cannot be written: the limits of memory and disk keep their own names."""
    if isinstance(error, (MemoryError, OSError)):
        return error
    name, kind = cut(field.name, NAME_CHARACTERS), cut(str(field.type), NAME_CHARACTERS)
    return Refused("bad_input", f"Column {name!r} ({kind}) cannot be written as CSV: {cut(safe_text(error), WHY_CHARACTERS)}.")
