"""What an Arrow file may hold. A valid file of 400 bytes can claim 10¹² rows; wrong offsets crash any reader."""

import numpy as np
import pyarrow as pa

from .failure import in_a_sentence
from .refused import Refused

COLUMNS = 10_000
NAME_CHARACTERS = 10_000
DEPTH = 16
POINTER_BYTES = 8
UNREADABLE = (
    (pa.types.is_run_end_encoded, "run-end encoded"),
    (pa.types.is_union, "a union"),
    (pa.types.is_list_view, "a list view"),
    (pa.types.is_large_list_view, "a list view"),
)


def children(kind: pa.DataType) -> list[pa.DataType]:
    """The types inside a type."""
    if pa.types.is_dictionary(kind):
        return [kind.value_type]
    if isinstance(kind, pa.BaseExtensionType):
        return [kind.storage_type]
    return [kind.field(index).type for index in range(kind.num_fields)]


def is_list(kind: pa.DataType) -> bool:
    """True for lists of any offset width, of fixed size, and maps."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_map(kind)


def row_bytes(kind: pa.DataType) -> float:
    """Bytes that one row of a column takes at least, however well its file is packed."""
    if pa.types.is_null(kind):
        return POINTER_BYTES
    if pa.types.is_dictionary(kind):
        return row_bytes(kind.index_type)
    if pa.types.is_struct(kind):
        return 1 / 8 + sum(row_bytes(child) for child in children(kind))
    if pa.types.is_fixed_size_list(kind):
        return 1 / 8 + kind.list_size * row_bytes(kind.value_type)
    try:
        return kind.bit_width / 8
    except ValueError:
        # Text, bytes and lists: an offset.
        return 4


def check_claim(rows: int, schema: pa.Schema, port: str, limits: dict) -> None:
    """Refuse a number of rows that cannot fit into memory, before anything is read."""
    needed = int(rows * sum(row_bytes(kind) for kind in schema.types))
    if needed > limits["memory_bytes"]:
        raise Refused(
            "bad_input",
            f"{port} has {rows:,} rows of {len(schema):,} columns and would need {needed:,} bytes of memory or more; "
            f"the job's limit is {limits['memory_bytes']:,}.",
        )


def check_schema(schema: pa.Schema, port: str) -> None:
    """Refuse what is too wide, too deep, or of a type whose size in memory has nothing to do with the file's."""
    if len(schema) > COLUMNS:
        raise Refused("bad_input", f"{port} has {len(schema):,} columns; the limit is {COLUMNS:,}.")
    for number, field in enumerate(schema, 1):
        if len(field.name) > NAME_CHARACTERS:
            raise Refused("bad_input", f"The name of column {number} of {port} has {len(field.name):,} characters.")
        check_type(field.type, f"Column {field.name[:100]!r} of {port}")


def check_type(kind: pa.DataType, where: str, reason: str = "bad_input") -> None:
    """Refuse a type that cannot be read back here, or is nested too deep."""
    level = [kind]
    for _ in range(DEPTH):
        for one in level:
            for is_kind, text in UNREADABLE:
                if is_kind(one):
                    raise Refused(reason, f"{where} is {text}; write it as a plain column.")
        level = [child for one in level for child in children(one)]
        if not level:
            return
        if len(level) > COLUMNS:
            raise Refused(reason, f"{where} has more than {COLUMNS:,} fields.")
    raise Refused(reason, f"{where} is nested deeper than {DEPTH} levels.")


class Room:
    """Memory that a table may claim beyond the bytes of its file."""

    def __init__(self, memory_bytes: int, port: str):
        self._memory_bytes = memory_bytes
        self._claimed_bytes = 0
        self._port = port

    def check(self, batch: pa.RecordBatch) -> None:
        """Validate a record batch fully and count what its columns become.

        Raises:
            Refused: `bad_input`, if it is damaged or the table claims more than the memory limit.
        """
        for number, field in enumerate(batch.schema):
            column = batch.column(number)
            try:
                column.validate(full=True)
            except (pa.ArrowException, ValueError) as error:
                raise Refused("bad_input", f"Column {field.name[:100]!r} of {self._port} is damaged: {in_a_sentence(error, 200)}.") from None
            self._claimed_bytes += claimed_bytes(column)
            if self._claimed_bytes > self._memory_bytes:
                raise Refused(
                    "bad_input",
                    f"{self._port} would need more than {self._memory_bytes:,} bytes of memory, the job's limit "
                    f"(at column {field.name[:100]!r}, {batch.num_rows:,} rows).",
                )


def laid_out_bytes(column: pa.Array) -> int:
    """Bytes of a view column's values one after the other; many views may show the same bytes."""
    if len(column) == column.null_count:
        return 0
    # A view is 16 bytes and begins with its length.
    lengths = np.frombuffer(column.buffers()[1], "<i4", count=4 * (column.offset + len(column)))[4 * column.offset :: 4]
    return int(lengths.sum(dtype=np.int64, where=column.is_valid().to_numpy(zero_copy_only=False)))


def claimed_bytes(column: pa.Array) -> int:
    """Bytes that a column needs as Python objects although its file need not hold them."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return claimed_bytes(column.storage)
    if pa.types.is_dictionary(kind):
        return claimed_bytes(column.dictionary)
    if pa.types.is_null(kind):
        return len(column) * POINTER_BYTES
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return laid_out_bytes(column)
    if pa.types.is_struct(kind):
        return len(column) * POINTER_BYTES + sum(claimed_bytes(column.field(index)) for index in range(kind.num_fields))
    if pa.types.is_fixed_size_list(kind):
        return len(column) * (kind.list_size + 1) * POINTER_BYTES + claimed_bytes(column.values)
    if is_list(kind):
        return len(column) * POINTER_BYTES + claimed_bytes(column.values) + len(column.values) * POINTER_BYTES
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 0:
        return len(column) * POINTER_BYTES
    return 0
