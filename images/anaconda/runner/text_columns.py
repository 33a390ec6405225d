"""From columns of text to what they mean: by the type that each must have, or else as in a CSV file.

A text without a character is missing, unless its column is one of text.
"""

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from . import csv_in, expected, type_words

# How Studio writes a moment.
MOMENT = "%m/%d/%Y %I:%M:%S %p"
BLOCK_BYTES_MOST = 2**31 - 1


def typed(texts: pa.Table, wanted: dict[str, str]) -> pa.Table:
    """The same columns, each in the type that `wanted` names where all its cells can be read as such.

    `texts`: every column is string, or null where no cell is there.
    """
    columns, others = {}, []
    for name in texts.column_names:
        kind = type_words.of_text(wanted[name]) if name in wanted else None
        column = None if kind is None else as_kind(texts.column(name), kind)
        columns[name] = column
        if column is None:
            others.append(name)
    if others:
        found = inferred(texts.select(others))
        columns |= {name: found.column(name) for name in others}
    return pa.table(list(columns.values()), names=list(columns))


def as_kind(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The column in this type; None where a text is nothing of the kind, or the kind has no texts."""
    if not is_read(kind):
        return None
    if not expected.is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        column = without_empty(column)
    for way in (expected.convert, from_studio):
        try:
            return way(column, kind)
        except expected.FAILURES:
            continue
    return None


def is_read(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return not kind.ordered and is_read(kind.value_type)
    return any(is_kind(kind) for is_kind in (expected.is_text, expected.is_moment, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal))


def from_studio(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Moments as Studio writes them."""
    if not expected.is_moment(kind):
        raise ValueError("only moments have a second form")
    return expected.convert(pc.strptime(column, MOMENT, "s"), kind)


def without_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_null(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)


def inferred(texts: pa.Table) -> pa.Table:
    """Each column as a CSV file's would be. One of text stays as it is."""
    if texts.num_rows == 0:
        return pa.table([pa.nulls(0)] * texts.num_columns, names=texts.column_names)
    gapped = pa.table([without_empty(column) for column in texts.columns], names=texts.column_names)
    read = parse(gapped, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""])
    words = pa.array(word for word in csv_in.MISSING_WORDS if word)
    suspects = [name for name in texts.column_names if is_untold(read.column(name)) and may_be_other(gapped.column(name), words)]
    again = parse(gapped.select(suspects), strings_can_be_null=False) if suspects else read
    columns = [(again if name in suspects else read).column(name) for name in texts.column_names]
    told = [texts.column(name) if is_untold(column) else column for name, column in zip(texts.column_names, columns, strict=True)]
    return pa.table(told, names=texts.column_names)


def parse(texts: pa.Table, **convert: object) -> pa.Table:
    """Let the CSV reader decide, as nobody else decides just as it does."""
    sink = pa.BufferOutputStream()
    csv.write_csv(texts, sink, csv.WriteOptions(include_header=False))
    written = sink.getvalue()
    return csv.read_csv(
        pa.BufferReader(written),
        # In one block, so that no row lies in two.
        read_options=csv.ReadOptions(column_names=texts.column_names, block_size=min(written.size + 1, BLOCK_BYTES_MOST)),
        # A missing cell that is alone in its row is an empty line.
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(**convert),
    )


def is_untold(column: pa.ChunkedArray) -> bool:
    return expected.is_text(column.type) or pa.types.is_null(column.type)


def may_be_other(column: pa.ChunkedArray, words: pa.Array) -> bool:
    return not pa.types.is_null(column.type) and csv_in.may_be_other(column, words)
