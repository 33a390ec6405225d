"""The walls as a table for people, with the grade and the next steps below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.terminal import console, mark, symbol
from fumehood.client.words import Document

if TYPE_CHECKING:
    from rich.table import Table

STEPS_SHOWN = 3
GRADED_TOO_LOW = ("F", "D")
"""Something is missing that every service should have."""
TITLES = {
    "indispensable": "INDISPENSABLE",
    "control": "CONTROLS AND DOORS",
    "kernel": "BEHIND A HOLE IN THE KERNEL",
    "depth": "IN DEPTH",
    "remark": "REMARKS",
}
# Of what is missing.
STYLES = {"indispensable": "red", "control": "red", "kernel": "yellow", "depth": "yellow", "remark": "dim"}


def show(document: Document) -> None:
    """`document` is what `cli.doctor.walls` makes."""
    unknown = mark("·", "?   ")
    print()
    console().print(_table(document["walls"], unknown))
    print(f"\nGrade {document['grade']}: {document['rule']}.")
    if document["steps"]:
        print("Next steps:")
    for number, step in enumerate(document["steps"][:STEPS_SHOWN], 1):
        print(f"  {number}. {step['wall']}: {step['advice']}")
    if len(document["steps"]) > STEPS_SHOWN:
        print(f"  … and {len(document['steps']) - STEPS_SHOWN} more, in the table")
    untold = sum(wall["active"] is None for wall in document["walls"])
    if untold:
        print(f"{untold} could not be told ({unknown.strip()}); they count neither way.")


def _table(walls: list[Document], unknown: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, width in (("", 1), ("WALL", 27), ("FOUND", 20), ("WHAT IT WOULD ADD", 20)):
        table.add_column(name, min_width=width, overflow="fold")
    kind = ""
    for wall in walls:
        if wall["kind"] != kind:
            kind = wall["kind"]
            table.add_section()
            table.add_row("", TITLES[kind], style="bold")
        sign = unknown if wall["active"] is None else symbol(wall["active"])
        would_add = "" if wall["active"] else wall["adds"]
        table.add_row(sign, wall["name"], wall["found"], would_add, style=STYLES[kind] if wall["active"] is False else "")
    return table
