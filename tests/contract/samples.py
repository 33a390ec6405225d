"""Small inputs for the contract tests."""

from __future__ import annotations

import io
import struct
import zipfile

import pyarrow as pa

IDENTITY = "def azureml_main(df1=None, df2=None):\n    return df1,\n"


def csv(text: str) -> tuple[str, bytes]:
    return "csv", text.encode()


def arrow(table: pa.Table | dict, batches: int = 1) -> tuple[str, bytes]:
    """A table as an Arrow file of so many record batches."""
    table = pa.table(table) if isinstance(table, dict) else table
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(allow_64bit=True)) as writer:
        rows = -(-table.num_rows // batches) or 1
        writer.write_table(table, max_chunksize=rows)
    return "arrow", sink.getvalue()


def arrow_stream(table: pa.Table | dict) -> tuple[str, bytes]:
    table = pa.table(table) if isinstance(table, dict) else table
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return "arrow-stream", sink.getvalue()


def bundle(files: dict[str, str | bytes]) -> tuple[str, bytes]:
    """A zip of the given files."""
    return "zip", zip_bytes(files)


def zip_bytes(files: dict[str, str | bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return sink.getvalue()


def unvalidated(kind: pa.DataType, rows: int, *buffers) -> pa.Table:
    return pa.table({"x": pa.Array.from_buffers(kind, rows, [None, *(pa.py_buffer(buffer) for buffer in buffers)])})


# Valid or not, each of these is small and would be huge, or a crash.
BOMBS = {
    "null rows": unvalidated(pa.null(), 10**12),
    "empty bytes": unvalidated(pa.binary(0), 10**12, b""),
    "run ends": pa.table({"x": pa.RunEndEncodedArray.from_arrays(pa.array([2**31 - 1], pa.int32()), pa.array([1]))}),
    "views of the same bytes": pa.table(
        {
            "x": pa.Array.from_buffers(
                pa.string_view(),
                10**5,
                [None, pa.py_buffer(struct.pack("<i4sii", 10**5, b"yyyy", 0, 0) * 10**5), pa.py_buffer(b"y" * 10**5)],
            )
        }
    ),
    "bad offsets": unvalidated(pa.string(), 2, struct.pack("<3i", 0, -(2**30), 2), b"ab"),
    "bad text": unvalidated(pa.string(), 1, struct.pack("<2i", 0, 2), b"\xff\xfe"),
}
