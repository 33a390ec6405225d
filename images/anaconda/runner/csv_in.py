"""Reading CSV: UTF-8, a header row, types inferred by pyarrow, an empty cell is missing and a quoted empty one is not."""

import codecs

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from . import names
from .arrow_guard import check_schema
from .refused import Refused
from .text_in import check_encoding

CHECK_BYTES = 4 * 1024 * 1024
BLOCK_BYTES = 8 * 1024 * 1024
# A row must fit into a block.
BLOCK_BYTES_MOST = 1024 * 1024 * 1024
HEADER_BYTES = 64 * 1024
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# Words for «missing» in columns that are otherwise numbers or dates; in a column of text they are text.
MISSING_WORDS = csv.ConvertOptions().null_values


def read(port: str, path: str, limits: dict, progress) -> pa.Table:
    """The table in a CSV file."""
    check_text(port, path)
    table = parse(port, path, {"null_values": [""], "strings_can_be_null": True, "quoted_strings_can_be_null": False})
    check_schema(table.schema, port)
    if table.num_columns == 1 and (hint := separated_otherwise(table.column_names[0])):
        progress.note("warning", f"{port} has one column; {hint}.", column=table.column_names[0])
    unique = names.make_unique_noting(table.column_names, port, progress)
    if unique == table.column_names:
        table = with_missing_words(port, path, table)
    return table.rename_columns(unique)


def check_text(port: str, path: str) -> None:
    """Refuse what is not UTF-8 text, naming the line: pyarrow would make bytes of such a column."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with open(path, "rb") as file:
        data = file.read(CHECK_BYTES)
        check_encoding(data, port)
        if not data.removeprefix(codecs.BOM_UTF8).strip():
            raise Refused("bad_input", f"{port} is empty: a CSV file needs at least a header row.")
        while data:
            if (at := data.find(b"\0")) >= 0:
                raise Refused("bad_input", f"{port} has a zero byte in line {line + count_lines(data, at):,}; it is not a text file.")
            try:
                decoder.decode(data)
            except UnicodeDecodeError as error:
                # `start` may count from bytes kept from the portion before: at most three, none of them a line's end.
                bad_line = line + count_lines(data, max(0, error.start))
                raise Refused("bad_input", f"{port} is not UTF-8 in line {bad_line:,}; save it as UTF-8.") from None
            line += count_lines(data, len(data))
            data = file.read(CHECK_BYTES)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise Refused("bad_input", f"{port} ends in the middle of a character; it is truncated or not UTF-8.") from None


def count_lines(data: bytes, before: int) -> int:
    return data.count(b"\n", 0, before)


def parse(port: str, path: str, convert: dict) -> pa.Table:
    """Parse with blocks as large as the longest row needs."""
    block_bytes = BLOCK_BYTES
    while True:
        try:
            return csv.read_csv(
                path,
                read_options=csv.ReadOptions(block_size=block_bytes),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(**convert),
            )
        except pa.ArrowInvalid as error:
            if "straddl" in str(error) and block_bytes < BLOCK_BYTES_MOST:
                block_bytes *= 8
                continue
            raise Refused("bad_input", f"{port} is not a readable CSV file: {first_problem(path, str(error))}.") from None


def as_text(port: str, path: str, columns: list[str]) -> pa.Table | None:
    """These columns as they are written; None where the file's names are not each once, so that it cannot be asked by name."""
    with csv.open_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True)) as reader:
        given = reader.schema.names
    if len(set(given)) != len(given):
        return None
    kinds = dict.fromkeys(columns, pa.string())
    missing = {"null_values": [""], "strings_can_be_null": True, "quoted_strings_can_be_null": False}
    return parse(port, path, {"include_columns": columns, "column_types": kinds, **missing})


def first_problem(path: str, said: str) -> str:
    """What is wrong, with the row: the threaded reader does not count rows, so a second, slower look is taken."""
    rows = []

    def remember(row) -> str:
        if not rows:
            rows.append(row)
        return "skip"

    try:
        csv.read_csv(
            path,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=remember),
        )
    except (pa.ArrowException, ValueError):
        pass
    if rows:
        said = f"row {rows[0].number} has {rows[0].actual_columns} cells, the header has {rows[0].expected_columns}"
        with open(path, "rb") as file:
            hint = separated_otherwise(file.readline(HEADER_BYTES).decode("utf-8", "replace"))
        return f"{said}; {hint}" if hint else said
    return said.split("\n")[0][:200]


def separated_otherwise(header: str) -> str:
    """A sentence where `header` holds another separator more often than commas, as spreadsheets write it in many countries."""
    for separator, called in OTHER_SEPARATORS.items():
        if header.count(separator) > header.count(","):
            return f"its header looks separated by {called}, and a CSV file is separated by commas here"
    return ""


def with_missing_words(port: str, path: str, table: pa.Table) -> pa.Table:
    """Columns that are text only because of words like NA are read again with these as missing."""
    words = pa.array(word for word in MISSING_WORDS if word)
    suspects = [
        field.name
        for field, column in zip(table.schema, table.columns, strict=True)
        if pa.types.is_string(field.type) and may_be_other(column, words)
    ]
    if not suspects:
        return table
    again = parse(port, path, {"include_columns": suspects, "strings_can_be_null": False})
    for name in suspects:
        if not pa.types.is_string(again.schema.field(name).type) and not pa.types.is_null(again.schema.field(name).type):
            table = table.set_column(table.column_names.index(name), name, again.column(name))
    return table


def may_be_other(column: pa.ChunkedArray, words: pa.Array) -> bool:
    """True if some cells are such words and the first of the others could begin a number, a date or a truth value."""
    is_word = pc.is_in(column, value_set=words)
    if not pc.any(is_word).as_py():
        return False
    others = column.filter(pc.and_kleene(pc.invert(is_word), pc.is_valid(column))).slice(0, 100)
    return len(others) > 0 and pc.all(pc.match_substring_regex(others, r"^\s*([-+.0-9]|(?i:true|false|inf)\b)")).as_py()
