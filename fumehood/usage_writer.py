"""Writes rows of usage as an Arrow table: a program of its own, run by `api.usage_tables` and imported by nobody.

So the desk loads no library that could read a table, and this program is given nothing of a tenant's but the names that it has given its
labels, as text: on its standard input comes what the service has counted, as one JSON document of ours; on its standard output goes
the table. It opens no file and reads no table.
"""

from __future__ import annotations

import json
import sys

import pyarrow

SCHEMA = pyarrow.schema(
    [
        ("day", pyarrow.date32()),
        ("label", pyarrow.string()),
        ("work", pyarrow.string()),
        ("jobs", pyarrow.int64()),
        ("succeeded", pyarrow.int64()),
        ("failed", pyarrow.int64()),
        ("cancelled", pyarrow.int64()),
        ("cached", pyarrow.int64()),
        ("cpu_seconds", pyarrow.float64()),
        ("gb_seconds", pyarrow.float64()),
        ("wall_seconds", pyarrow.float64()),
        ("bytes_in", pyarrow.int64()),
        ("bytes_out", pyarrow.int64()),
    ]
)
# Days are told as they are counted here: since 1970-01-01.
WRITERS = {"arrow": pyarrow.ipc.new_file, "arrow-stream": pyarrow.ipc.new_stream}


def main() -> None:
    """`{"format": "arrow" | "arrow-stream", "columns": {name: [value, …]}}` on standard input."""
    asked = json.load(sys.stdin)
    table = pyarrow.table({field.name: pyarrow.array(asked["columns"][field.name], field.type) for field in SCHEMA}, schema=SCHEMA)
    with WRITERS[asked["format"]](sys.stdout.buffer, SCHEMA) as writer:
        writer.write_table(table)


if __name__ == "__main__":
    main()
