"""More hostile tables. Those that may end as `bad_input` alone are what the runner's own guards are for (runner_mutations.py)."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from tests.contract.samples import arrow, arrow_stream, unvalidated
from tests.hostile.making import BAD_INPUT, ENDS, MIB, Made, parquet


class Runs:
    """Says what it wants to be called when somebody makes it again from its pickle."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("/job/unpickled", "w")


PICKLE = pickle.dumps(Runs())
# The names under which libraries have taken a pickle from a schema.
EXTENSIONS = (
    b"arrow.py_extension_type",
    b"pandas.period",
    b"ray.data.arrow_tensor",
    b"pickle",
    b"datasets.features.features.Array2DExtensionType",
)


def lists(depth: int) -> pa.Table:
    array = pa.array([1])
    for _ in range(depth):
        array = pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), array)
    return pa.table({"x": array})


def same_batch(times: int) -> Made:
    """A file whose footer names its one large batch again and again."""
    sink = io.BytesIO()
    schema = pa.schema({"x": pa.int64()})
    with pa.ipc.new_file(sink, schema) as writer:
        for rows in (MIB // 8, *[1] * (times - 1)):
            writer.write_batch(pa.record_batch([pa.array([0] * rows)], schema=schema))
    content = bytearray(sink.getvalue())
    # A block is where its message begins, how long its head is, how long its body; the first begins behind the schema.
    body = struct.pack("<q", MIB)
    place = content.rindex(body) - 16
    block = bytes(content[place : place + 24])
    offset, head = struct.unpack("<qi", block[:12])
    assert 0 < offset < 1024, (offset, head)
    content[place : place + 24 * times] = block * times
    return "arrow", bytes(content)


def compressed_liar(claim: int) -> Made:
    """A compressed buffer that says how large it will be."""
    sink = io.BytesIO()
    table = pa.table({"x": [0] * 10_000})
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    honest = struct.pack("<q", 80_000)
    return "arrow", sink.getvalue().replace(honest, struct.pack("<q", claim))


def with_metadata(field: dict[bytes, bytes], whole: dict[bytes, bytes]) -> pa.Table:
    return pa.table({"x": [1]}, schema=pa.schema([pa.field("x", pa.int64(), metadata=field)], metadata=whole))


def pickled(extension: bytes) -> pa.Table:
    about = {b"ARROW:extension:name": extension, b"ARROW:extension:metadata": PICKLE}
    return with_metadata(about, {b"pandas": PICKLE, b"ARROW:schema": PICKLE})


def zeros(millions: int) -> Made:
    sink = io.BytesIO()
    table = pa.table({"x": pa.array([0] * 1_000_000)})
    with pq.ParquetWriter(sink, table.schema) as writer:
        for _ in range(millions):
            writer.write_table(table)
    return "parquet", sink.getvalue()


def page_bomb(codec: str) -> Made:
    """One text of zeros, so that a page is a thousandth of what comes out of it."""
    return parquet(pa.table({"x": [bytes(80 * MIB)] * 4}), compression=codec, use_dictionary=False)


def union() -> pa.Table:
    return pa.table({"x": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])})


def list_views() -> pa.Table:
    """Many views of the same values."""
    size, rows = 10_000, 10_000
    return pa.table(
        {"x": pa.ListViewArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([size] * rows, pa.int32()), pa.array([0] * size))}
    )


def columns(count: int) -> dict[str, list[int]]:
    return {f"c{number}": [1] for number in range(count)}


def records(count: int) -> bytes:
    """Each with a column of its own."""
    return json.dumps([{f"c{number}": number} for number in range(count)]).encode()


WIDE = 10_001
MORE_TABLES: dict[str, tuple[Callable[[], Made], set[str]]] = {
    "arrow: a hundred million nulls": (lambda: arrow(unvalidated(pa.null(), 10**8)), BAD_INPUT),
    "arrow: a union": (lambda: arrow(union()), BAD_INPUT),
    "arrow: views of the same list": (lambda: arrow(list_views()), BAD_INPUT),
    "arrow: more columns than allowed": (lambda: arrow(columns(WIDE)), BAD_INPUT),
    "arrow: lists too deep": (lambda: arrow(lists(20)), BAD_INPUT),
    "arrow: a name too long": (lambda: arrow({"n" * 10_001: [1]}), BAD_INPUT),
    "arrow: one batch a thousand times": (lambda: same_batch(1000), BAD_INPUT),
    "arrow: a buffer that will be exabytes": (lambda: compressed_liar(2**62), BAD_INPUT | {"out_of_memory"}),
    "arrow: a buffer that will be less than nothing": (lambda: compressed_liar(-5), BAD_INPUT),
    "arrow: a name again and again": (lambda: arrow(pa.table([pa.array([1])] * 2000, names=["a"] * 2000)), {"ok"}),
    "arrow: names of nothing and of marks": (lambda: arrow({"": [1], "\0": [1], "\n": [1], "../x": [1], "\u202e": [1]}), {"ok"}),
    "arrow: a list of two billion": (lambda: arrow(pa.table({"x": pa.array([], pa.list_(pa.int8(), 2**31 - 1))})), {"ok"}),
    "arrow: moments out of all calendars": (
        lambda: arrow({"x": pa.array([2**62, -(2**62)], pa.timestamp("s", "Mars/Olympus"))}),
        BAD_INPUT | {"ok"},
    ),
    "arrow: pandas' metadata that is none": (lambda: arrow(with_metadata({}, {b"pandas": b"{" * 10_000})), {"ok"}),
    "arrow: metadata of megabytes": (lambda: arrow(with_metadata({b"k": bytes(8 * MIB)}, {b"k": bytes(8 * MIB)})), {"ok"}),
    **{f"arrow: a pickle as {name.decode()}": (lambda name=name: arrow(pickled(name)), {"ok", "bad_input"}) for name in EXTENSIONS},
    "arrow-stream: a pickle": (lambda: arrow_stream(pickled(EXTENSIONS[0])), {"ok", "bad_input"}),
    "arrow-stream: nothing": (lambda: ("arrow-stream", b""), BAD_INPUT),
    "arrow-stream: only its end": (lambda: ("arrow-stream", b"\xff\xff\xff\xff\0\0\0\0"), BAD_INPUT),
    "parquet: a pickle": (lambda: parquet(pickled(EXTENSIONS[0])), {"ok", "bad_input"}),
    "parquet: gigabytes of zeros": (lambda: zeros(100), BAD_INPUT),
    "parquet: more columns than allowed": (lambda: parquet(pa.table(columns(WIDE))), BAD_INPUT),
    "parquet: lists too deep": (lambda: parquet(lists(20)), BAD_INPUT),
    "parquet: encrypted": (lambda: ("parquet", b"PARE" + bytes(100) + struct.pack("<I", 50) + b"PARE"), BAD_INPUT),
    **{f"parquet: pages of zeros, {codec}": (lambda codec=codec: page_bomb(codec), ENDS) for codec in ("zstd", "snappy")},
    "csv: bytes that are no UTF-8": (lambda: ("csv", b"a,b\n1,\xe9t\xe9\n"), BAD_INPUT),
    "csv: UTF-16": (lambda: ("csv", "a,b\n1,2\n".encode("utf-16")), BAD_INPUT),
    "csv: half a character at its end": (lambda: ("csv", b"a\n\xc3"), BAD_INPUT),
    "csv: more columns than allowed": (lambda: ("csv", b",".join(b"c%d" % n for n in range(WIDE)) + b"\n"), BAD_INPUT),
    "csv: a name again and again": (lambda: ("csv", b",".join([b"a"] * 2000) + b"\n" + b",".join([b"1"] * 2000) + b"\n"), {"ok"}),
    "csv: only line ends": (lambda: ("csv", b"\n" * 1_000_000), BAD_INPUT | {"ok"}),
    "csv: only commas": (lambda: ("csv", b"," * 9_000 + b"\n" + b"," * 9_000), BAD_INPUT | {"ok"}),
    "csv: returns without lines": (lambda: ("csv", b"a,b\r1,2\r" * 10), BAD_INPUT | {"ok"}),
    "csv: numbers without end": (lambda: ("csv", b"a\n" + b"9" * 1_000_000 + b"\n1e999999999\n"), BAD_INPUT | {"ok"}),
    "json: a key twice": (lambda: ("json", b'[{"a": 1, "a": 2}]'), BAD_INPUT),
    "json: a column twice": (lambda: ("json", b'{"a": [1], "a": [2]}'), BAD_INPUT),
    "json: not UTF-8": (lambda: ("json", b'[{"a": "\xff"}]'), BAD_INPUT),
    "json: columns of other lengths": (lambda: ("json", b'{"a": [1], "b": [1, 2]}'), BAD_INPUT),
    "json: ten thousand columns that grow": (lambda: ("json", records(9_000)), BAD_INPUT),
    "json: something behind its end": (lambda: ("json", b"[{}] [{}]"), BAD_INPUT),
    "json: powers without end": (lambda: ("json", b'[{"a": 1e999999999}, {"a": -1e999999999}]'), BAD_INPUT | {"ok"}),
    "json: a text of megabytes": (lambda: ("json", json.dumps([{"a": "\\" * 30 * MIB}]).encode()), ENDS | {"ok"}),
    "json: an empty name": (lambda: ("json", b'[{"": 1, "\\u0000": 2}]'), {"ok"}),
    "ndjson: nothing": (lambda: ("ndjson", b""), BAD_INPUT),
    "ndjson: more columns than allowed": (lambda: ("ndjson", json.dumps(dict.fromkeys(columns(WIDE), 1)).encode()), BAD_INPUT),
    "ndjson: deep": (lambda: ("ndjson", b'{"a": ' * 100_000), BAD_INPUT | {"crashed"}),
    "ndjson: one line of megabytes": (lambda: ("ndjson", b'{"a": "' + b"x" * 100 * MIB), ENDS),
    "ndjson: only line ends": (lambda: ("ndjson", b"\n" * 1_000_000), BAD_INPUT | {"ok"}),
    "of a format that there is not": (lambda: ("pickle", PICKLE), BAD_INPUT),
}
