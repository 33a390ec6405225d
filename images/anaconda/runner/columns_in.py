"""From an Arrow column to what pandas shows: the types of rule 10, one row each."""

import ctypes

import numpy as np
import pandas as pd
import pyarrow as pa

from .plain import one_piece

NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
FLAT = {
    pa.int8(): "i1", pa.int16(): "i2", pa.int32(): "i4", pa.int64(): "i8",
    pa.uint8(): "u1", pa.uint16(): "u2", pa.uint32(): "u4", pa.uint64(): "u8",
    pa.float16(): "f2", pa.float32(): "f4", pa.float64(): "f8",
    **{pa.timestamp(unit): f"M8[{unit}]" for unit in ("s", "ms", "us", "ns")},
    **{pa.duration(unit): f"m8[{unit}]" for unit in ("s", "ms", "us", "ns")},
}  # fmt: skip
TEXT = pd.StringDtype("pyarrow", na_value=np.nan)


def to_pandas(column: pa.ChunkedArray):
    """One column as an array that `DataFrame` takes without copying, and that can be written to."""
    kind = column.type
    if kind in FLAT and column.null_count == 0:
        return flat(column, np.dtype(FLAT[kind]))
    if kind in NULLABLE and column.null_count:
        return NULLABLE[kind].__from_arrow__(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return TEXT.__from_arrow__(column.cast(pa.large_string()))
    if pa.types.is_dictionary(kind):
        return categorical(column)
    if pa.types.is_nested(kind):
        return objects(column.to_pylist())
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.to_pandas().array
    values = column.to_pandas(date_as_object=True).to_numpy()
    return values if values.flags.writeable else values.copy()


def flat(column: pa.ChunkedArray, dtype: np.dtype) -> np.ndarray:
    """A column without gaps as a NumPy array: the file's own pages if it is in one piece, else copied together."""
    if column.num_chunks == 1:
        return writable_view(column.chunk(0), dtype)
    whole = np.empty(len(column), dtype)
    done = 0
    for chunk in column.chunks:
        whole[done : done + len(chunk)] = writable_view(chunk, dtype)
        done += len(chunk)
    return whole


def writable_view(chunk: pa.Array, dtype: np.dtype) -> np.ndarray:
    """The chunk's own memory, writable.

    Arrow calls its buffers immutable because they may be shared. Ours are not: they lie in a private mapping or were just
    made by a parser, and the Arrow column is given up after this.
    """
    buffer = chunk.buffers()[1]
    if buffer is None or len(chunk) == 0:
        return np.empty(0, dtype)
    start = buffer.address + chunk.offset * dtype.itemsize
    if start % dtype.itemsize:
        return np.array(chunk.to_numpy(), dtype)
    memory = (ctypes.c_char * (len(chunk) * dtype.itemsize)).from_address(start)
    # The array keeps `memory` alive, and that must keep the buffer.
    memory.buffer = buffer
    return np.frombuffer(memory, dtype)


def categorical(column: pa.ChunkedArray):
    """A dictionary column as a Categorical; as plain values if its dictionary has gaps or repeats, or holds lists or structs."""
    if pa.types.is_nested(column.type.value_type):
        taken = [chunk.dictionary.take(chunk.indices) for chunk in column.chunks]
        return to_pandas(pa.chunked_array(taken, column.type.value_type))
    chunk = one_piece(column)
    values = chunk.dictionary
    if values.null_count or len(values.unique()) != len(values):
        return to_pandas(pa.chunked_array([chunk.dictionary_decode()]))
    categories = pd.Index(to_pandas(pa.chunked_array([values])))
    codes = chunk.indices
    if not pa.types.is_signed_integer(codes.type):
        codes = codes.cast(pa.int64())
    # -1 is how pandas says «missing» here.
    return pd.Categorical.from_codes(codes.fill_null(-1).to_numpy(zero_copy_only=False), categories, ordered=column.type.ordered)


def objects(values: list) -> np.ndarray:
    """A one-dimensional object array, whatever the values are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
