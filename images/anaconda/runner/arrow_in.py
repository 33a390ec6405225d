"""Reading Arrow files and streams: mapped privately, checked fully."""

import mmap
import os

import pyarrow as pa

from . import names
from .arrow_guard import Room, check_schema
from .failure import in_a_sentence
from .plain import plain
from .refused import Refused

FILE_MARK = b"ARROW1"
FOOTER_BYTES = 64 * 1024 * 1024


def read(port: str, path: str, limits: dict, progress) -> pa.Table:
    """The table in an Arrow file or stream; which of the two is seen from its first bytes.

    Uncompressed columns lie in a private mapping of the file: nothing is read before it is needed, and writing to them
    changes neither the file nor anybody else's view of it.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    source = pa.py_buffer(mapped)
    try:
        reader = pa.ipc.open_file(source) if is_file(mapped, size, port) else pa.ipc.open_stream(source)
        check_schema(reader.schema, port)
        batches = list(checked_batches(reader, size, port, limits))
        table = pa.Table.from_batches(batches, reader.schema.remove_metadata())
        return plain_table(table, port, progress)
    except (pa.ArrowException, OSError, OverflowError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, MemoryError):
            raise
        raise Refused("bad_input", f"{port} is not a readable Arrow file: {in_a_sentence(error, 200)}.") from None


def is_file(mapped: mmap.mmap, size: int, port: str) -> bool:
    """True for the file format. Its footer's length is checked before anything is allocated for it."""
    if mapped[: len(FILE_MARK)] != FILE_MARK:
        return False
    if size < 20 or mapped[-len(FILE_MARK) :] != FILE_MARK:
        raise Refused("bad_input", f"{port} is a truncated Arrow file: its end is missing.")
    footer_bytes = int.from_bytes(mapped[-10:-6], "little", signed=True)
    if not 0 < footer_bytes <= min(size, FOOTER_BYTES):
        raise Refused("bad_input", f"{port} is a damaged Arrow file: its footer claims {footer_bytes:,} bytes.")
    return True


def checked_batches(reader, size: int, port: str, limits: dict):
    """Every record batch of the reader, validated."""
    room = Room(limits["memory_bytes"], port)
    read_bytes = 0
    numbered = (reader.get_batch(number) for number in range(reader.num_record_batches)) if hasattr(reader, "get_batch") else reader
    for batch in numbered:
        room.check(batch)
        # A footer may name the same batch a million times. Compressed files may be larger in memory than on disk.
        read_bytes += batch.get_total_buffer_size()
        if read_bytes > max(size, limits["memory_bytes"]):
            raise Refused("bad_input", f"{port} would need more than {limits['memory_bytes']:,} bytes of memory, the job's limit.")
        yield batch


def plain_table(table: pa.Table, port: str, progress) -> pa.Table:
    """The table without metadata, views and extension types, every name once, every column with one dictionary."""
    unique = names.make_unique_noting(table.column_names, port, progress)
    columns = [one_dictionary(plain(column)) for column in table.columns]
    if not columns:
        return table
    return pa.table(columns, names=unique)


def one_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.unify_dictionaries() if pa.types.is_dictionary(column.type) and column.num_chunks > 1 else column
