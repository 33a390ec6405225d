"""What a value is in a text format: JSON and, inside a cell, CSV.

Types become, at any depth of lists and structs:

| Arrow                | JSON                                                                 |
|----------------------|----------------------------------------------------------------------|
| bool, int, string    | themselves                                                           |
| float                | itself; NaN and ±infinity are null, for JSON has none                |
| decimal              | text, every digit kept                                               |
| date, time           | text, ISO 8601                                                       |
| timestamp            | text, ISO 8601 in its unit; with a zone the offset of that moment    |
| duration             | the number of its unit                                               |
| bytes                | text: base64 (in CSV hexadecimal)                                    |
| dictionary           | its values                                                           |
| list, struct         | array, object                                                        |
| map                  | array of {"key", "value"}                                            |
| interval             | array of months, days, nanoseconds                                   |
"""

import base64

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def as_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def plain(array: pa.Array, bytes_text=as_base64) -> pa.Array:
    """The values as JSON's own kinds; missing stays missing.

    Raises:
        pyarrow.ArrowException, ValueError: the values have no such form.
    """
    for is_kind, convert in CONVERSIONS:
        if is_kind(array.type):
            return convert(array, bytes_text)
    return array


def chunked(column: pa.ChunkedArray, bytes_text=as_base64) -> pa.ChunkedArray:
    """`plain` for a whole column."""
    chunks = [plain(chunk, bytes_text) for chunk in column.chunks]
    return pa.chunked_array(chunks, chunks[0].type if chunks else plain(pa.nulls(0, column.type), bytes_text).type)


def is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def is_any_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_known_zone(kind: pa.TimestampType) -> bool:
    """False for a zone that Arrow cannot find: a file may name any."""
    try:
        pa.nulls(1, kind).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def finite(array: pa.Array, _bytes_text) -> pa.Array:
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    return pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))


def text(array: pa.Array, _bytes_text) -> pa.Array:
    return array.cast(pa.string())


def moments(array: pa.Array, _bytes_text) -> pa.Array:
    """Timestamps as ISO 8601; in UTC where the zone is not known."""
    if array.type.tz is not None and not is_known_zone(array.type):
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    texts = pc.replace_substring_regex(array.cast(pa.string()), r"^(-?\d+-\d\d-\d\d) ", r"\1T")
    return pc.replace_substring_regex(texts, r"([+-]\d\d)(\d\d)$", r"\1:\2") if array.type.tz is not None else texts


def spans(array: pa.Array, _bytes_text) -> pa.Array:
    return array.cast(pa.int64())


def bytes_as_text(array: pa.Array, bytes_text) -> pa.Array:
    return pa.array([None if value is None else bytes_text(value) for value in array.to_pylist()], pa.large_string())


def decoded(array: pa.Array, bytes_text) -> pa.Array:
    # Not by a cast: it knows no nested values.
    return plain(array.dictionary, bytes_text).take(array.indices)


def intervals(array: pa.Array, _bytes_text) -> pa.Array:
    return pa.array([None if value is None else list(value) for value in array.to_pylist()], pa.list_(pa.int64()))


def maps(array: pa.Array, bytes_text) -> pa.Array:
    items = [("key", array.keys), ("value", array.items)]
    return laid_out(array, lambda rows: structs_of([(name, plain(child.take(rows), bytes_text)) for name, child in items]))


def lists(array: pa.Array, bytes_text) -> pa.Array:
    return laid_out(array, lambda rows: plain(array.values.take(rows), bytes_text))


def laid_out(array: pa.Array, values_at) -> pa.Array:
    """A list of each row's own values one after the other: those of slices and of missing lists lie anywhere in Arrow's."""
    there = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        begins, lengths = (np.arange(len(array)) + array.offset) * size, np.full(len(array), size)
    else:
        offsets = array.offsets.to_numpy().astype(np.int64)
        begins, lengths = offsets[:-1], np.diff(offsets)
    lengths = np.where(there, lengths, 0)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.repeat(begins - ends[:-1], lengths) + np.arange(ends[-1])
    gaps = np.concatenate([~there, [False]])
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64(), mask=gaps), values_at(pa.array(rows, pa.int64())))


def structs(array: pa.Array, bytes_text) -> pa.Array:
    kind = array.type
    if kind.num_fields == 0:
        return array
    children = [(kind.field(index).name, plain(array.field(index), bytes_text)) for index in range(kind.num_fields)]
    return structs_of(children, array.is_null() if array.null_count else None)


def structs_of(children: list[tuple[str, pa.Array]], mask: pa.Array | None = None) -> pa.Array:
    fields = [pa.field(name, child.type) for name, child in children]
    return pa.StructArray.from_arrays([child for _, child in children], fields=fields, mask=mask)


# The first row that fits, from the top; what is in none is JSON's own.
CONVERSIONS = (
    (pa.types.is_floating, finite),
    (pa.types.is_decimal, text),
    (pa.types.is_date, text),
    (pa.types.is_time, text),
    (pa.types.is_timestamp, moments),
    (pa.types.is_duration, spans),
    (is_bytes, bytes_as_text),
    (pa.types.is_dictionary, decoded),
    (pa.types.is_interval, intervals),
    (pa.types.is_map, maps),
    (is_any_list, lists),
    (pa.types.is_struct, structs),
)
