"""Which formats can be read and written, and by whom."""

import os

from . import arrow_in, csv_in, csv_out, json_in, json_out, parquet_in, parquet_out, tables_out
from .refused import Refused

# Format → function(port, path, limits, progress) giving a checked `pyarrow.Table`.
READERS = {
    "arrow": arrow_in.read,
    "arrow-stream": arrow_in.read,
    "csv": csv_in.read,
    "json": json_in.read,
    "ndjson": json_in.read_lines,
    "parquet": parquet_in.read,
}
# Format → function(table, path, progress).
WRITERS = {
    "arrow": tables_out.write_arrow_file,
    "arrow-stream": tables_out.write_arrow_stream,
    "csv": csv_out.write,
    "json": json_out.write_records,
    "ndjson": json_out.write_lines,
    "parquet": parquet_out.write,
}


def read(port: str, path: str, form: str, limits: dict, progress):
    """The table in a file, checked fully: n × m, unique column names, no stored metadata.

    Raises:
        Refused: `bad_input`; the sentence begins with the port's name.
    """
    if form not in READERS:
        raise Refused("bad_input", f"{port} is in the format {str(form)[:40]!r}; possible are {', '.join(sorted(READERS))}.")
    if os.stat(path).st_size == 0:
        raise Refused("bad_input", f"{port} is an empty file (0 bytes).")
    return READERS[form](port, path, limits, progress)
