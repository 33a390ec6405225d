"""Small inputs for the contract tests."""

from __future__ import annotations

import io
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


