"""From a table to what clients of Azure Machine Learning Studio (classic) read: names and rows, or records; every cell a text or null.

| Arrow                                   | type     | text                                                            |
|-----------------------------------------|----------|-----------------------------------------------------------------|
| bool                                    | Boolean  | `True`, `False`                                                 |
| int8, int16, int32, uint8, uint16       | Int32    | its digits                                                      |
| int64, uint32, duration                 | Int64    | its digits; of a duration the number of its unit                |
| uint64, float, decimal                  | Double   | every digit; `Infinity`, `-Infinity`; NaN is null               |
| date, timestamp                         | DateTime | `9/21/2014 11:10:00 AM`; ISO 8601 where there is more to say    |
| dictionary                              | as its values | as its values                                              |
| everything else                         | String   | as in JSON (cells.py); lists and structs are JSON in a text     |
"""

import pyarrow as pa
import pyarrow.compute as pc

from . import cells, csv_out, json_out
from .refusing import column_refused

FORM = "Studio's JSON"
MOMENT = "%m/%d/%Y %I:%M:%S %p"
LEADING_ZERO = r"(^|[/ ])0([0-9])"


def write_values(table: pa.Table, path: str, progress) -> None:
    """Write an object of names and rows.

    Raises:
        Refused: `bad_input`, naming the first column that cannot be written, and its type.
    """
    write(table, path, {"ColumnNames": table.column_names})


def write_typed_values(table: pa.Table, path: str, progress) -> None:
    """As `write_values`, and with each column's type."""
    write(table, path, {"ColumnNames": table.column_names, "ColumnTypes": [kind_of(field.type)[0] for field in table.schema]})


def write_records(table: pa.Table, path: str, progress) -> None:
    """Write an array of objects, as `write_values` writes its rows. Raises as it does."""
    with open(path, "wb") as file:
        write_rows(table, file, lambda row: dict(zip(table.column_names, row, strict=True)))


WRITERS = {"studio": write_values, "studio-types": write_typed_values, "studio-records": write_records}


def write(table: pa.Table, path: str, head: dict) -> None:
    with open(path, "wb") as file:
        file.write(json_out.encode(head)[:-1].encode() + b',"Values":')
        write_rows(table, file, list)
        file.write(b"}")


def write_rows(table: pa.Table, file, shape) -> None:
    """An array of what `shape` makes of each row, some thousands at a time."""
    # How moments are written holds for a whole column.
    columns = [texts_of(field, column, settled) for field, column in zip(table.schema, table.columns, strict=True)]
    table = pa.table(columns, names=table.column_names)
    mark, step = b"[", json_out.batch_rows(table)
    for start in range(0, table.num_rows, step):
        part = table.slice(start, step)
        columns = [texts_of(field, column, as_text).to_pylist() for field, column in zip(part.schema, part.columns, strict=True)]
        lines = [json_out.encode(shape(row)) for row in zip(*columns, strict=True)]
        file.write(mark + ",\n".join(lines).encode())
        mark = b",\n"
    file.write(b"]" if mark != b"[" else b"[]")


def texts_of(field: pa.Field, column: pa.ChunkedArray, convert) -> pa.ChunkedArray:
    try:
        return convert(column)
    except Exception as error:
        raise column_refused(field, error, FORM) from None


def settled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        # Not by a cast: it knows no nested values.
        column = pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type)
    return moments(column) if kind_of(column.type)[0] == "DateTime" else column


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return kind_of(column.type)[1](column)


def kind_of(kind: pa.DataType) -> tuple:
    """Studio's name for a type, and what makes texts of a column of it."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    return next((name, texts) for is_kind, name, texts in KINDS if is_kind(kind))


def truth(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(column, "True", "False")


def digits(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string())


def number_of_unit(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return digits(column.cast(pa.int64()))


def fractions(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    endless = pc.if_else(pc.greater(column, 0), "Infinity", "-Infinity")
    return pc.if_else(pc.is_inf(column), endless, digits(column))


def moments(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As Studio writes them, where that says all: it has no zone and no fraction of a second."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        return cells.chunked(column)
    try:
        texts = pc.strftime(column.cast(pa.timestamp("s")), MOMENT)
    except pa.ArrowException:
        return cells.chunked(column)
    return pc.replace_substring_regex(texts, LEADING_ZERO, r"\1\2")


def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts of JSON; what is none there, as JSON in a text."""
    values = cells.chunked(column)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return values
    return pa.chunked_array([[None if value is None else csv_out.as_json(value) for value in values.to_pylist()]], pa.large_string())


def is_short(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) and (kind.bit_width < 32 or kind == pa.int32())


# The first row that fits, from the top.
KINDS = (
    (pa.types.is_boolean, "Boolean", truth),
    (is_short, "Int32", digits),
    (pa.types.is_uint64, "Double", digits),
    (pa.types.is_integer, "Int64", digits),
    (pa.types.is_duration, "Int64", number_of_unit),
    (pa.types.is_floating, "Double", fractions),
    (pa.types.is_decimal, "Double", digits),
    (lambda kind: pa.types.is_date(kind) or pa.types.is_timestamp(kind), "DateTime", moments),
    (lambda _kind: True, "String", text),
)
