"""Reading Parquet: what its footer claims is checked before anything is decoded, and what was decoded is checked fully."""

import os

import pyarrow as pa

from . import arrow_in
from .arrow_guard import COLUMNS, Room, check_claim, check_schema
from .failure import in_a_sentence
from .refused import Refused

MARK = b"PAR1"
ENCRYPTED_MARK = b"PARE"
FOOTER_BYTES = 64 * 1024 * 1024
ROW_GROUPS = 100_000
BATCH_ROWS = 65_536


def read(port: str, path: str, limits: dict, progress) -> pa.Table:
    """The table in a Parquet file, decoded; stored metadata is ignored.

    Old timestamps of 96 bits are read in microseconds: nanoseconds would wrap around before 1677 and after 2262.
    """
    # Only here: it would cost every sandbox 25 ms to be ready.
    import pyarrow.parquet as pq

    check_ends(port, path)
    try:
        file = pq.ParquetFile(
            path,
            memory_map=True,
            coerce_int96_timestamp_unit="us",
            thrift_string_size_limit=FOOTER_BYTES,
            thrift_container_size_limit=1_000_000,
            page_checksum_verification=True,
        )
        check_claims(file, port, limits)
        batches = list(checked_batches(file, port, limits))
        table = pa.Table.from_batches(batches, file.schema_arrow.remove_metadata())
        if table.num_rows != file.metadata.num_rows and table.num_columns:
            raise Refused("bad_input", f"{port} is a damaged Parquet file: it claims {file.metadata.num_rows:,} rows and has {table.num_rows:,}.")
        return arrow_in.plain_table(table, port, progress)
    except (pa.ArrowException, OSError, OverflowError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, MemoryError):
            raise
        raise Refused("bad_input", f"{port} is not a readable Parquet file: {in_a_sentence(error, 200)}.") from None


def check_ends(port: str, path: str) -> None:
    """Both marks and the footer's length, before anything is allocated for it."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        begin = file.read(len(MARK))
        end = os.pread(file.fileno(), 8, max(0, size - 8))
    if ENCRYPTED_MARK in (begin, end[4:]):
        raise Refused("bad_input", f"{port} is an encrypted Parquet file; write it without encryption.")
    if begin != MARK:
        raise Refused("bad_input", f"{port} is not a Parquet file: it begins with {begin!r}, not with {MARK!r}.")
    if size < 12 or end[4:] != MARK:
        raise Refused("bad_input", f"{port} is a truncated Parquet file: its end is missing.")
    footer_bytes = int.from_bytes(end[:4], "little")
    if not 0 < footer_bytes <= min(size - 12, FOOTER_BYTES):
        raise Refused("bad_input", f"{port} is a damaged Parquet file: its footer claims {footer_bytes:,} bytes.")


def check_claims(file, port: str, limits: dict) -> None:
    """Refuse a footer that contradicts itself, or promises more than fits into memory."""
    about, schema = file.metadata, file.schema_arrow
    if about.num_columns > COLUMNS:
        raise Refused("bad_input", f"{port} has {about.num_columns:,} columns; the limit is {COLUMNS:,}.")
    check_schema(schema, port)
    if about.num_row_groups > ROW_GROUPS:
        raise Refused("bad_input", f"{port} has {about.num_row_groups:,} row groups; the limit is {ROW_GROUPS:,}.")
    rows = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    if about.num_rows < 0 or min(rows, default=0) < 0 or sum(rows) != about.num_rows:
        raise Refused("bad_input", f"{port} is a damaged Parquet file: it claims {about.num_rows:,} rows, its row groups {sum(rows):,}.")
    check_claim(about.num_rows, schema, port, limits)


def checked_batches(file, port: str, limits: dict):
    """Every record batch, validated. A few bytes may stand for gigabytes, so what was decoded is weighed as it grows."""
    room = Room(limits["memory_bytes"], port)
    before = pa.total_allocated_bytes()
    for batch in file.iter_batches(BATCH_ROWS):
        room.check(batch)
        if pa.total_allocated_bytes() - before > limits["memory_bytes"]:
            raise Refused("bad_input", f"{port} would need more than {limits['memory_bytes']:,} bytes of memory, the job's limit.")
        yield batch
