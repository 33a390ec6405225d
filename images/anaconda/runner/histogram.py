"""Histograms of numbers, dates and timestamps."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import profile_cells

BINS = 20
SLICE_ROWS = 1_000_000


def of(present: pa.ChunkedArray) -> dict | None:
    """`edges`: k + 1 from smallest to largest; `counts`: k. Every bin but the last excludes its upper edge.

    Few whole numbers get a bin each, one value a bin from itself to itself. Infinite values are left out. None for other
    types, and where there is no finite value.
    """
    kind = present.type
    if is_number(kind):
        numbers = present.cast(pa.float64()) if pa.types.is_decimal(kind) else present
    elif is_moment(kind):
        numbers = present.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(kind) else present.cast(pa.int64())
    else:
        return None
    if pa.types.is_floating(numbers.type):
        numbers = numbers.filter(pc.is_finite(numbers))
    if not len(numbers):
        return None
    found = pc.min_max(numbers)
    low, high = found["min"].as_py(), found["max"].as_py()
    edges, counts = divide(numbers, low, high, each_whole=pa.types.is_integer(kind) and high - low < BINS)
    return {"edges": as_moments(edges, kind) if is_moment(kind) else [safe(edge) for edge in edges], "counts": counts}


def is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_moment(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def divide(numbers: pa.ChunkedArray, low, high, *, each_whole: bool) -> tuple[list, list[int]]:
    """Edges, and how many values lie between."""
    if low == high:
        return [low, low], [len(numbers)]
    if each_whole:
        edges = [low + step for step in range(high - low + 2)]
        return edges, count(numbers, low, [edge - low for edge in edges[1:-1]])
    if isinstance(low, int) and high - low < 2**63:
        # From the lowest on, so that large integers close together stay apart as floats.
        above = [(high - low) * number / BINS for number in range(1, BINS)]
        return [low, *(low + round(step) for step in above), high], count(numbers, low, above)
    # In shares of both ends: their distance may be more than any float.
    inner = [float(low * (1 - number / BINS) + high * (number / BINS)) for number in range(1, BINS)]
    return [low, *inner, high], count(numbers, None, inner)


def count(numbers: pa.ChunkedArray, origin, inner: list[float]) -> list[int]:
    """How many values lie in each bin, a million at a time. `inner`: the edges between bins, from `origin` on if there is one."""
    whole = np.zeros(len(inner) + 1, np.int64)
    for start in range(0, len(numbers), SLICE_ROWS):
        values = numbers.slice(start, SLICE_ROWS).to_numpy()
        if origin is not None:
            values = values.astype(np.int64 if values.dtype != np.uint64 else np.uint64)
            values = values - values.dtype.type(origin)
        whole += np.bincount(np.searchsorted(np.array(inner), values.astype(np.float64), side="right"), minlength=len(whole))
    return whole.tolist()


def safe(edge: float) -> float:
    """A number that every reader of JSON reads alike."""
    return float(edge) if abs(edge) > profile_cells.SAFE_INTEGER else edge


def as_moments(edges: list[int], kind: pa.DataType) -> list:
    if pa.types.is_date32(kind):
        return profile_cells.cells(pa.chunked_array([pa.array(edges, pa.int32()).cast(kind)]))
    kind = pa.timestamp("ms") if pa.types.is_date64(kind) else kind
    return profile_cells.cells(pa.chunked_array([pa.array(edges, pa.int64()).cast(kind)]))
