"""The profile of a table: what each column holds, and its first rows, as one JSON document of at most 2 MiB.

    {"rows": n,
     "columns": [{"name", "type", "count", "nulls", "distinct", "distinct_exact", "min", "max", "mean"?, "std"?,
                  "histogram": {"edges": [k + 1], "counts": [k]} | null, "top": [[value, count], …] | null}],
     "head": {"columns": [names], "rows": [[cells]]}}

NaN counts as missing, as everywhere. Values are JSON scalars; what JSON cannot hold exactly is text (profile_cells.py).
`distinct` is exact, or null beyond DISTINCT_MOST values; `mean` and `std` (n − 1) stand at numbers only. `histogram` is of numbers,
dates and timestamps without infinities; `top` of texts, truth values and categories. Tables wider than COLUMNS are cut.
"""

import json

import pyarrow as pa
import pyarrow.compute as pc

from . import histogram, profile_cells
from .failure import cut
from .type_words import text_of

COLUMNS = 1_000
HEAD_ROWS = 50
TOP = 10
NAME_CHARACTERS = 256
DOCUMENT_BYTES = 2 * 1024 * 1024
DISTINCT_MOST = 1_000_000
# How much is counted at a time, and how much memory the different values of a column may take.
SLICE_ROWS = 1_000_000
SLICE_BYTES = 64 * 1024 * 1024
DISTINCT_BYTES = 128 * 1024 * 1024
UNCOUNTABLE = (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError, NotImplementedError, TypeError)


def write(table: pa.Table, path: str, progress) -> None:
    """Write the profile of a table, n × m."""
    if table.num_columns > COLUMNS:
        text = f"Only the first {COLUMNS:,} of {table.num_columns:,} columns are in the profile."
        progress.note("columns_capped", text, port="result")
    with open(path, "wb") as file:
        file.write(encode(of_table(table)))


def of_table(table: pa.Table) -> dict:
    shown = [cut(name, NAME_CHARACTERS) for name in table.column_names[:COLUMNS]]
    columns = table.columns[:COLUMNS]
    head = [profile_cells.cells(column.slice(0, HEAD_ROWS)) for column in columns]
    return {
        "rows": table.num_rows,
        "columns": [of_column(name, column) for name, column in zip(shown, columns, strict=True)],
        "head": {"columns": shown, "rows": [list(row) for row in zip(*head, strict=True)]},
    }


def of_column(name: str, column: pa.ChunkedArray) -> dict:
    kind = cut(text_of(column.type), NAME_CHARACTERS)
    present = without_missing(column)
    values = tally(present)
    low, high = extremes(present, values)
    described = {
        "name": name,
        "type": kind,
        "count": len(present),
        "nulls": len(column) - len(present),
        "distinct": None if values is None else values.num_rows,
        "distinct_exact": values is not None,
        "min": low,
        "max": high,
    }
    if histogram.is_number(present.type):
        described |= moments(present)
    return described | {"histogram": histogram.of(present), "top": top(present.type, values)}


def without_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values that are there: no null, no NaN, no category that is null; categories of numbers and the like as values."""
    if pa.types.is_dictionary(column.type) and column.num_chunks:
        column = column.unify_dictionaries() if column.num_chunks > 1 else column
        if column.chunk(0).dictionary.null_count:
            column = decoded(column)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        gone = pc.is_null(column, nan_is_null=True)
        return column.filter(pc.invert(gone)) if pc.any(gone).as_py() else column
    return column.drop_null() if column.null_count else column


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type)


def tally(present: pa.ChunkedArray) -> pa.Table | None:
    """Each different value and how often it is there, in order of appearance; None beyond the bounds or for nested values."""
    if pa.types.is_dictionary(present.type):
        return tally_categories(present)
    if pa.types.is_floating(present.type):
        # −0 is 0.
        present = pc.add(present, pa.scalar(0, present.type))
    try:
        counted = pa.table({"value": pa.array([], present.type), "count": pa.array([], pa.int64())})
        for part in slices(present):
            found = pc.value_counts(part)
            counted = pa.concat_tables([counted, pa.table({"value": found.field(0), "count": found.field(1)})])
            if part is not present:
                counted = added_up(counted)
            if counted.num_rows > DISTINCT_MOST or counted.nbytes > DISTINCT_BYTES:
                return None
    except UNCOUNTABLE:
        return None
    return counted


def added_up(counted: pa.Table) -> pa.Table:
    grouped = counted.group_by("value", use_threads=False).aggregate([("count", "sum")])
    return pa.table({"value": grouped.column("value"), "count": grouped.column("count_sum")})


def tally_categories(present: pa.ChunkedArray) -> pa.Table | None:
    """As `tally`, by code: however long the texts are, each is looked at once. Categories that nobody has do not count."""
    codes = tally(pa.chunked_array([chunk.indices for chunk in present.chunks], present.type.index_type))
    if codes is None or not present.num_chunks:
        return codes
    codes = codes.combine_chunks()
    values = present.chunk(0).dictionary.take(codes.column("value").combine_chunks())
    by_value = pa.table({"value": values, "count": codes.column("count")})
    try:
        return added_up(by_value)
    except UNCOUNTABLE:
        return None


def slices(column: pa.ChunkedArray):
    """The column in parts that can be counted within the bounds; itself where it is small."""
    rows = max(1, min(SLICE_ROWS, int(SLICE_BYTES / (column.nbytes / max(1, len(column)) or 1))))
    if len(column) <= rows:
        yield column
        return
    for start in range(0, len(column), rows):
        yield column.slice(start, rows)


def extremes(present: pa.ChunkedArray, values: pa.Table | None) -> tuple[object, object]:
    """Smallest and largest value; null where the type has no order. Ordered categories have theirs."""
    kind = present.type
    try:
        if pa.types.is_dictionary(kind) and kind.ordered and len(present):
            found = pc.min_max(pa.chunked_array([chunk.indices for chunk in present.chunks]))
            dictionary = present.chunk(0).dictionary
            ends = [dictionary[found[end].as_py()] for end in ("min", "max")]
        else:
            if pa.types.is_dictionary(kind):
                if values is None:
                    return None, None
                present = values.column("value")
            if pa.types.is_duration(present.type):
                found = pc.min_max(present.cast(pa.int64()))
                ends = [found[end].cast(present.type) for end in ("min", "max")]
            else:
                found = pc.min_max(present)
                ends = [found["min"], found["max"]]
    except UNCOUNTABLE:
        return None, None
    return profile_cells.cell(ends[0]), profile_cells.cell(ends[1])


def moments(present: pa.ChunkedArray) -> dict:
    """Mean and standard deviation; null where there are too few values, or infinite ones."""
    if pa.types.is_decimal(present.type):
        present = present.cast(pa.float64())
    return {
        "mean": profile_cells.finite(pc.mean(present).as_py()),
        "std": profile_cells.finite(pc.stddev(present, ddof=1).as_py()),
    }


def top(kind: pa.DataType, values: pa.Table | None) -> list | None:
    """The most frequent values, first seen first among equals."""
    if values is None or not is_named(kind):
        return None
    order = pc.array_sort_indices(values.column("count").combine_chunks(), order="descending")
    best = values.take(order.slice(0, TOP))
    return [list(pair) for pair in zip(profile_cells.cells(best.column("value")), best.column("count").to_pylist(), strict=True)]


def is_named(kind: pa.DataType) -> bool:
    """True for the types whose values are names: texts, truth values, categories."""
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_dictionary))


# What goes first when the document is too large.
SHRINKING = (
    lambda found: found["head"].update(rows=found["head"]["rows"][:10]),
    lambda found: found["head"].update(rows=[[shorter(cell) for cell in row] for row in found["head"]["rows"]]),
    lambda found: [column.update(top=[[shorter(value), count] for value, count in column["top"]]) for column in found["columns"] if column["top"]],
    lambda found: [column.update(top=column["top"][:3]) for column in found["columns"] if column["top"]],
    lambda found: found["head"].update(rows=found["head"]["rows"][:3]),
    lambda found: [column.update(histogram=None) for column in found["columns"]],
    lambda found: (
        found.update(columns=found["columns"][:300]),
        found["head"].update(columns=found["head"]["columns"][:300], rows=[row[:300] for row in found["head"]["rows"]]),
    ),
    lambda found: [column.update(top=None) for column in found["columns"]],
)


def shorter(value: object) -> object:
    return cut(value, 40) if isinstance(value, str) else value


def encode(found: dict) -> bytes:
    """The profile as JSON, with less and less in it until it fits."""
    dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    encoded = dump(found).encode()
    for step in SHRINKING:
        if len(encoded) <= DOCUMENT_BYTES:
            break
        step(found)
        encoded = dump(found).encode()
    return encoded
