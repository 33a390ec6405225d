"""The profile of a table in the terminal: a line for each column with its histogram as little bars, and the first rows.

The document is that of a sandbox, so what it holds is shown only as text, and what is not as expected is left out.
"""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from cli.terminal import console, mark, one_line

BARS = " ▁▂▃▄▅▆▇█"
PLAIN_BARS = " .:-=+*#%"
BARS_SHOWN = 20
CELL_COLUMNS = 32
COLUMNS_SHOWN = 100
ROWS_SHOWN = 5
TOP_SHOWN = 3


def show_profile(profile: dict[str, Any]) -> None:
    """Columns, then the first rows, then the shape."""
    columns = [each for each in _list(profile.get("columns")) if isinstance(each, dict)]
    bars = mark(BARS, PLAIN_BARS)
    table = _table("column", "type", "missing", "distinct", "min", "max", "mean", "values")
    for column in columns[:COLUMNS_SHOWN]:
        table.add_row(
            Text(_cell(column.get("name")), style="bold"),
            Text(_cell(column.get("type")), style="dim"),
            _number(column.get("nulls")),
            _distinct(column),
            _cell(column.get("min")),
            _cell(column.get("max")),
            _number(column.get("mean")),
            values(column, bars),
        )
    screen = console()
    screen.print(Text(), table, sep="\n")
    if len(columns) > COLUMNS_SHOWN:
        screen.print(Text(f"{len(columns) - COLUMNS_SHOWN:,} more columns", style="dim"))
    _show_head(screen, profile.get("head"))
    rows = profile.get("rows")
    shape = f"{rows:,}" if isinstance(rows, int) else "?"
    screen.print(Text(f"{shape} row{'s' * (rows != 1)} and {len(columns):,} column{'s' * (len(columns) != 1)}", style="dim"))


def values(column: dict[str, Any], bars: str = BARS) -> str:
    """How the values lie: the histogram, or the most frequent ones."""
    histogram = column.get("histogram")
    if isinstance(histogram, dict):
        return drawn([count for count in _list(histogram.get("counts")) if isinstance(count, (int, float))], bars)
    top = [each for each in _list(column.get("top")) if isinstance(each, list) and len(each) == 2]
    more = ", …" if len(top) > TOP_SHOWN else ""
    return ", ".join(f"{_cell(value)} × {_number(count)}" for value, count in top[:TOP_SHOWN]) + more


def drawn(counts: list[float], bars: str = BARS) -> str:
    """A bar for each count, or for several together where there are many; what is there at all is never drawn as nothing."""
    together = -(-len(counts) // BARS_SHOWN) or 1
    sums = [sum(counts[n : n + together]) for n in range(0, len(counts), together)]
    highest = max(sums, default=0)
    if highest <= 0:
        return ""
    return "".join(bars[0 if each <= 0 else max(1, round(each / highest * (len(bars) - 1)))] for each in sums)


def _show_head(screen: Any, head: Any) -> None:
    if not isinstance(head, dict):
        return
    names, rows = _list(head.get("columns")), [row for row in _list(head.get("rows")) if isinstance(row, list)]
    shown = max(1, min(len(names), screen.width // 14))
    if not rows or not names:
        return
    table = _table(*map(_cell, names[:shown]))
    for row in rows[:ROWS_SHOWN]:
        table.add_row(*(Text("missing", style="dim italic") if cell is None else Text(_cell(cell)) for cell in row[:shown]))
    screen.print(Text(), table, sep="\n")
    if len(names) > shown:
        screen.print(Text(f"… and {len(names) - shown:,} more columns of these rows", style="dim"))


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    for name in names:
        right = name in ("missing", "distinct", "min", "max", "mean")
        table.add_column(Text(name), justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    return table


def _distinct(column: dict[str, Any]) -> str:
    distinct = column.get("distinct")
    if distinct is None:
        return "many"
    return _number(distinct) if column.get("distinct_exact") is not False else f"about {_number(distinct)}"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _cell(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else one_line(value)
    return text if len(text) <= CELL_COLUMNS else text[: CELL_COLUMNS - 1] + "…"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
