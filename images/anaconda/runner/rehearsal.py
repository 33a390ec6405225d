"""What the child does before its job is known: one small table through the whole way, so that the first real one finds it trodden.

Whatever is only imported, looked up or filled at first use is there then, and the pages that it touches are the child's own:
after a fork each of them is a copy made at first touch. Runs in the child and not in the supervisor, whose next fork must find
one thread and no library that has run; only that of a chunk rehearses for all its items, and looks that it still has one thread
(batch.py).
"""

import linecache
import os
import sys

import numpy as np
import pandas as pd
import pyarrow as pa

from . import arrow_in, entry_point, places, script_module, tables_in, tables_out

ROWS = 100
PORT = "rehearsal"
MEMORY_BYTES = 1 << 20
SCRIPT = b"def azureml_main(frame, *, factor=2):\n    frame['more'] = frame['number'] * factor\n    return frame,\n"


class Silent:
    """Progress that nobody hears of."""

    def note(self, kind: str, text: str, **facts: str | None) -> None:
        pass


def rehearse() -> None:
    """Write, read, convert and run. Leaves no file: the table lies in memory that is gone with its descriptor."""
    descriptor = os.memfd_create(PORT)
    path = f"/proc/self/fd/{descriptor}"
    try:
        tables_out.write_arrow_file(sample(), path, Silent())
        table = tables_in.from_arrow(PORT, arrow_in.read(PORT, path, {"memory_bytes": MEMORY_BYTES}, Silent()))
        value = run(table.take_frame())
        for port in ("result", "result2"):
            written = tables_out.to_table(value, port, [table], Silent())
            tables_out.write_arrow_file(written, path, Silent())
            tables_out.describe(written)
    finally:
        os.close(descriptor)


def sample() -> pa.Table:
    """Columns of the commonest types, with and without gaps."""
    numbers = range(ROWS)
    return pa.table({
        "number": np.arange(ROWS, dtype="f8"),
        "whole": np.arange(ROWS),
        "text": [str(number) for number in numbers],
        "flag": [number % 2 == 0 for number in numbers],
        "day": pd.date_range("2000-01-01", periods=ROWS),
        "gap": pa.array([None if number % 3 else number for number in numbers], pa.int64()),
        "some": pa.array([None if number % 3 else str(number) for number in numbers]),
    })  # fmt: skip


def run(frame: pd.DataFrame) -> object:
    """What the script returns for the frame; no module and no line of it stays."""
    try:
        function = entry_point.find(script_module.Script(SCRIPT).execute())
        arguments, keywords = entry_point.bind(function, [frame], {"factor": 2})
        return tables_out.split(function(*arguments, **keywords))[0]
    finally:
        sys.modules.pop(script_module.NAME, None)
        linecache.cache.pop(places.JOB_SCRIPT, None)
