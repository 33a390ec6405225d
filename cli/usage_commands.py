"""The command on what was used: a line for each day, with a bar."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import terminal
from cli.errors import BadInput
from cli.job_commands import connect, print_json
from fumehood.dataset import FORMATS, format_of

BAR_COLUMNS = 20


class By(StrEnum):
    DAY = "day"
    PERIOD = "period"


def usage(
    first: Annotated[str | None, typer.Option("--from", metavar="DAY", help="First day, such as 2025-01-31, in UTC; else 30 days.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day; else today.")] = None,
    by: Annotated[By, typer.Option(help="day: a line for each day; period: one for all of them.")] = By.DAY,
    label: Annotated[str | None, typer.Option(metavar="NAME", help="A line for each value of this label.")] = None,
    arrow: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save it as an Arrow table, a file (.arrow) or a stream (.arrows).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as one JSON document on stdout.")] = False,
) -> None:
    """Show what was used: jobs, CPU seconds, memory times time, bytes in and out.

    The bar is of CPU seconds. Conversions are what the service does with tables in a sandbox: describing an upload, another format, a
    preview.
    """
    from cli import downloads

    query = {"from": first, "to": last, "by": by.value, "label": label}
    format = format_of(None, arrow.name) if arrow is not None else None
    if arrow is not None and format not in ("arrow", "arrow-stream"):
        raise BadInput(f"--arrow is {arrow.name!r}; expected a name that ends with .arrow or .arrows")
    with connect() as client:
        if arrow is not None and format is not None:
            count = downloads.save(client, "/v1/usage", arrow, accept=FORMATS[format][0][0], **query)
            terminal.say(f"saved {terminal.one_line(arrow)} ({terminal.size(count)})")
        else:
            rows = list(client.listing("/v1/usage", **query))
            print_json(rows) if as_json else _show(rows, with_label=label is not None)


def _show(rows: list[dict[str, Any]], *, with_label: bool) -> None:
    longest = max((row["cpu_seconds"] for row in rows), default=0.0)
    block = terminal.mark("█", "#")
    names = ("DAY", *(("LABEL",) if with_label else ()), "WORK", "JOBS", "FAILED", "CACHED", "CPU", "GB SECONDS", "IN", "OUT", "")
    lines = [
        (
            row["day"] or "all",
            *((row["label"],) if with_label else ()),
            row["work"],
            f"{row['jobs']:,}",
            f"{row['failed']:,}",
            f"{row['cached']:,}",
            terminal.duration(row["cpu_seconds"]),
            f"{row['gb_seconds']:,.2f}",
            terminal.size(row["bytes_in"]),
            terminal.size(row["bytes_out"]),
            block * round(BAR_COLUMNS * row["cpu_seconds"] / longest) if longest else "",
        )
        for row in rows
    ]
    terminal.columns(names, lines)
