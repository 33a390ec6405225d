"""From what azureml_main returned to the result files."""

import errno
import resource
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pyarrow as pa

from . import columns_out, disk, names, places, type_words
from .arrow_guard import check_type
from .described import UNASKED
from .failure import cut, safe_text, type_name
from .refused import Refused

WRITE = "Write `return dataframe,` or `return dataframe`."

# Kind of value → why it is not a table and what to write.
INSTEAD = (
    (type(None), "azureml_main returned None (is there a `return` at its end?)"),
    (pd.Series, "azureml_main returned a Series; `.to_frame()` makes a DataFrame of it"),
    (dict, "azureml_main returned a dict; `pandas.DataFrame(...)` makes a DataFrame of it"),
    (str, "azureml_main returned a str"),
    (bytes, "azureml_main returned bytes; put them into a column of a DataFrame"),
)


def write(value: object, inputs: list, output_bytes: int, progress, write_first=None, description=UNASKED) -> None:
    """Write what the function returned: the first table to result 1, a second one to result 2.

    `write_first`: how the first one is written, unless as an Arrow file.
    """
    first, second, ignored = split(value)
    if ignored:
        progress.note("ignored_value", f"azureml_main returned more than tables: {', '.join(ignored[:5])} ignored.")
    for port, one, write_one in (("result", first, write_first or write_arrow_file), ("result2", second, write_arrow_file)):
        if one is not None:
            table = to_table(one, port, inputs, progress)
            description.output(port, table)
            write_table(table, port, output_bytes, progress, write_one)


def split(value: object) -> tuple[object, object | None, list[str]]:
    """First table, second table or None, and the kinds of values that are ignored.

    Raises:
        Refused: `bad_return` with a sentence that says what to write instead.
    """
    if is_table(value):
        return value, None, []
    for kind, text in INSTEAD:
        if isinstance(value, kind):
            raise Refused("bad_return", f"{text}. {WRITE}")
    if hasattr(value, "__next__"):
        raise Refused("bad_return", f"azureml_main is a generator (it contains `yield`). {WRITE}")
    if not isinstance(value, (tuple, list, np.ndarray)):
        raise Refused("bad_return", f"azureml_main returned a value of type {type_name(value)}. {WRITE}")
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise Refused("bad_return", f"azureml_main returned an array of {value.ndim} dimensions. {WRITE}")
    if len(value) == 0:
        raise Refused("bad_return", f"azureml_main returned an empty sequence. {WRITE}")
    if not is_table(value[0]):
        raise Refused("bad_return", f"The first of the returned values is of type {type_name(value[0])}, not a DataFrame. {WRITE}")
    second = value[1] if len(value) > 1 and is_table(value[1]) else None
    rest = value[1 if second is None else 2 :]
    return value[0], second, [type_name(one) for one in rest[:100] if one is not None]


def is_table(value: object) -> bool:
    """True for a DataFrame and for whatever else gives Arrow record batches."""
    if isinstance(value, pd.DataFrame):
        return True
    if isinstance(value, (pd.Series, pd.Index, pa.Array, pa.ChunkedArray, type)):
        return False
    if not (hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")):
        return False
    schema = getattr(value, "schema", None)
    return schema is not None or hasattr(value, "columns")


def to_table(value: object, port: str, inputs: list, progress) -> pa.Table:
    """The value as an Arrow table: unique string names, no metadata, each column in one piece."""
    if isinstance(value, pd.DataFrame):
        table = from_frame(value, port, inputs, progress)
    else:
        try:
            table = pa.table(value)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise Refused("bad_return", f"The {port} ({type_name(value)}) cannot be read as a table: {str(error)[:200]}.") from None
        new_names = names.make_unique_noting(table.column_names, port, progress)
        table = pa.table([plain_column(column, name, port) for name, column in zip(new_names, table.columns, strict=True)], names=new_names)
    for field in table.schema:
        check_type(field.type, f"Column {cut(field.name, 100)!r} of the {port}", "bad_return")
    note_changes(table, port, inputs, progress)
    return table


def plain_column(column: pa.ChunkedArray, name: str, port: str) -> pa.Array:
    """A column that came as Arrow, in one piece."""
    try:
        return columns_out.plain(columns_out.one_piece(column))
    except pa.ArrowException as error:
        kind = cut(str(column.type), 100)
        raise Refused("bad_return", f"Column {cut(name, 100)!r} of the {port} ({kind}) cannot be written: {safe_text(error, 200)}.") from None


def from_frame(frame: pd.DataFrame, port: str, inputs: list, progress) -> pa.Table:
    """A DataFrame, n × m, any index and column names."""
    note_index(frame.index, port, progress)
    try:
        given = [names.join_levels(levels) for levels in frame.columns] if frame.columns.nlevels > 1 else [names.as_text(name) for name in frame.columns]
    except Exception as error:
        raise Refused("bad_return", f"A column name of the {port} has no text: {safe_text(error, 200)}.") from None
    new_names = names.make_unique_noting(given, port, progress)
    columns = []
    for position, name in enumerate(new_names):
        series = frame.iloc[:, position]
        # Not `get(name) == …`: to NumPy, None is float64.
        came_as = next((table.arrow_types[name] for table in inputs if name in table.dtypes and table.dtypes[name] == series.dtype), None)
        columns.append(columns_out.to_arrow(series, name, came_as, progress, port))
    if not columns:
        return pa.table({})
    return pa.table(columns, names=new_names)


def note_index(index: pd.Index, port: str, progress) -> None:
    """Say that an index was dropped, unless it is the default one."""
    if index.nlevels == 1 and index.name is None and index.equals(pd.RangeIndex(len(index))):
        return
    label = f" ({', '.join(str(name) for name in index.names)})" if any(name is not None for name in index.names) else ""
    progress.note("index_dropped", f"The index{cut(label, 100)} of the {port} was dropped; `reset_index()` makes a column of it.", port=port)


def note_changes(table: pa.Table, port: str, inputs: list, progress) -> None:
    """Name every column that came in with one type and goes out with another."""
    for field in table.schema:
        came = next((source for source in inputs if field.name in source.arrow_types), None)
        if came is None:
            continue
        before, after = type_words.text_of(came.arrow_types[field.name]), type_words.text_of(field.type)
        if before != after and not any(type_words.text_of(source.arrow_types.get(field.name, pa.null())) == after for source in inputs):
            text = f"Column {cut(field.name, 100)!r} came as {before} in {came.port} and is {after} in the {port}."
            progress.note("dtype_change", text, port=port, column=field.name, **{"from": before, "to": after})


def write_table(table: pa.Table, port: str, output_bytes: int, progress, write_one=None) -> None:
    """Write a result file, unless `write_one` does: one record batch, no compression, no metadata."""
    with output_limit(output_bytes, port):
        (write_one or write_arrow_file)(table, places.RESULTS[port], progress)
    progress.results[port] = described = describe(table)
    if len(described["columns"]) < table.num_columns:
        text = f"Only the first {len(described['columns']):,} of the {table.num_columns:,} columns of the {port} are listed in the report."
        progress.note("columns_capped", text, port=port)


@contextmanager
def output_limit(output_bytes: int, port: str):
    """Around writing an output: it cannot grow past `output_bytes`, and that, or a full disk of the host, is said by name."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    hard = before[1]
    most = output_bytes if hard == resource.RLIM_INFINITY else min(output_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    except OSError as error:
        if disk.means_full(error):
            raise Refused("sandbox_error", disk.MESSAGE) from None
        if error.errno != errno.EFBIG:
            raise
        raise Refused("output_too_large", f"The {port} is larger than {most:,} bytes, the job's limit.") from None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_arrow_file(table: pa.Table, path: str, _progress) -> None:
    batch = one_batch(table)
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def write_arrow_stream(table: pa.Table, path: str, _progress) -> None:
    batch = one_batch(table)
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)


def one_batch(table: pa.Table) -> pa.RecordBatch:
    columns = [columns_out.one_piece(column) for column in table.columns]
    fields = [pa.field(field.name, field.type) for field in table.schema]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def describe(table: pa.Table) -> dict:
    """Rows and columns for the report; `nullable` says that there are missing cells.

    Of a very wide table only the first columns are listed.
    """
    columns, left = [], places.COLUMNS_CHARACTERS
    for field, column in zip(table.schema, table.columns, strict=True):
        name, kind = cut(field.name, places.NAME_CHARACTERS), cut(type_words.text_of(field.type), places.NAME_CHARACTERS)
        left -= len(name) + len(kind)
        if left < 0 or len(columns) == places.COLUMNS_REPORTED:
            break
        columns.append({"name": name, "type": kind, "nullable": column.null_count > 0})
    return {"rows": table.num_rows, "columns": columns}
