"""The runner's readers of tables over changed files: `python -m tests.fuzz.readers DIRECTORY` tries each file there, in order.

They are native code, which may crash its process, take all memory or never end; so this is run as a process with limits of its own
(`tried`), and a case that ends it is told by name. Each file is called `<number>.<format>`; for each, one line of JSON is written.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.contract.loading import runner
from tests.fuzz.mutations import mutate

ROOT = Path(__file__).resolve().parents[2]
ADDRESS_BYTES = 6 * 2**30
CASE_SECONDS = 20
LIMITS = {"memory_bytes": 200_000_000}


# valid files -------------------------------------------------------------------------------------------------------------
def _table() -> pa.Table:
    return pa.table(
        {
            "n": pa.array([1, None, 3], pa.int32()),
            "t": ["a", "", None],
            "big": pa.array(["x", "yy", None], pa.large_string()),
            "view": pa.array(["x" * 20, "y", None], pa.string_view()),
            "d": pa.array(["p", "q", "p"]).dictionary_encode(),
            "l": [[1, 2], None, []],
            "s": [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}],
            "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            "f": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
            "b": pa.array([b"abc", None, b"xyz"], pa.binary(3)),
            "when": pa.array([0, None, 10**15], pa.timestamp("us", "Europe/Vienna")),
            "money": pa.array([1, None, 3], pa.int64()).cast(pa.decimal128(22, 2)),
            "yes": [True, None, False],
            "none": pa.nulls(3),
        }
    )


def _ipc(table: pa.Table, *, stream: bool, **options: Any) -> bytes:
    sink = io.BytesIO()
    made = (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options))
    with made as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    return sink.getvalue()


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.select([name for name in table.column_names if name != "view"]), sink, **options)
    return sink.getvalue()


def seeds() -> dict[str, list[bytes]]:
    table = _table()
    plain = table.select(["n", "t", "l", "when"])
    return {
        "arrow": [
            _ipc(table.drop_columns(["d"]), stream=False),
            _ipc(table.select(["d", "n"]).slice(0, 2), stream=False),
            _ipc(plain, stream=False, compression="lz4"),
            _ipc(plain, stream=False, compression="zstd"),
        ],
        "arrow-stream": [_ipc(table, stream=True), _ipc(plain, stream=True, compression="zstd")],
        "parquet": [
            _parquet(table),
            _parquet(table, compression="none", use_dictionary=False, data_page_version="2.0"),
            _parquet(table, compression="gzip", row_group_size=1, write_page_checksum=True),
            _parquet(plain, version="1.0", use_deprecated_int96_timestamps=True),
        ],
        "csv": [b'\xef\xbb\xbfa,b,"c ""d"""\r\n1,x,2020-01-01\r\nNA,"y\nz",\r\n-3.5e10,,12:00\r\n', "n,ä\n1,true\n2,\n".encode()],
        "json": [
            b'[{"a": 1, "b": [1, null], "c": {"d": null}}, {"a": 2.5, "b": null, "\\u00e4": "x"}]',
            b'{"a": [1, 2], "b": ["x", null]}',
        ],
        "ndjson": [b'{"a": 1, "b": "x"}\n{"a": 18446744073709551615, "c": [true]}\n\n{"a": null, "b": "y", "d": {"e": NaN}}\n'],
    }


def cases(form: str, count: int, seed: int) -> Iterator[bytes]:
    chance, valid = random.Random(f"{form} {seed}"), seeds()[form]
    for number in range(count):
        yield mutate(valid[number % len(valid)], chance)


def cases_in(directory: Path) -> list[Path]:
    return sorted((path for path in directory.iterdir() if path.suffix != ".written"), key=lambda path: int(path.stem))


# the parent --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    case: Path
    how: str
    """`table`, `refused`, or what is a defect: `raised …` or `ended the process …`."""

    @property
    def fine(self) -> bool:
        return self.how in ("table", "refused")


def tried(directory: Path, *, reader: Sequence[str] = (sys.executable, "-m", "tests.fuzz.readers")) -> list[Said]:
    """Every case of the directory. One that ends the process is skipped the next time, so all are tried."""
    files = cases_in(directory)
    said: list[Said] = []
    while len(said) < len(files):
        command = [*reader, str(directory), str(len(said))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=CASE_SECONDS * 30)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        said += [Said(case=files[len(said) + at], how=line) for at, line in enumerate(lines)]
        if len(said) < len(files):
            last = done.stderr.strip().splitlines()[-1:]
            said.append(Said(case=files[len(said)], how=f"ended the process with {done.returncode}: {' '.join(last)[:300]}"))
    return said


# the child ---------------------------------------------------------------------------------------------------------------
class _Notes:
    def note(self, kind: str, text: str, **facts: object) -> None:
        text.encode("utf-8", "surrogatepass")


def _written(table: pa.Table, path: Path) -> None:
    """What was read can be profiled and converted, or is refused: as an errand does."""
    refused, written = runner("refused").Refused, Path(f"{path}.written")
    for form, write in (*runner("formats").WRITERS.items(), ("a profile", runner("profile").write)):
        with contextlib.suppress(refused), runner("kinds").refused_as(form):
            write(table, str(written), _Notes())
        written.unlink(missing_ok=True)


def _how(path: Path) -> str:
    refused = runner("refused").Refused
    try:
        table = runner("formats").read("dataset1", str(path), path.suffix[1:], LIMITS, _Notes())
        _written(table, path)
        frame = runner("tables_in").from_arrow("dataset1", table).take_frame()
        assert len(frame) == table.num_rows
        assert len(set(table.column_names)) == table.num_columns
        return "table"
    except refused as error:
        return "refused" if error.reason == "bad_input" and error.message.isprintable() else f"refused as {error.reason}: {error.message!r}"
    except Exception as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for path in cases_in(Path(sys.argv[1]))[int(sys.argv[2]) :]:
        # Its default ends the process, also in the middle of native code.
        signal.alarm(CASE_SECONDS)
        print(json.dumps(_how(path)), flush=True)


if __name__ == "__main__":
    main()
