"""The table of a call, and of a job or a batch of a script: where its version expects one, there has to be one."""

from __future__ import annotations

from api.documents import presentable
from fumehood.script import Version, expected_columns
from fumehood.text import one_line

NAMES_SHOWN, NAME_CHARACTERS = 10, 60


def missing_table(version: Version) -> str | None:
    """What is to be said where no table is given; None where the version was checked without one. The names are the tenant's words."""
    columns = expected_columns(version)
    if columns is None:
        return None
    if not columns:
        return "is missing; expected a table without columns"
    names = [one_line(presentable(column["name"]))[:NAME_CHARACTERS] for column in columns[:NAMES_SHOWN]]
    more = len(columns) - len(names)
    # A name may hold a comma, and is shown as it is.
    known = ", ".join(names) + (f" and {more:,} more" if more else "")
    return f"is missing; expected a table with the column{'s' if len(columns) > 1 else ''} {known}"
