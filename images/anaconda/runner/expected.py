"""Holding a table against the columns that it must have, by name and type.

What can become the expected type without a value being lost is converted: JSON and CSV have fewer types than a table, and no two
of these files say a column's in the same way. Whether a value would be lost is seen from the values. Everything else is refused,
by the column's name.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from . import type_words
from .failure import cut, in_a_sentence
from .refused import Refused

# In these, types are inferred from what is written; in the others they were chosen.
INFERRED = frozenset({"csv", "json", "ndjson", "studio"})
NAME_CHARACTERS, NAMES = 100, 10
NOTES = 20
COMPARED = 200
FAILURES = (pa.ArrowException, ValueError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Misfit:
    """One column that is not as expected. `found`, `wanted`: the types; empty where there is none."""

    column: str
    found: str
    wanted: str
    text: str


class Expected:
    """The columns that the table of a port must have."""

    def __init__(self, port: str, columns: list[dict], form: str):
        self._port = port
        self._kinds = {column["name"]: column["type"] for column in columns}
        self._is_inferred = form in INFERRED

    def nothing(self) -> pa.Table:
        """The table without a row."""
        return pa.table({name: pa.nulls(0, type_words.of_text(kind) or pa.null()) for name, kind in self._kinds.items()})

    def hold(self, table: pa.Table, progress, as_text: Callable[[list[str]], pa.Table | None]) -> pa.Table:
        """The table with exactly these columns, in their order.

        `as_text(names)`: columns as the file writes them, where it writes text.

        Raises:
            Refused: `bad_input`, naming the first column that does not fit; each of them is noted.
        """
        # Asked once: Arrow makes a new list of them each time, and there may be ten thousand.
        there = dict.fromkeys(table.column_names)
        misfits = [*self._missing(there), *self._unknown(table)]
        columns: dict[str, pa.ChunkedArray] = {}
        unlike: dict[str, tuple[pa.DataType, Misfit]] = {}
        for name in self._kinds:
            if name in there:
                column, kind = table.column(name), type_words.of_text(self._kinds[name])
                converted = self._converted(name, column, kind)
                if isinstance(converted, Misfit) and kind is not None and self._is_inferred and may_be_written(kind):
                    unlike[name] = kind, converted
                elif isinstance(converted, Misfit):
                    misfits.append(converted)
                else:
                    columns[name] = converted
        written = as_text(list(unlike)) if unlike else None
        for name, (kind, misfit) in unlike.items():
            again = misfit if written is None else self._converted(name, written.column(name), kind)
            if isinstance(again, Misfit):
                misfits.append(misfit)
            else:
                columns[name] = again
        if misfits:
            raise self._refused(misfits, progress)
        return pa.table([columns[name] for name in self._kinds], names=list(self._kinds))

    def _missing(self, there: dict[str, None]) -> list[Misfit]:
        unknown = [name for name in there if name not in self._kinds][:COMPARED]
        misfits: list[Misfit] = []
        for name, kind in self._kinds.items():
            if name not in there:
                near = difflib.get_close_matches(name, unknown, n=1) if len(misfits) < NOTES else []
                hint = f"; is {quoted(near[0])} meant for it?" if near else "."
                misfits.append(Misfit(name, "", kind, f"{self._port} has no column {quoted(name)}, which is expected as {cut(kind, 100)}{hint}"))
        return misfits

    def _unknown(self, table: pa.Table) -> list[Misfit]:
        known = ", ".join(quoted(name) for name in list(self._kinds)[:NAMES]) + (" and others" if len(self._kinds) > NAMES else "")
        expected = f"expected are {known}." if self._kinds else "no column is expected."
        return [
            Misfit(field.name, found := type_words.text_of(field.type), "", f"{self._port} has a column {quoted(field.name)} ({cut(found, 100)}); {expected}")
            for field in table.schema
            if field.name not in self._kinds
        ]

    def _converted(self, name: str, column: pa.ChunkedArray, kind: pa.DataType | None) -> pa.ChunkedArray | Misfit:
        found, wanted = type_words.text_of(column.type), self._kinds[name]
        # Where the example had no value in this column, nothing is known of its type.
        if found == wanted or wanted == "null":
            return column
        why = ""
        if kind is not None and (may(column.type, kind, self._is_inferred) or may_be_days(column.type, kind)):
            try:
                return convert(column, kind)
            except FAILURES as error:
                why = f" ({in_a_sentence(error, 150)})"
        return Misfit(name, found, wanted, f"Column {quoted(name)} of {self._port} is {cut(found, 100)}; expected {cut(wanted, 100)}{why}.")

    def _refused(self, misfits: list[Misfit], progress) -> Refused:
        for one in misfits[:NOTES]:
            progress.note("unexpected_column", one.text, port=self._port, column=one.column, **{"from": one.found, "to": one.wanted})
        more = len(misfits) - 1
        others = f" {'One other column does' if more == 1 else f'{more:,} other columns do'} not fit either." if more else ""
        return Refused("bad_input", misfits[0].text + others)


def may(found: pa.DataType, wanted: pa.DataType, is_inferred: bool) -> bool:
    """True if there is a way from one type to the other on which a value is kept, or it is seen that it would not be."""
    is_ = pa.types
    if is_.is_null(found):
        return True
    if is_.is_dictionary(found) and not is_.is_dictionary(wanted):
        return found.value_type == wanted or may(found.value_type, wanted, is_inferred)
    if is_.is_dictionary(wanted):
        return not wanted.ordered and not is_.is_nested(found) and type_words.text_of(found) == type_words.text_of(wanted.value_type)
    if is_.is_list(found) and is_.is_list(wanted):
        return found.value_type == wanted.value_type or may(found.value_type, wanted.value_type, is_inferred)
    if is_.is_struct(found) and is_.is_struct(wanted):
        return names_of(found) == names_of(wanted) and all(
            found.field(at).type == wanted.field(at).type or may(found.field(at).type, wanted.field(at).type, is_inferred) for at in range(found.num_fields)
        )
    return any(is_found(found) and is_wanted(wanted) and fits(found, wanted, is_inferred) for is_found, is_wanted, fits in WAYS)


def quoted(name: str) -> str:
    return repr(cut(name, NAME_CHARACTERS))


def names_of(kind: pa.DataType) -> list[str]:
    return [kind.field(at).name for at in range(kind.num_fields)]


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_moment(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind)


def same_clock(found: pa.DataType, wanted: pa.DataType, _is_inferred: bool) -> bool:
    """A time with a zone is a moment, one without is what a clock shows: neither becomes the other."""
    return (found.tz is None) == (wanted.tz is None)


def may_be_days(found: pa.DataType, wanted: pa.DataType) -> bool:
    """pandas has no dates. Of whole columns only: the cast says nothing of what it cuts off, and `convert` does not look into lists."""
    return pa.types.is_timestamp(found) and found.tz is None and pa.types.is_date(wanted)


ALWAYS = lambda _found, _wanted, _is_inferred: True  # noqa: E731
INFERRED_ONLY = lambda _found, _wanted, is_inferred: is_inferred  # noqa: E731

# Type that is there, type that is expected, and when the way is open. The cast looks at the values.
WAYS = (
    (pa.types.is_integer, pa.types.is_integer, ALWAYS),
    (pa.types.is_integer, lambda kind: pa.types.is_floating(kind) or pa.types.is_decimal(kind), ALWAYS),
    (pa.types.is_floating, pa.types.is_floating, lambda found, wanted, is_inferred: is_inferred or found.bit_width <= wanted.bit_width),
    # pandas makes fractions of integers where one is missing.
    (pa.types.is_floating, pa.types.is_integer, ALWAYS),
    (pa.types.is_floating, pa.types.is_decimal, INFERRED_ONLY),
    (pa.types.is_decimal, pa.types.is_decimal, ALWAYS),
    (pa.types.is_date, lambda kind: pa.types.is_timestamp(kind) and kind.tz is None, ALWAYS),
    (pa.types.is_timestamp, pa.types.is_timestamp, same_clock),
    (pa.types.is_time, pa.types.is_time, ALWAYS),
    (pa.types.is_duration, pa.types.is_duration, ALWAYS),
    (is_text, lambda kind: is_moment(kind) or pa.types.is_decimal(kind), INFERRED_ONLY),
    (is_text, is_text, ALWAYS),
    (pa.types.is_binary, pa.types.is_large_binary, ALWAYS),
)


def may_be_written(kind: pa.DataType) -> bool:
    """True for what a CSV file may write so that it is taken for something else: `007`, or a time with fewer digits."""
    return is_text(kind) or is_moment(kind) or pa.types.is_decimal(kind) or (pa.types.is_dictionary(kind) and is_text(kind.value_type))


def convert(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column in another type.

    Raises:
        pyarrow.ArrowException: a value has no equal there.
    """
    if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(kind):
        column = column.cast(column.type.value_type)
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type).dictionary_encode().cast(kind)
    if pa.types.is_decimal(kind) and not pa.types.is_decimal(column.type):
        # The shortest text of a float is what stood in the file; and of an integer Arrow would ask for room that no value needs.
        column = column.cast(pa.string())
    if pa.types.is_time(kind) and is_text(column.type):
        # Arrow reads a time of day as a part of a timestamp only.
        column = pc.binary_join_element_wise(pa.scalar("1970-01-01T", column.type), column, pa.scalar("", column.type))
        column = column.cast(pa.timestamp(kind.unit))
    if pa.types.is_floating(column.type) and pa.types.is_integer(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if may_be_days(column.type, kind):
        return days_of(column, kind)
    return column.cast(kind)


def days_of(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Raises `pyarrow.ArrowInvalid` where one is not at midnight; the cast itself would cut that off."""
    days = column.cast(kind)
    if pc.any(pc.not_equal(days.cast(column.type), column)).as_py():
        raise pa.ArrowInvalid("a value has a time of day")
    return days
