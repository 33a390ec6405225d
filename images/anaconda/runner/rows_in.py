"""From values of JSON to Arrow columns.

Integers are int64, or uint64 where all are ≥ 0 and some are larger; with a fraction among them float64. Integers beyond
64 bits, and plain values of several kinds, are text, and a note says so. Objects are structs, arrays lists; inside them
integers are int64 and nothing is mixed. A key that a record does not have is missing, like null.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from .arrow_guard import COLUMNS, NAME_CHARACTERS, row_bytes
from .failure import safe_repr, safe_text
from .refused import Refused

FAILURES = (pa.ArrowException, TypeError, ValueError, OverflowError)
UINT64_MOST = 2**64 - 1
INTEGERS = {pa.int64(), pa.uint64()}
NUMBERS = INTEGERS | {pa.float64()}
SCALARS = NUMBERS | {pa.bool_(), pa.string()}


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of some columns. `values(name)`: the cells; `place(row of the part)`: where that is in the file."""

    names: list[str]
    first_row: int
    length: int
    values: Callable[[str], list]
    place: Callable[[int], str]


class Rows:
    """Columns that grow part by part. Where `is_settled` says no, all parts must be added once more.

    `all_text`: every column is one of text, numbers and truth values as JSON writes them.
    """

    def __init__(self, port: str, limits: dict, progress, *, all_text: bool = False):
        self._port = port
        self._memory_bytes = limits["memory_bytes"]
        self._progress = progress
        self._all_text = all_text
        # Columns that turned out to hold plain values of several kinds: their text is read from the file again.
        self._as_text: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        self._columns: dict[str, Column] = {}
        self._rows = 0

    def add(self, part: Part) -> None:
        """Add some rows, or some rows of one column.

        Raises:
            Refused: `bad_input`, naming column, place and value, or the limit that was passed.
        """
        self._rows = max(self._rows, part.first_row + part.length)
        for name in part.names:
            if name not in self._columns:
                if len(self._columns) == COLUMNS or len(name) > NAME_CHARACTERS:
                    raise Refused("bad_input", f"{self._port} has more than {COLUMNS:,} columns or names of {NAME_CHARACTERS:,} characters.")
                self._columns[name] = Column(name, self._port, self._progress, self._all_text or name in self._as_text)
            self._columns[name].add(part)
        needed = self._rows * sum(row_bytes(column.kind) for column in self._columns.values())
        if needed > self._memory_bytes:
            raise Refused(
                "bad_input",
                f"{self._port} would need more than {self._memory_bytes:,} bytes of memory, the job's limit "
                f"({self._rows:,} rows of {len(self._columns):,} columns).",
            )

    def is_settled(self) -> bool:
        """False if columns must be read again, as text."""
        mixed = [name for name, column in self._columns.items() if column.is_mixed()]
        for name in mixed:
            text = f"Column {name[:100]!r} of {self._port} holds plain values of several kinds, or very large numbers; it was read as text."
            self._progress.note("mixed_column", text, port=self._port, column=name)
        self._as_text.update(mixed)
        if mixed:
            self._forget()
        return not mixed

    def table(self) -> pa.Table:
        """Names are made text here, as values are; whoever asks makes them unique."""
        names = [without_lone_surrogates(name) for name in self._columns]
        return pa.table([column.whole(self._rows) for column in self._columns.values()], names=names)


class Column:
    """One column as it grows: chunks, each of its own type until the end."""

    def __init__(self, name: str, port: str, progress, as_text: bool):
        self._name = name
        self._port = port
        self._progress = progress
        self._as_text = as_text
        self._chunks: list[pa.Array] = []
        self._starts: list[str] = []
        self._rows = 0
        self._mixed = False
        self.kind = pa.null()

    def add(self, part: Part) -> None:
        if self._mixed:
            return
        if self._rows < part.first_row:
            self._take(pa.nulls(part.first_row - self._rows), "its beginning")
        values = part.values(self._name)
        if self._as_text:
            values = [self._text(value, part.place, row) for row, value in enumerate(values)]
        try:
            array = pa.array(values)
        except FAILURES as error:
            array = self._array_of(values, part.place, error)
        if array is not None:
            self._take(array, part.place(0) if values else "its beginning")

    def is_mixed(self) -> bool:
        return self._mixed

    def _text(self, value: object, place, row: int) -> str | None:
        if isinstance(value, (list, dict)):
            raise self._misfit(place(row), value, "expected a text, a number, true, false or null, as elsewhere in the column")
        return value if value is None or isinstance(value, str) else json.dumps(value)

    def _misfit(self, place: str, value: object, why: str) -> Refused:
        text = f"{place[:1].upper()}{place[1:]} of {self._port} has {safe_repr(value)} in column {self._name[:100]!r}"
        return Refused("bad_input", f"{text}, which does not fit: {why}.")

    def whole(self, rows: int) -> pa.ChunkedArray:
        """The column with as many rows as the table, of one type."""
        if self._rows < rows:
            self._chunks.append(pa.nulls(rows - self._rows))
        if pa.types.is_nested(self.kind):
            tables = [pa.table({"x": chunk}) for chunk in self._chunks]
            return pa.concat_tables(tables, promote_options="permissive").column("x")
        # Not safe: among fractions, large integers are the nearest float64.
        return pa.chunked_array([chunk.cast(self.kind, safe=False) for chunk in self._chunks], self.kind)

    def _take(self, array: pa.Array, start: str) -> None:
        kind = self._common(array, start)
        if kind is None:
            self._mixed = True
            self._chunks.clear()
            return
        self.kind = kind
        self._rows += len(array)
        self._chunks.append(array)

    def _common(self, array: pa.Array, start: str) -> pa.DataType | None:
        """The type that holds what is there and what comes; None for plain values of several kinds."""
        have, come = self.kind, array.type
        if have == come or pa.types.is_null(come):
            return have
        if pa.types.is_null(have):
            return come
        kinds = {have, come}
        if kinds == INTEGERS:
            signed = [array] if come == pa.int64() else [chunk for chunk in self._chunks if chunk.type == pa.int64()]
            return pa.uint64() if all((pc.min(one).as_py() or 0) >= 0 for one in signed) else None
        if kinds <= NUMBERS:
            return pa.float64()
        if kinds <= SCALARS:
            return None
        try:
            schemas = [pa.schema([pa.field("x", kind)]) for kind in (have, come)]
            return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        except FAILURES:
            where = f"column {self._name[:100]!r} of {self._port}"
            text = f"From {start} on {where} is {str(come)[:100]}, before it was {str(have)[:100]}; expected one kind in a column."
            raise Refused("bad_input", text) from None

    def _array_of(self, values: list, place, error: Exception) -> pa.Array | None:
        """Values of which Arrow does not know the type by itself; None for plain ones of several kinds."""
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int}:
            present = [value for value in values if value is not None]
            if min(present) >= 0 and max(present) <= UINT64_MOST:
                return pa.array(values, pa.uint64())
            self._mixed = True
            return None
        if kinds == {int, float}:
            try:
                return pa.array([None if value is None else float(value) for value in values], pa.float64())
            except OverflowError:
                self._mixed = True
                return None
        if kinds <= {int, float, bool, str} and len(kinds) > 1:
            self._mixed = True
            return None
        try:
            array = pa.array([without_lone_surrogates(value) for value in values])
        except FAILURES as failure:
            row = first_bad(values)
            why = "an integer inside it is too large for int64" if isinstance(failure, OverflowError) else safe_text(error, 150)
            raise self._misfit(place(row), values[row], why) from None
        self._progress.note("warning", f"Column {self._name[:100]!r} of {self._port} has characters that are no text; they were replaced.", column=self._name)
        return array


def without_lone_surrogates(value: object) -> object:
    """The value with every half of a surrogate pair replaced: no file format can hold one."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [without_lone_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {without_lone_surrogates(key): without_lone_surrogates(one) for key, one in value.items()}
    return value


def first_bad(values: list) -> int:
    """The row at which the conversion begins to fail, by halving."""
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pa.array([without_lone_surrogates(value) for value in values[:middle]])
            good = middle
        except FAILURES:
            bad = middle
    return max(0, bad - 1)
