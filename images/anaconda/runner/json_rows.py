"""JSON as names and rows, `{"columns": ["a", "b"], "values": [[1, "x"], [2, "y"]]}`: small, and in the order of its columns."""

from dataclasses import dataclass

from .refused import Refused
from .rows_in import Part

COLUMNS, VALUES = "columns", "values"
BATCH_ROWS = 10_000
BATCH_BYTES = 16 * 1024 * 1024
PART_CELLS = 500_000


@dataclass(frozen=True, slots=True)
class Found:
    """`names`: of the columns, as given; `at`: where the array of rows begins; `is_last`: nothing was looked at behind it yet."""

    names: list[str]
    at: int
    is_last: bool


def find(document) -> Found | None:
    """Where the document has this form: an object of `columns`, which are texts, and `values`, which are arrays.

    An object of columns may have columns that are called so. It is one where `values` begins with something that is no array.
    """
    at = document.skip(document.begin + 1)
    if (columns := columns_at(document, at)) is not None:
        names, after = columns
        at = document.skip(after)
        if not document.has(",", at) or (rows_at := values_at(document, document.skip(at + 1))) is None:
            return None
        return Found(names, rows_at, is_last=True)
    if (rows_at := values_at(document, at)) is None:
        return None
    at = document.skip(end_of(document, rows_at))
    if not document.has(",", at) or (columns := columns_at(document, document.skip(at + 1))) is None:
        return None
    names, after = columns
    at = document.skip(after)
    if not document.has("}", at):
        return None
    document.finish(at + 1)
    return Found(names, rows_at, is_last=False)


def columns_at(document, at: int) -> tuple[list[str], int] | None:
    """The names, and where they end."""
    if (at := array_of(COLUMNS, document, at)) is None:
        return None
    names, after = document.value(at, "The list of columns")
    return (names, after) if all(isinstance(one, str) for one in names) else None


def values_at(document, at: int) -> int | None:
    """Where the array of rows begins."""
    if (at := array_of(VALUES, document, at)) is None:
        return None
    first = document.skip(at + 1)
    return at if document.has("[", first) or document.has("]", first) else None


def array_of(name: str, document, at: int) -> int | None:
    """Where the array begins that the member `name` is, if that is what stands there."""
    if not document.has(f'"{name}"', at):
        return None
    at = document.skip(at + len(name) + 2)
    if not document.has(":", at):
        return None
    at = document.skip(at + 1)
    return at if document.has("[", at) else None


def end_of(document, at: int) -> int:
    """Where the array of rows ends that begins there; they are kept when they are read."""
    rows = document.elements(at, "Row")
    while True:
        try:
            next(rows)
        except StopIteration as end:
            return end.value


def parts(document, found: Found, names: list[str]):
    """The rows as columns, some thousands at a time, so that there are never many more Python objects; `names`: each once."""
    step = max(1, min(BATCH_ROWS, PART_CELLS // max(1, len(names))))
    part, part_at, done = [], found.at, 0
    rows = document.elements(found.at, "Row")
    while True:
        try:
            row, at = next(rows)
        except StopIteration as end:
            if found.is_last:
                document.close(end.value)
            break
        if not isinstance(row, list) or len(row) != len(names):
            raise misfit(document, row, at, done + len(part) + 1, len(names))
        part.append(row)
        if len(part) >= step or at - part_at > BATCH_BYTES:
            yield part_of(part, done, names)
            done, part, part_at = done + len(part), [], at
    yield part_of(part, done, names)


def misfit(document, row: object, at: int, number: int, columns: int) -> Refused:
    where = f"Row {number:,} of {document.port} ({document.place(at)})"
    found = f"has {counted(len(row))}" if isinstance(row, list) else "is no array"
    return Refused("bad_input", f"{where} {found}; expected an array of {counted(columns)}, one for each of the columns.")


def counted(values: int) -> str:
    return "1 value" if values == 1 else f"{values:,} values"


def part_of(rows: list[list], first_row: int, names: list[str]) -> Part:
    position = {name: number for number, name in enumerate(names)}
    return Part(names, first_row, len(rows), lambda name: [row[position[name]] for row in rows], lambda row: f"row {first_row + row + 1:,}")
