"""From a table to JSON: an array of records, or one record a line (NDJSON). What each type becomes stands in cells.py."""

import json

import pyarrow as pa
import pyarrow.compute as pc

from . import cells
from .refusing import column_refused

BATCH_ROWS = 5_000
BATCH_BYTES = 16 * 1024 * 1024
BATCH_CELLS = 200_000


def write_records(table: pa.Table, path: str, progress) -> None:
    """Write an array of objects, one on each line.

    Raises:
        Refused: `bad_input`, naming the first column that cannot be written, and its type.
    """
    with open(path, "wb") as file:
        before = b"[\n"
        for lines in batches(table, progress, "JSON"):
            file.write(before + ",\n".join(lines).encode())
            before = b",\n"
        file.write(b"\n]\n" if table.num_rows else b"[]\n")


def write_lines(table: pa.Table, path: str, progress) -> None:
    """Write one object a line. A table without rows is an empty line: a file without a byte says nothing to anybody.

    Raises:
        Refused: `bad_input`, naming the first column that cannot be written, and its type.
    """
    with open(path, "wb") as file:
        for lines in batches(table, progress, "NDJSON"):
            file.write("\n".join(lines).encode() + b"\n")
        if not table.num_rows:
            file.write(b"\n")


def batches(table: pa.Table, progress, form: str):
    """The records as JSON texts, some thousands at a time."""
    note_changes(table, progress)
    names, rows = table.column_names, table.num_rows
    step = batch_rows(table)
    for start in range(0, rows, step):
        part = table.slice(start, step)
        columns = [values(field, column, form) for field, column in zip(part.schema, part.columns, strict=True)]
        yield [encode(dict(zip(names, record, strict=True))) for record in zip(*columns, strict=True)]


def batch_rows(table: pa.Table) -> int:
    row_bytes = max(1, table.nbytes // max(1, table.num_rows))
    return max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes, BATCH_CELLS // max(1, table.num_columns)))


def values(field: pa.Field, column: pa.ChunkedArray, form: str) -> list:
    try:
        return cells.chunked(column).to_pylist()
    except Exception as error:
        raise column_refused(field, error, form) from None


encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def note_changes(table: pa.Table, progress) -> None:
    """Say what JSON does not hold: by the column, once each."""
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        became = next((text for is_kind, text in NOTED if is_kind(kind)), None)
        if became:
            progress.note("dtype_change", f"Column {field.name[:100]!r} ({str(field.type)[:100]}) is written as {became}.", column=field.name)
        elif pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
            progress.note("warning", f"Column {field.name[:100]!r} holds infinities, which JSON has not; they are written as null.", column=field.name)


NOTED = (
    (cells.is_bytes, "base64 text"),
    (pa.types.is_decimal, "text"),
    (pa.types.is_duration, "a number of its unit"),
    (pa.types.is_temporal, "text"),
)
