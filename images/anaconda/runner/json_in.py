"""Reading JSON: an array of records, an object of columns, or names and rows (json_rows.py); and NDJSON, a record a line.

A text stays a text: JSON has no dates. NaN and Infinity, which Python and others write, are read as the floats they name.
What the values become is decided in rows_in.py.
"""

import codecs
import json
import re

import pyarrow as pa

from . import json_rows, names
from .arrow_guard import check_schema
from .refused import Refused
from .rows_in import Part, Rows
from .text_in import check_encoding

BATCH_ROWS = 10_000
BATCH_BYTES = 16 * 1024 * 1024
PART_CELLS = 500_000
SPACE = re.compile(r"[ \t\n\r]*")
WHAT = ((dict, "an object"), (list, "an array"), (str, "a text"), (bool, "a truth value"), ((int, float), "a number"), (type(None), "null"))
SPLIT_KEYS = {"columns", "index", "data"}


class Twice(ValueError):
    """An object names a key more than once."""


def unique_pairs(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Twice(f"an object has the key {key[:100]!r} more than once")
    return found


decode = json.JSONDecoder(object_pairs_hook=unique_pairs).raw_decode


def what(value: object) -> str:
    return next(text for kinds, text in WHAT if isinstance(value, kinds))


def read(port: str, path: str, limits: dict, progress) -> pa.Table:
    """The table in a JSON document.

    Raises:
        Refused: `bad_input`, with what was found and where.
    """
    text = whole_text(port, path)
    document = Document(text, port)
    if document.begins_with("["):
        return table_of(Rows(port, limits, progress), document.records, port, progress)
    if document.begins_with("{"):
        if (found := json_rows.find(document)) is not None:
            given = names.make_unique_noting(found.names, port, progress)
            return table_of(Rows(port, limits, progress), lambda: json_rows.parts(document, found, given), port, progress)
        return table_of(Rows(port, limits, progress), lambda: column_parts(document.columns(), port), port, progress)
    value, _ = document.value(document.begin, "The document")
    raise Refused("bad_input", f"{port} is {what(value)}; expected an array of objects (records), an object of columns, or names and rows.")


def read_lines(port: str, path: str, limits: dict, progress) -> pa.Table:
    """The table in an NDJSON file; empty lines are skipped.

    Raises:
        Refused: `bad_input`, with what was found in which line.
    """
    return table_of(Rows(port, limits, progress), lambda: line_parts(port, path), port, progress)


def table_of(rows: Rows, parts, port: str, progress) -> pa.Table:
    """Read `parts()`, a second time where a column turned out to hold values of several kinds."""
    try:
        for _ in range(2):
            for part in parts():
                rows.add(part)
            if rows.is_settled():
                break
        table = rows.table()
        check_schema(table.schema, port)
    except RecursionError:
        # What JSON's own reader can still follow may be too deep for those who come after it.
        raise Refused("bad_input", f"{port} has values that are nested too deep.") from None
    return table.rename_columns(names.make_unique_noting(table.column_names, port, progress))


def whole_text(port: str, path: str) -> str:
    with open(path, "rb") as file:
        data = file.read()
    check_encoding(data, port)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise Refused("bad_input", f"{port} is not UTF-8 in line {line:,}; save it as UTF-8.") from None


class Document:
    """A JSON text, read value by value: never more than some thousand records exist as Python objects."""

    def __init__(self, text: str, port: str):
        self._text = text
        self.port = port
        self.begin = self.skip(0)
        if self.begin == len(text):
            raise Refused("bad_input", f"{port} is empty: expected an array of records or an object of columns.")

    def begins_with(self, mark: str) -> bool:
        return self.has(mark, self.begin)

    def records(self):
        """Records with their place, some thousands at a time; the document is an array of them."""
        return self.records_of(self.items(self.begin, "Record"), self.begin)

    def records_of(self, values, part_at: int):
        """The values of an array that begins there, as records."""
        part, number = [], 0
        for value, at in values:
            number += 1
            if not isinstance(value, dict):
                raise Refused("bad_input", f"Record {number:,} of {self.port} ({self.place(at)}) is {what(value)}; expected an object.")
            part.append(value)
            if len(part) >= BATCH_ROWS or at - part_at > BATCH_BYTES:
                yield from parts_of(part, number - len(part), lambda row, before=number - len(part): f"record {before + row + 1:,}")
                part, part_at = [], at
        yield from parts_of(part, number - len(part), lambda row, before=number - len(part): f"record {before + row + 1:,}")

    def columns(self):
        """Name, values and place of each column of an object of columns."""
        seen: set[str] = set()
        for name, values, at in self._members():
            if name in seen:
                raise Refused("bad_input", f"{self.port} has the column {name[:100]!r} more than once ({self.place(at)}).")
            seen.add(name)
            if not isinstance(values, (list, dict)):
                raise Refused(
                    "bad_input",
                    f"{self.port} is an object whose {name[:100]!r} is {what(values)} ({self.place(at)}); expected an object of columns, "
                    "each an array of its cells, or an array of records.",
                )
            yield name, values
        if seen == SPLIT_KEYS:
            raise Refused("bad_input", f"{self.port} is in pandas' form «split»; write it with orient='records'.")

    def value(self, at: int, what_it_is: str) -> tuple[object, int]:
        """The value that begins there, and where it ends."""
        try:
            return decode(self._text, at)
        except Twice as error:
            raise Refused("bad_input", f"{what_it_is} of {self.port} ({self.place(at)}) is ambiguous: {error}.") from None
        except RecursionError:
            raise Refused("bad_input", f"{what_it_is} of {self.port} ({self.place(at)}) is nested too deep.") from None
        except json.JSONDecodeError as error:
            raise self.broken(error.pos, error.msg.removesuffix(" at")) from None
        except ValueError as error:
            raise Refused("bad_input", f"{what_it_is} of {self.port} ({self.place(at)}) cannot be read: {str(error)[:100]}.") from None

    def items(self, at: int, what_it_is: str):
        """What is in the array that begins there, value by value, each with its place; nothing may follow the array but the document's end."""
        end = yield from self.elements(at, what_it_is)
        self.finish(end)

    def elements(self, at: int, what_it_is: str):
        """As `items`, and where the array ends."""
        at, number = self.skip(at + 1), 0
        while not self.has("]", at):
            number += 1
            if number > 1:
                at = self.expect(",", at)
            value, after = self.value(at, f"{what_it_is} {number:,}")
            yield value, at
            at = self.skip(after)
        return at + 1

    def has(self, mark: str, at: int) -> bool:
        return self._text.startswith(mark, at)

    def _members(self):
        at, number = self.skip(self.begin + 1), 0
        while not self.has("}", at):
            number += 1
            if number > 1:
                at = self.expect(",", at)
            if not self.has('"', at):
                raise self.broken(at, "Expecting a name in double quotes")
            name, after = self.value(at, "A name")
            at = self.expect(":", self.skip(after))
            values, after = self.value(at, f"Column {name[:100]!r}")
            yield name, values, at
            at = self.skip(after)
        self.finish(at + 1)

    def skip(self, at: int) -> int:
        return SPACE.match(self._text, at).end()

    def expect(self, mark: str, at: int) -> int:
        if not self.has(mark, at):
            raise self.broken(at, f"Expecting {mark!r}")
        return self.skip(at + 1)

    def close(self, at: int) -> None:
        """The object ends there, and the document with it."""
        if not self.has("}", at := self.skip(at)):
            raise self.broken(at, "Expecting the end of an object of `columns` and `values`")
        self.finish(at + 1)

    def finish(self, at: int) -> None:
        if (at := self.skip(at)) != len(self._text):
            hint = "; is it NDJSON, a record a line?" if self._text.startswith("{", at) else ""
            raise self.broken(at, f"Something follows after the end{hint}")

    def broken(self, at: int, message: str) -> Refused:
        found = repr(self._text[at : at + 20]) if at < len(self._text) else "the end of the file"
        return Refused("bad_input", f"{self.port} is not readable JSON: {message} at {self.place(at)}, found {found}.")

    def place(self, at: int) -> str:
        line = self._text.count("\n", 0, at) + 1
        return f"line {line:,}, column {at - self._text.rfind(chr(10), 0, at):,}"


def column_parts(columns, port: str):
    """An object of columns as parts of one column each. Cells are in an array, or in an object by row label, as pandas writes it."""
    labels: dict[str, int] | None = None
    first, rows = "", None
    for name, values in columns:
        if rows is None:
            first, rows = name, len(values)
            labels = {label: number for number, label in enumerate(values)} if isinstance(values, dict) else None
        if isinstance(values, dict) != (labels is not None):
            raise Refused("bad_input", f"Column {name[:100]!r} of {port} is {what(values)}, column {first[:100]!r} is not; expected one kind.")
        if labels is not None:
            if values.keys() != labels.keys():
                raise Refused("bad_input", f"Column {name[:100]!r} of {port} has other row labels than column {first[:100]!r}.")
            values = [values[label] for label in labels]
        if len(values) != rows:
            raise Refused("bad_input", f"Column {name[:100]!r} of {port} has {len(values):,} cells, column {first[:100]!r} has {rows:,}.")
        for start in range(0, max(1, rows), BATCH_ROWS):
            cells = values[start : start + BATCH_ROWS]
            yield Part([name], start, len(cells), lambda _, cells=cells: cells, lambda row, start=start: f"row {start + row + 1:,}")


def line_parts(port: str, path: str):
    """Records, some thousands at a time."""
    part, lines, part_bytes, first_row = [], [], 0, 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                check_encoding(line, port)
                line = line.removeprefix(codecs.BOM_UTF8)
            record = line_value(line, number, port)
            if record is None:
                continue
            part.append(record)
            lines.append(number)
            part_bytes += len(line)
            if len(part) >= BATCH_ROWS or part_bytes > BATCH_BYTES:
                yield from parts_of(part, first_row, lambda row, lines=lines: f"line {lines[row]:,}")
                first_row += len(part)
                part, lines, part_bytes = [], [], 0
    yield from parts_of(part, first_row, lambda row: f"line {lines[row]:,}")


def parts_of(records: list[dict], first_row: int, place):
    """Records as columns; a key that is not there is missing. Halved until there are few cells: every record may have keys of its own."""
    names = list(dict.fromkeys(key for record in records for key in record))
    if len(records) > 1 and len(names) * len(records) > PART_CELLS:
        half = len(records) // 2
        yield from parts_of(records[:half], first_row, place)
        yield from parts_of(records[half:], first_row + half, lambda row: place(half + row))
    else:
        yield Part(names, first_row, len(records), lambda name: [record.get(name) for record in records], place)


def line_value(line: bytes, number: int, port: str) -> dict | None:
    """The record of one line; None for an empty one."""
    where = f"Line {number:,} of {port}"
    try:
        text = line.decode().strip(" \t\r\n")
        if not text:
            return None
        value, end = decode(text)
        if end != len(text):
            raise Refused("bad_input", f"{where} has something after its record: {text[end : end + 20]!r}.")
    except UnicodeDecodeError:
        raise Refused("bad_input", f"{port} is not UTF-8 in line {number:,}; save it as UTF-8.") from None
    except RecursionError:
        raise Refused("bad_input", f"{where} is nested too deep.") from None
    except json.JSONDecodeError as error:
        found = repr(text[error.pos : error.pos + 20]) if error.pos < len(text) else "the end of the line"
        raise Refused("bad_input", f"{where} is not readable JSON: {error.msg.removesuffix(' at')} at column {error.pos + 1:,}, found {found}.") from None
    except ValueError as error:
        raise Refused("bad_input", f"{where} cannot be read: {str(error)[:150]}.") from None
    if not isinstance(value, dict):
        hint = "; an array of records is the format json" if isinstance(value, list) else ""
        raise Refused("bad_input", f"{where} is {what(value)}; expected an object{hint}.")
    return value
