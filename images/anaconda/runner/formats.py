"""Which formats can be read and written, and by whom."""

import os
import re
from contextlib import contextmanager

import pyarrow as pa

from . import arrow_in, csv_in, csv_out, json_in, json_out, parquet_in, parquet_out, studio_out, tables_out
from .failure import in_a_sentence
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

# What else a script's result can be written as.
ANSWERS = WRITERS | studio_out.WRITERS

# As answers to whoever asked for the format; of those with several names, the one that the service says.
MEDIA_TYPES = dict.fromkeys(studio_out.WRITERS, "application/json") | {
    "arrow": "application/vnd.apache.arrow.file",
    "arrow-stream": "application/vnd.apache.arrow.stream",
    "csv": "text/csv",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}

# What libraries raise over bytes that they cannot make sense of. Errors of files and memory keep their own names.
READING = (pa.ArrowException, ValueError, TypeError, ArithmeticError, LookupError, RecursionError)

# How Arrow says what it did not get: «malloc of size 51543869504 failed», and for still more «capacity too large».
ASKED = re.compile(r"of size ([0-9]{1,30}) failed|capacity too large")


def read(port: str, path: str, form: str, limits: dict, progress):
    """The table in a file, checked fully: n × m, unique column names, no stored metadata.

    Raises:
        Refused: `bad_input`; the sentence begins with the port's name.
    """
    if form not in READERS:
        raise Refused("bad_input", f"{port} is in the format {str(form)[:40]!r}; possible are {', '.join(sorted(READERS))}.")
    with understood(port, path, form, limits):
        return READERS[form](port, path, limits, progress)


@contextmanager
def understood(port: str, path: str, form: str, limits: dict):
    """Around reading a file: bytes that no sense can be made of are refused, and said to be the port's."""
    if os.stat(path).st_size == 0:
        raise Refused("bad_input", f"{port} is an empty file (0 bytes).")
    try:
        yield
    except Refused:
        raise
    except MemoryError as error:
        # A few damaged bytes can ask for more than any machine has: that is not for want of memory.
        asked = ASKED.search(str(error))
        asked_bytes = int(asked[1] or 2**63) if asked else 0
        if asked_bytes <= limits["memory_bytes"]:
            raise
        text = f"{port} cannot be read as {form}: it asks for {asked_bytes:,} bytes of memory at once; the job's limit is {limits['memory_bytes']:,}."
        raise Refused("bad_input", text) from None
    except READING as error:
        # Each reader names what it knows. What no one thought of is still about these bytes, and would come again with them.
        raise Refused("bad_input", f"{port} cannot be read as {form}: {in_a_sentence(error, 200)}.") from None


def writer(form: object, writers: dict = WRITERS):
    """The function that writes a format.

    Raises:
        Refused: `bad_input`; there is none.
    """
    if form not in writers:
        raise Refused("bad_input", f"Tables cannot be written as {str(form)[:40]!r}; possible are {', '.join(sorted(writers))}.")
    return writers[form]
