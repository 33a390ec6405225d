"""From a pandas column to an Arrow column."""

import datetime
import decimal
import numbers

import numpy as np
import pandas as pd
import pyarrow as pa

from .arrow_guard import children, is_list
from .failure import safe_repr, type_name
from .plain import one_piece, plain
from .refused import Refused

PLAIN_SCALARS = (str, bytes, bool, numbers.Number, np.generic, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)
ARROW_FAILURES = (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError)


def to_arrow(series: pd.Series, name: str, came_as: pa.DataType | None, progress, port: str) -> pa.Array:
    """One column, in one piece.

    `came_as`: the Arrow type of the input column with this name and dtype, which it gets back if its values still fit.

    Raises:
        Refused: `bad_return`, naming column, row and value, if Arrow cannot hold it.
    """
    if isinstance(series.dtype, pd.PeriodDtype):
        series = series.astype(str).where(series.notna())
    elif isinstance(series.dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    try:
        array = pa.array(series, from_pandas=True)
    except ARROW_FAILURES as error:
        array = retry(series, name, came_as, str(error), progress, port)
    array = plain(one_piece(array))
    if came_as is not None and array.type != came_as and series.dtype == object:
        array = as_it_came(series, array, came_as)
    elif came_as is not None and pa.types.is_dictionary(array.type) and pa.types.is_dictionary(came_as):
        array = categories_as_they_came(array, came_as.value_type)
    return array


def retry(series: pd.Series, name: str, came_as: pa.DataType | None, error: str, progress, port: str) -> pa.Array:
    """What can be done with a column whose values do not have one Arrow type."""
    if came_as is not None and series.dtype == object:
        try:
            return pa.array(series, type=came_as, from_pandas=True)
        except ARROW_FAILURES:
            pass
    if is_mixed(series):
        progress.note("mixed_column", f"Column {name!r} holds values of several types; it was written as text.", port=port, column=name)
        return pa.array([None if missing(value) else as_text(value) for value in series], pa.large_string())
    row, value = first_bad(series)
    raise Refused(
        "bad_return",
        f"Column {name!r} of the {port} cannot be written: row {row} holds {safe_repr(value)} ({type_name(value)}). "
        "Columns hold numbers, text, bytes, dates, times, decimals, lists and dicts.",
    )


def is_mixed(series: pd.Series) -> bool:
    """True for an object column of plain scalars of more than one type."""
    if series.dtype != object and not isinstance(series.dtype, pd.CategoricalDtype):
        return False
    kinds = set()
    for value in series:
        if missing(value):
            continue
        if not isinstance(value, PLAIN_SCALARS):
            return False
        kinds.add(type(value))
    return len(kinds) > 1


def missing(value: object) -> bool:
    """True for None, NaN, NaT and NA."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def first_bad(series: pd.Series) -> tuple[int, object]:
    """Row and value at which the conversion begins to fail, by halving."""
    values = series.to_numpy(dtype=object)
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pa.array(values[:middle], from_pandas=True)
            good = middle
        except ARROW_FAILURES:
            bad = middle
    row = max(0, bad - 1)
    return row, values[row] if len(values) else None


def categories_as_they_came(array: pa.DictionaryArray, values: pa.DataType) -> pa.DictionaryArray:
    """The categories in their input type if nothing is lost; where there is none, nothing else tells their type."""
    if array.type.value_type == values or not same_kind(array.type.value_type, values):
        return array
    try:
        return pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(values), ordered=array.type.ordered)
    except ARROW_FAILURES:
        return array


def as_it_came(series: pd.Series, array: pa.Array, came_as: pa.DataType) -> pa.Array:
    """The values in their input type if nothing is lost, else as inferred."""
    if not same_kind(array.type, came_as):
        return array
    try:
        return one_piece(pa.array(series, type=came_as, from_pandas=True))
    except ARROW_FAILURES:
        return array


# Types that are one kind to an author, whatever their width or unit.
KINDS = (
    (pa.types.is_string, pa.types.is_large_string),
    (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
    (pa.types.is_boolean,),
    (pa.types.is_integer,),
    (pa.types.is_floating,),
    (pa.types.is_date,),
    (pa.types.is_time,),
    (pa.types.is_decimal,),
    (pa.types.is_timestamp,),
    (pa.types.is_duration,),
    (pa.types.is_interval,),
)


def same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    """True if values inferred as `found` may be written as `wanted` without changing what they are.

    Conversion itself checks the values; this looks at what it would silently accept: text as bytes, dicts with other keys.
    """
    if pa.types.is_null(found):
        return True
    if pa.types.is_map(wanted):
        # Lists of pairs; the conversion takes nothing else.
        return is_list(found)
    if pa.types.is_map(found):
        return False
    if is_list(found) and is_list(wanted):
        return same_kind(found.value_type, wanted.value_type)
    if pa.types.is_struct(found) and pa.types.is_struct(wanted):
        return all(
            wanted.get_field_index(field.name) >= 0 and same_kind(field.type, wanted.field(field.name).type)
            for field in (found.field(index) for index in range(found.num_fields))
        )
    if children(found) or children(wanted):
        return False
    return any(any(test(found) for test in tests) and any(test(wanted) for test in tests) for tests in KINDS)
