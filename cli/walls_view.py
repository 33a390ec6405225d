"""The walls as a table for people, with the grade and the next steps below it."""

from __future__ import annotations

from cli.terminal import console, mark, symbol
from fumehood.client.surface import Document

STEPS_SHOWN = 3
GRADED_TOO_LOW = ("F", "D")
"""Something is missing that every service should have."""
# Of what is missing.
STYLES = {"indispensable": "red", "control": "red", "kernel": "yellow", "depth": "yellow", "remark": ""}


def show(document: Document) -> None:
    """`document` is what `cli.doctor.walls` makes."""
    from rich import box
    from rich.table import Table

    unknown = mark("·", "?   ")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, width in (("", 1), ("WALL", 18), ("KIND", 13), ("FOUND", 24), ("WHAT IT ADDS", 24)):
        table.add_column(name, min_width=width, overflow="fold")
    for wall in document["walls"]:
        sign = unknown if wall["active"] is None else symbol(wall["active"])
        style = STYLES[wall["kind"]] if wall["active"] is False else ""
        table.add_row(sign, wall["name"], wall["kind"], wall["found"], wall["adds"], style=style)
    screen = console()
    print()
    screen.print(table)
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
