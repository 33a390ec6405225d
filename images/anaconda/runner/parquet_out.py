"""From a table to Parquet."""

import pyarrow as pa

from .arrow_guard import children
from .refusing import whole_refused


def write(table: pa.Table, path: str, progress) -> None:
    """Write one Parquet file, compressed, its Arrow types kept beside (a reader of Arrow gets them back).

    Parquet has no seconds: they become milliseconds. Categories that are not text become their values.

    Raises:
        Refused: `bad_input`, naming the first column that cannot be written, and its type.
    """
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if holds_values(column.type):
            column = pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type)
            progress.note("dtype_change", f"Column {field.name[:100]!r} ({str(field.type)[:100]}) is written as its values.", column=field.name)
        columns.append(column)
    ready = pa.table(columns, names=table.column_names)
    try:
        # Given a path, the writer would remove the file after a failure.
        with pa.OSFile(path, "wb") as file:
            write_to(ready, file)
    except Exception as error:
        raise whole_refused(ready, error, "Parquet", lambda one: write_to(one, pa.MockOutputStream()), table.schema) from None


def write_to(table: pa.Table, sink) -> None:
    # Only here: it would cost every sandbox 25 ms to be ready.
    import pyarrow.parquet as pq

    pq.write_table(table, sink, compression="zstd", version="2.6")


def holds_values(kind: pa.DataType) -> bool:
    """True for categories that Parquet would not give back as such."""
    if not pa.types.is_dictionary(kind):
        return False
    value = kind.value_type
    return bool(children(value)) or not (pa.types.is_string(value) or pa.types.is_large_string(value))
