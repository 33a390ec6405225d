"""Preview: the first rows of a result, with types and shape. Reads Arrow, so it is imported only when there is something to show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
from rich import box
from rich.table import Table
from rich.text import Text

from cli.terminal import console, one_line

ROWS_SHOWN = 10
CELL_COLUMNS = 32
COLUMNS_SHOWN = 100


def show_table(path: Path) -> None:
    """The first rows of the Arrow file at `path`, as wide as the terminal, and its shape.

    Raises:
        ValueError: it is not an Arrow file (pyarrow's own errors are ValueErrors too), or its values are not what it says.
    """
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        head = _head(reader)
        rows = sum(reader.get_batch(n).num_rows for n in range(reader.num_record_batches))
        screen = console()
        screen.print(Text(), _fitted(head, screen.width), sep="\n")
        hidden = f", the first {head.num_rows} shown" if head.num_rows < rows else ""
        screen.print(
            Text(f"{rows:,} row{'s' * (rows != 1)} and {head.num_columns:,} column{'s' * (head.num_columns != 1)}{hidden}", style="dim")
        )


def _head(reader: Any) -> pa.Table:
    batches, wanted = [], ROWS_SHOWN
    for n in range(reader.num_record_batches):
        batch = reader.get_batch(n).slice(0, wanted)
        batches.append(batch)
        wanted -= batch.num_rows
        if not wanted:
            break
    head = pa.Table.from_batches(batches, reader.schema)
    # The file is a script's word: offsets that point elsewhere must be an error here, not a crash.
    head.validate(full=True)
    return head


def _fitted(head: pa.Table, width: int) -> Table:
    """As many columns as fit into `width`, and how many there are besides."""
    columns = [_Column(head.field(n), head.column(n)) for n in range(min(head.num_columns, COLUMNS_SHOWN))]
    shown, used = 0, 12
    for column in columns:
        used += column.width + 2
        if shown and used > width:
            break
        shown += 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="")
    for column in columns[:shown]:
        header = Text.assemble((column.name, "bold"), "\n", (column.type, "dim"))
        table.add_column(header, justify="right" if column.numeric else "left", no_wrap=True, overflow="ellipsis")
    left = head.num_columns - shown
    if left:
        table.add_column(Text(f"{left:,} more\ncolumn{'s' * (left != 1)}", style="dim"), no_wrap=True)
    for row in range(head.num_rows):
        table.add_row(*(column.cells[row] for column in columns[:shown]), *([Text("…", style="dim")] if left else []))
    return table


class _Column:
    """One column as text: `cells`, and the `width` it would like."""

    def __init__(self, field: Any, values: Any) -> None:
        self.name = _cut(one_line(field.name))
        self.type = _type_name(field.type)
        self.numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        plain = [_python(value) for value in values]
        texts = (
            _float_texts(plain)
            if pa.types.is_floating(field.type)
            else [None if value is None else _cut(one_line(value)) for value in plain]
        )
        self.cells = [Text("missing", style="dim italic") if text is None else Text(text) for text in texts]
        self.width = max(Text(self.name).cell_len, len(self.type), *(cell.cell_len for cell in self.cells), 0)


def _python(value: Any) -> Any:
    """A value as Python has it; what Python cannot hold (a year above 9999) as Arrow spells it."""
    try:
        return value.as_py()
    except (ValueError, OverflowError, ArithmeticError, ImportError):
        return str(value)


def _float_texts(values: list[float | None]) -> list[str | None]:
    """One precision for a whole column, so that the decimal points stand below each other; no more digits than it has."""
    finite = [abs(value) for value in values if value is not None and math.isfinite(value) and value]
    if finite and (max(finite) >= 1e9 or min(finite) < 1e-4):
        return [None if value is None else f"{value:.4g}" for value in values]
    decimals = max(0, 6 - len(str(int(max(finite, default=0)))))
    needed = max((len(f"{value:.{decimals}f}".partition(".")[2].rstrip("0")) for value in finite), default=0)
    return [None if value is None else f"{value:.{max(1, needed)}f}" for value in values]


def _type_name(kind: Any) -> str:
    if pa.types.is_dictionary(kind):
        return "category"
    return _cut(one_line(kind).replace("large_", ""))


def _cut(text: str) -> str:
    return text if len(text) <= CELL_COLUMNS else text[: CELL_COLUMNS - 1] + "…"
