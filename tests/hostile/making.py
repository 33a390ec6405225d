"""What several hostile inputs are made with."""

from __future__ import annotations

import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq

Made = tuple[str, bytes]
"""A format and bytes."""
MIB = 2**20
BAD_INPUT, ENDS = {"bad_input"}, {"bad_input", "out_of_memory", "disk_full", "timed_out", "output_too_large"}


def cut(made: Made, keep: float) -> Made:
    return made[0], made[1][: int(len(made[1]) * keep)]


def flip(made: Made, *places: float) -> Made:
    content = bytearray(made[1])
    for place in places:
        content[int(len(content) * place)] ^= 0xFF
    return made[0], bytes(content)


def parquet(table: pa.Table, **options: object) -> Made:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return "parquet", sink.getvalue()


def entries(*given: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED) -> Made:
    """A zip of entries as they are told, however strange."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for info, content in given:
            archive.writestr(info, content)
    return "zip", sink.getvalue()
