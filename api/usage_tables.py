"""Usage as an Arrow table, written by a program of its own: nothing at the desk knows how to read a table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import fumehood
from api.usage_schemas import UsageRow
from fumehood.errors import Unavailable
from fumehood.usage import day_number
from fumehood.usage_store import AMOUNTS, Row

WRITER = Path(fumehood.__file__).with_name("usage_writer.py")
SECONDS = 20.0


def record_of(row: Row) -> UsageRow:
    amount = row.amount
    return UsageRow(
        day=row.day.isoformat() if row.day is not None else None,
        label=row.label,
        work=row.work,
        jobs=amount.jobs,
        **{name: getattr(amount, name) for name in AMOUNTS},
    )


def arrow_of(rows: Sequence[Row], format: str) -> bytes:
    """The bytes of the table in `format`, `arrow` or `arrow-stream`. Blocks for about half a second.

    Raises:
        Unavailable: the program did not end in time, or not well.
    """
    columns = {
        "day": [day_number(row.day) if row.day is not None else None for row in rows],
        "label": [row.label for row in rows],
        "work": [row.work.value for row in rows],
        "jobs": [row.amount.jobs for row in rows],
        **{name: [getattr(row.amount, name) for row in rows] for name in AMOUNTS},
    }
    asked = json.dumps({"format": format, "columns": columns}, allow_nan=False).encode()
    try:
        # Nothing of ours goes along: no environment, no working directory.
        command = [sys.executable, "-I", str(WRITER)]
        done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env={}, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable("the table could not be written in time", retry_after_seconds=5) from error
    if done.returncode != 0:
        raise Unavailable("the table could not be written", retry_after_seconds=5)
    return done.stdout
