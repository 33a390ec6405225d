"""Hostile inputs, each made by a few lines: tables in every format and bundles that crash, expand, escape or never end."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.ipc

from tests.contract.samples import BOMBS, IDENTITY, arrow, arrow_stream, bundle
from tests.hostile.bundles import MORE_BUNDLES
from tests.hostile.making import BAD_INPUT, ENDS, MIB, Made, cut, flip, parquet
from tests.hostile.tables import MORE_TABLES

__all__ = ["BUNDLES", "IDENTITY", "TABLES", "Made"]


# Arrow -------------------------------------------------------------------------------------------------------------------
def _long_metadata() -> Made:
    """A stream whose first message says that it is two gigabytes long."""
    return "arrow-stream", b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1) + b"\0" * 64


def _negative_metadata() -> Made:
    return "arrow-stream", b"\xff\xff\xff\xff" + struct.pack("<i", -8) + b"\0" * 64


def _deep_lists(depth: int) -> Made:
    array = pa.array([1])
    for _ in range(depth):
        array = pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), array)
    return arrow(pa.table({"x": array}))


def _offsets(first: int, last: int) -> Made:
    """A string whose offsets leave its buffer; a reader that trusts them reads elsewhere."""
    kind, content = arrow({"x": ["y" * 12_345]})
    honest = struct.pack("<2i", 0, 12_345)
    place = content.rindex(honest, 0, content.index(b"yyyy"))
    return kind, content[:place] + struct.pack("<2i", first, last) + content[place + len(honest) :]


def _dictionary_out_of_range() -> Made:
    indices = pa.Array.from_buffers(pa.int32(), 1, [None, pa.py_buffer(struct.pack("<i", 10**6))])
    return arrow(pa.table({"x": pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)}))


def _many_columns(count: int) -> Made:
    return arrow(pa.table({f"c{number}": [1] for number in range(count)}))


def _compressed(codec: str, megabytes: int) -> Made:
    """Zeros, which take no room until they are read."""
    table = pa.table({"x": pa.Array.from_buffers(pa.uint8(), megabytes * MIB, [None, pa.py_buffer(bytes(megabytes * MIB))])})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    return "arrow", sink.getvalue()


# Parquet, CSV, JSON -----------------------------------------------------------------------------------------------------------
def _parquet_footer(length: int) -> Made:
    """A file that says how long its footer is."""
    return "parquet", b"PAR1" + b"\0" * 32 + struct.pack("<I", length) + b"PAR1"


def _equal_values(rows: int) -> Made:
    return parquet(pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["y" * 10_000]))}))


# Bundles ---------------------------------------------------------------------------------------------------------------------
def _names(*names: str) -> Made:
    return bundle({name: "x = 1\n" for name in names})


def _link(name: str, target: str) -> Made:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, 0o120777 << 16
        archive.writestr(entry, target)
    return "zip", sink.getvalue()


def _of_kind(mode: int) -> Made:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        entry = zipfile.ZipInfo("thing")
        entry.create_system, entry.external_attr = 3, mode << 16
        archive.writestr(entry, b"")
    return "zip", sink.getvalue()


def _bomb(megabytes: int) -> Made:
    return bundle({"zeros": bytes(megabytes * MIB)})


def _twice(name: str) -> Made:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x = 1\n")
        archive.writestr(zipfile.ZipInfo(name.upper()), "x = 2\n")
        archive.filelist[1].filename = name
    return "zip", sink.getvalue()


def _liar(size: int) -> Made:
    """An entry that says another size than it has."""
    content = bytearray(_bomb(1)[1])
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", size)
    return "zip", bytes(content)


def _wrong_sum() -> Made:
    content = bytearray(bundle({"module.py": "x = 1\n"})[1])
    place = content.rindex(b"PK\x01\x02")
    content[place + 16 : place + 20] = struct.pack("<I", zlib.crc32(b"other"))
    return "zip", bytes(content)


def _locked() -> Made:
    content = bytearray(bundle({"module.py": "x = 1\n"})[1])
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    return "zip", bytes(content)


def _overlapping(count: int) -> Made:
    """Many entries of the directory that share one body: small here, large there."""
    one = bundle({"a": bytes(4 * MIB)})[1]
    start = one.rindex(b"PK\x01\x02")
    end = one.rindex(b"PK\x05\x06")
    entry = one[start:end]
    tail = bytearray(one[end:])
    tail[8:12] = struct.pack("<HH", count, count)
    tail[12:16] = struct.pack("<I", len(entry) * count)
    return "zip", one[:start] + entry * count + bytes(tail)


GOOD = arrow({"x": list(range(1000)), "y": ["text"] * 1000})
# name → how it is made, and the reasons that are right.
TABLES: dict[str, tuple[Callable[[], Made], set[str]]] = {
    **{f"arrow: {name}": (lambda table=table: arrow(table), ENDS) for name, table in BOMBS.items()},
    **{f"arrow: {name}": (lambda name=name: arrow(BOMBS[name]), BAD_INPUT) for name in ("bad offsets", "bad text")},
    "arrow: nothing": (lambda: ("arrow", b""), BAD_INPUT),
    "arrow: only its mark": (lambda: ("arrow", b"ARROW1\0\0ARROW1"), BAD_INPUT),
    "arrow: cut in the middle": (lambda: cut(GOOD, 0.5), BAD_INPUT),
    "arrow: cut in the footer": (lambda: cut(GOOD, 0.99), BAD_INPUT),
    "arrow: offsets beyond the end": (lambda: _offsets(0, 2**31 - 1), BAD_INPUT),
    "arrow: offsets that fall": (lambda: _offsets(3, 0), BAD_INPUT),
    "arrow: negative offsets": (lambda: _offsets(-(2**31), 3), BAD_INPUT),
    "arrow: a word that is not in the dictionary": (_dictionary_out_of_range, BAD_INPUT),
    "arrow: lists in lists": (lambda: _deep_lists(60), ENDS | {"ok"}),
    "arrow: a hundred thousand columns": (lambda: _many_columns(100_000), ENDS | {"ok"}),
    "arrow: compressed zeros": (lambda: _compressed("zstd", 900), ENDS),
    "arrow-stream: two gigabytes of schema": (_long_metadata, BAD_INPUT),
    "arrow-stream: a schema of minus eight bytes": (_negative_metadata, BAD_INPUT),
    "arrow-stream: cut": (lambda: cut(arrow_stream({"x": list(range(1000))}), 0.6), BAD_INPUT | {"ok"}),
    "arrow-stream: a file": (lambda: ("arrow-stream", GOOD[1]), BAD_INPUT | {"ok"}),
    "parquet: nothing": (lambda: ("parquet", b""), BAD_INPUT),
    "parquet: a footer of four gigabytes": (lambda: _parquet_footer(2**32 - 1), BAD_INPUT),
    "parquet: a footer of nothing": (lambda: _parquet_footer(0), BAD_INPUT),
    "parquet: a footer that is none": (lambda: _parquet_footer(32), BAD_INPUT),
    "parquet: gigabytes of one word": (lambda: _equal_values(1_000_000), ENDS | {"ok"}),
    "parquet: flipped bits": (lambda: flip(parquet(pa.table({"x": list(range(10_000))})), 0.3, 0.5, 0.7), BAD_INPUT | {"crashed"}),
    "csv: nothing": (lambda: ("csv", b""), BAD_INPUT | {"ok"}),
    "csv: zero bytes": (lambda: ("csv", b"a,b\n\0\0\0,1\n"), BAD_INPUT | {"ok"}),
    "csv: no text at all": (lambda: ("csv", bytes(range(256)) * 100), BAD_INPUT),
    "csv: a quote that never closes": (lambda: ("csv", b'a\n"' + b"x" * 40 * MIB), ENDS),
    "csv: one line": (lambda: ("csv", b"a\n" + b"x" * 100 * MIB), ENDS),
    "csv: a million columns": (lambda: ("csv", b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n"), ENDS),
    "csv: rows of other lengths": (lambda: ("csv", b"a,b\n1,2,3\n"), BAD_INPUT),
    "json: nothing": (lambda: ("json", b""), BAD_INPUT),
    "json: deep": (lambda: ("json", b"[" * 1_000_000), BAD_INPUT | {"crashed"}),
    "json: deep and closed": (lambda: ("json", b'[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]"), ENDS | {"crashed", "ok"}),
    "json: a number of a million digits": (lambda: ("json", b'[{"a": ' + b"9" * 1_000_000 + b"}]"), ENDS | {"ok"}),
    "json: half a pair": (lambda: ("json", rb'[{"a": "\ud800"}]'), BAD_INPUT | {"ok"}),
    "json: no table": (lambda: ("json", b"17"), BAD_INPUT),
    "ndjson: cut": (lambda: ("ndjson", b'{"a": 1}\n{"a": '), BAD_INPUT),
    "ndjson: other columns on each line": (
        lambda: ("ndjson", b"".join(json.dumps({f"c{n}": n}).encode() + b"\n" for n in range(20_000))),
        ENDS | {"ok"},
    ),
}
BUNDLES: dict[str, tuple[Callable[[], Made], set[str]]] = {
    "nothing": (lambda: ("zip", b""), BAD_INPUT),
    "no zip": (lambda: ("zip", b"PK\x03\x04" + b"\0" * 100), BAD_INPUT),
    "cut": (lambda: cut(_names("module.py"), 0.6), BAD_INPUT),
    "out of its directory": (lambda: _names("../escaped.py"), BAD_INPUT),
    "far out of its directory": (lambda: _names("a/../../../../../job/escaped.py"), BAD_INPUT),
    "an absolute name": (lambda: _names("/tmp/escaped.py"), BAD_INPUT),
    "a drive": (lambda: _names("C:\\escaped.py"), BAD_INPUT),
    "out by backslashes": (lambda: _names("..\\..\\escaped.py"), BAD_INPUT),
    "a link": (lambda: _link("link", "/etc/passwd"), BAD_INPUT),
    "a link to a directory above": (lambda: _link("link", "../.."), BAD_INPUT),
    "a device": (lambda: _of_kind(0o020666), BAD_INPUT),
    "a pipe": (lambda: _of_kind(0o010666), BAD_INPUT),
    "a name with a zero": (lambda: _names("a\0b.py"), BAD_INPUT | {"ok"}),
    "a name of thousands of letters": (lambda: _names("a" * 5000 + ".py"), BAD_INPUT),
    "a tree of thousands": (lambda: _names("a/" * 2000 + "b.py"), BAD_INPUT),
    "a name twice": (lambda: _twice("module.py"), BAD_INPUT),
    "a file that is a directory": (lambda: _names("a", "a/b.py"), BAD_INPUT),
    "a gigabyte of zeros": (lambda: _bomb(1024), BAD_INPUT),
    "more entries than allowed": (lambda: bundle(dict.fromkeys(map(str, range(10_001)), "")), BAD_INPUT),
    "larger than it says": (lambda: _liar(10), BAD_INPUT),
    "smaller than it says": (lambda: _liar(2**31), BAD_INPUT | {"disk_full"}),
    "another sum": (_wrong_sum, BAD_INPUT),
    "locked": (_locked, BAD_INPUT),
    "one body for many": (lambda: _overlapping(500), BAD_INPUT | {"disk_full"}),
}
TABLES |= MORE_TABLES
BUNDLES |= MORE_BUNDLES
