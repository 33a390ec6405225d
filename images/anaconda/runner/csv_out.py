"""From a table to CSV: what a cell cannot hold becomes text, and what has no text is refused by the name of its column."""

import json

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from . import cells
from .cells import is_known_zone
from .refusing import column_refused, whole_refused


# Nor would csv_in.py, or most other readers, take it.
ZERO_BYTE = "a text in it holds a zero byte, which no text file can have"


def write(table: pa.Table, path: str, progress) -> None:
    """Write as CSV. Lists, structs and intervals become JSON text, bytes hexadecimal text, durations their number.

    A missing cell of a table of one column is an empty line, which readers of CSV, ours too, skip. A table without columns is one
    empty line: a file without a byte says nothing to anybody.

    Raises:
        Refused: `bad_input`, naming the first column that cannot be written, and its type.
    """
    if not table.num_columns:
        with open(path, "wb") as file:
            file.write(b"\n")
        return
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            if "\0" in field.name:
                raise ValueError(ZERO_BYTE)
            cells_of_column = as_cells(column)
        except Exception as error:
            raise column_refused(field, error, "CSV") from None
        note_change(field, cells_of_column.type, progress)
        columns.append(cells_of_column)
    ready = pa.table(columns, names=table.column_names)
    try:
        csv.write_csv(ready, path)
    except Exception as error:
        raise whole_refused(ready, error, "CSV", lambda one: csv.write_csv(one, pa.MockOutputStream()), table.schema) from None


def note_change(field: pa.Field, written: pa.DataType, progress) -> None:
    """Say where a cell is not what the value was."""
    name, kind = f"Column {field.name[:100]!r}", field.type
    if in_universal_time(kind, written):
        progress.note("dtype_change", f"{name} ({kind}) is written in UTC: its zone is not known.", column=field.name)
    elif pa.types.is_duration(kind):
        progress.note("dtype_change", f"{name} ({kind}) is written as a number of {kind.unit}.", column=field.name)
    elif written != kind and not pa.types.is_dictionary(kind) and not pa.types.is_float16(kind):
        progress.note("dtype_change", f"{name} ({str(kind)[:100]}) is written as text.", column=field.name)


def as_cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a type that CSV can hold."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Not by a cast: it knows no nested values.
        return as_cells(pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], kind.value_type))
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        values = cells.chunked(column, bytes.hex).to_pylist()
        return pa.chunked_array([[None if value is None else as_json(value) for value in values]], pa.large_string())
    if cells.is_bytes(kind):
        return cells.chunked(column, bytes.hex)
    if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and pc.any(pc.match_substring(column, "\0")).as_py():
        raise ValueError(ZERO_BYTE)
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if pa.types.is_timestamp(kind) and not is_known_zone(kind):
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    return column


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def in_universal_time(before: pa.DataType, after: pa.DataType) -> bool:
    value = before.value_type if pa.types.is_dictionary(before) else before
    return pa.types.is_timestamp(value) and value != after
