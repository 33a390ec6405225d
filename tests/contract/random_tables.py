"""Random tables of every type of rule 10, and what «equal up to physical width» means."""

from __future__ import annotations

import datetime as dt
import io
import math
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
from hypothesis import strategies as st

ROWS_MOST = 12
UNITS = ("s", "ms", "us", "ns")
ZONES = ("UTC", "Europe/Vienna", "America/St_Johns", "+02:00", "-09:30")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["a", "a", "a (2)", "", " ", "0", "A\nb"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
DATES = st.dates()
MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))


def integers(kind: pa.DataType) -> st.SearchStrategy:
    bits = kind.bit_width
    return st.integers(0, 2**bits - 1) if pa.types.is_unsigned_integer(kind) else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def decimals(precision: int, scale: int) -> st.SearchStrategy:
    return st.integers(-(10**precision) + 1, 10**precision - 1).map(lambda number: Decimal(f"{number}e-{scale}"))


def times(unit: str) -> st.SearchStrategy:
    return st.integers(0, 24 * 3600 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit] - 1)


INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
# What is drawn as a whole number is laid out as such and only then called a timestamp: Python's own types hold less.
PLAIN: list[tuple[pa.DataType, st.SearchStrategy]] = [
    (pa.bool_(), st.booleans()),
    *((kind, integers(kind)) for kind in INTEGERS),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.binary(), st.binary(max_size=6)),
    (pa.large_binary(), st.binary(max_size=6)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), DATES),
    (pa.date64(), DATES),
    *((pa.timestamp("us", zone), MOMENTS) for zone in (None, "UTC")),
    (pa.time32("s"), st.times().map(lambda time: time.replace(microsecond=0))),
    (pa.time64("us"), st.times()),
    (pa.decimal128(10, 3), decimals(10, 3)),
    (pa.decimal128(38, 0), decimals(38, 0)),
    (pa.decimal128(5, 5), decimals(5, 5)),
    (pa.decimal256(60, 20), decimals(60, 20)),
    (pa.null(), st.none()),
]
COUNTED: list[tuple[pa.DataType, st.SearchStrategy]] = [
    *((pa.timestamp(unit), INT64) for unit in UNITS),
    *((pa.timestamp(unit, zone), st.integers(-(10**9), 10**9)) for unit in UNITS for zone in ZONES),
    *((pa.duration(unit), INT64) for unit in UNITS),
    (pa.time32("ms"), times("ms")),
    (pa.time64("us"), times("us")),
]


def gaps(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.none(), values)


@st.composite
def plain_arrays(draw: st.DrawFn, rows: int) -> pa.Array:
    kind, values = draw(st.sampled_from(PLAIN))
    cells = gaps(values) if draw(st.booleans()) else values
    return pa.array(draw(st.lists(cells, min_size=rows, max_size=rows)), kind)


@st.composite
def counted_arrays(draw: st.DrawFn, rows: int) -> pa.Array:
    kind, values = draw(st.sampled_from(COUNTED))
    cells = gaps(values) if draw(st.booleans()) else values
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array(draw(st.lists(cells, min_size=rows, max_size=rows)), width).cast(kind)


@st.composite
def categories(draw: st.DrawFn, rows: int) -> pa.Array:
    kinds = (pa.string(), pa.int64(), pa.date32(), pa.bool_(), pa.timestamp("us"))
    kind, values = draw(st.sampled_from([pair for pair in PLAIN if pair[0] in kinds]))
    dictionary = draw(st.lists(values, min_size=1, max_size=4, unique=True))
    codes = draw(st.lists(gaps(st.integers(0, len(dictionary) - 1)), min_size=rows, max_size=rows))
    width = draw(st.sampled_from([pa.int8(), pa.int32(), pa.uint8(), pa.int64()]))
    return pa.DictionaryArray.from_arrays(pa.array(codes, width), pa.array(dictionary, kind), ordered=draw(st.booleans()))


@st.composite
def nested_types(draw: st.DrawFn, levels: int = 2) -> tuple[pa.DataType, st.SearchStrategy]:
    """A list or struct, and its values."""
    shape = draw(st.sampled_from(["list", "large_list", "fixed", "struct", "map"]))
    inner = st.sampled_from([pair for pair in PLAIN if not pa.types.is_floating(pair[0])])
    child, values = draw(inner if levels == 0 else inner | nested_types(levels - 1))
    if shape == "list":
        return pa.list_(child), st.lists(gaps(values), max_size=3)
    if shape == "large_list":
        return pa.large_list(child), st.lists(gaps(values), max_size=3)
    if shape == "fixed":
        return pa.list_(child, 2), st.lists(gaps(values), min_size=2, max_size=2)
    if shape == "map":
        return pa.map_(pa.string(), child), st.dictionaries(TEXTS, gaps(values), max_size=2).map(lambda found: list(found.items()))
    other, others = draw(inner)
    kind = pa.struct([pa.field("x", child), pa.field("y z", other)])
    return kind, st.fixed_dictionaries({"x": gaps(values), "y z": gaps(others)})


@st.composite
def nested_arrays(draw: st.DrawFn, rows: int) -> pa.Array:
    kind, values = draw(nested_types())
    return pa.array(draw(st.lists(gaps(values), min_size=rows, max_size=rows)), kind)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.ChunkedArray:
    """A column in one to three chunks; some are slices of longer arrays."""
    before = draw(st.sampled_from([0, 0, 3]))
    arrays = st.one_of(plain_arrays(rows + before), counted_arrays(rows + before), categories(rows + before), nested_arrays(rows + before))
    array = draw(arrays).slice(before)
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=2)))
    ends = [0, *cuts, rows]
    return pa.chunked_array([array.slice(start, end - start) for start, end in pairwise(ends)], array.type)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """0…12 rows, 1…6 columns; names may be empty or repeat."""
    rows = draw(st.integers(0, ROWS_MOST))
    count = draw(st.integers(1, 6))
    return pa.table([draw(columns(rows)) for _ in range(count)], names=[draw(NAMES) for _ in range(count)])


def file_bytes(table: pa.Table) -> bytes:
    """The table as an Arrow file, its chunks as record batches."""
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(unify_dictionaries=True)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def logical(kind: pa.DataType) -> str:
    """A type without physical width: neither of offsets nor of a dictionary's codes."""
    if pa.types.is_dictionary(kind):
        return f"dictionary<{logical(kind.value_type)}, {kind.ordered}>"
    if pa.types.is_struct(kind):
        return "struct<" + ", ".join(f"{kind.field(at).name}: {logical(kind.field(at).type)}" for at in range(kind.num_fields)) + ">"
    if pa.types.is_map(kind):
        return f"map<{logical(kind.key_type)}, {logical(kind.item_type)}>"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list<{logical(kind.value_type)}>"
    return str(kind).removeprefix("large_")


def values(column: pa.ChunkedArray) -> list:
    """The values such that == compares them: a float that is not a number is missing, moments are their number."""
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type)
    if pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type):
        column = column.cast(pa.int64())
    return [None if isinstance(value, float) and math.isnan(value) else value for value in column.to_pylist()]


def differences(sent: pa.Table, got: pa.Table) -> list[str]:
    """What is not equal, by column number."""
    if (sent.num_rows, sent.num_columns) != (got.num_rows, got.num_columns):
        return [f"{sent.num_rows} × {sent.num_columns} became {got.num_rows} × {got.num_columns}"]
    found = []
    for number, (before, after) in enumerate(zip(sent.columns, got.columns, strict=True)):
        if logical(before.type) != logical(after.type):
            found.append(f"column {number}: {before.type} became {after.type}")
        elif values(before) != values(after):
            found.append(f"column {number} ({before.type}): {values(before)} became {values(after)}")
    return found
