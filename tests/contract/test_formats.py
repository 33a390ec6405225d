"""Rule 9 in the real image: every input format, every output format, and bytes that mean harm.

What exactly is refused, with which words, is in tests/unit/test_runner_formats.py: it needs no container.
"""

from __future__ import annotations

import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.contract.bench import MEBI
from tests.contract.samples import IDENTITY, arrow
from tests.contract.test_tables_in import ALL, assert_same_columns

RECORDS = b'[{"n": 1, "s": "x", "l": [1, 2]}, {"n": null, "s": "", "o": {"a": true}}]'
COLUMNS = {"n": [1, None], "s": ["x", ""], "l": [[1, 2], None], "o": [None, {"a": True}]}
BOTH = "def azureml_main(df1, df2):\n    return df1, df2\n"


def parquet(table: pa.Table, **options: object) -> tuple[str, bytes]:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return "parquet", sink.getvalue()


def test_parquet_comes_in_with_its_types(sandbox):
    # Parquet itself has no seconds and no categories of numbers.
    table = ALL.drop_columns([name for name in ALL.column_names if name.startswith(("timestamp_s", "time32", "date64", "category_int"))])
    run = sandbox.run(IDENTITY, inputs={"dataset1": parquet(table, row_group_size=2)})
    assert run.reason == "ok", run.report
    assert_same_columns(run.table(), table)
    assert run.report["notes"] == []


def test_json_and_ndjson_come_in_alike(sandbox):
    lines = b"\n".join(json.dumps(record).encode() for record in json.loads(RECORDS))
    run = sandbox.run(BOTH, inputs={"dataset1": ("json", RECORDS), "dataset2": ("ndjson", lines)})
    assert run.reason == "ok", run.report
    assert run.table().to_pydict() == run.table("result2").to_pydict() == COLUMNS


def test_bad_json_is_a_bad_input_with_its_line(sandbox):
    run = sandbox.run(IDENTITY, inputs={"dataset1": ("ndjson", b'{"a": 1}\n[2]\n')})
    assert (run.reason, run.report["message"]) == (
        "bad_input", "Line 2 of dataset1 is an array; expected an object; an array of records is the format json.",
    )  # fmt: skip


@pytest.mark.parametrize("form", ["arrow", "arrow-stream", "parquet", "json", "ndjson", "csv"])
def test_every_format_is_written_and_described(sandbox, form):
    table = pa.table({"n": [1, None, 3], "s": ["x", "", "ä\n"], "b": [True, None, False]})
    written = sandbox.run(kind="convert", target_format=form, inputs={"dataset1": arrow(table, batches=3)})
    assert (written.reason, written.report["result"]["rows"]) == ("ok", 3), written.report
    data = (written.home / "out" / "result.arrow").read_bytes()
    described = sandbox.run(kind="describe", inputs={"dataset1": (form, data)})
    assert described.reason == "ok", described.report
    with pa.OSFile(str(described.home / "out" / "result.arrow")) as file:
        reader = pa.ipc.open_file(file)
        assert (reader.num_record_batches, reader.schema.metadata) == (1, None)
        assert reader.read_all().to_pydict() == table.to_pydict()
    assert [column["type"] for column in described.report["result"]["columns"]] == ["int64", "string", "bool"]


def test_json_larger_than_memory_is_out_of_memory(sandbox):
    # Whatever reads it needs more than there is; nobody can know before.
    data = b"[" + b",".join([b'{"a": "' + b"x" * 5_000 + b'"}'] * 40_000) + b"]"
    run = sandbox.run(IDENTITY, inputs={"dataset1": ("json", data)}, memory_bytes=256 * MEBI, disk_bytes=32 * MEBI)
    assert run.reason == "out_of_memory", run.report


def test_parquet_that_unfolds_into_a_hundred_gigabytes_ends_as_the_inputs_doing(sandbox):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 1_000_000]))
    form, data = parquet(pa.table({"a": long}), store_schema=False)
    assert len(data) < MEBI
    run = sandbox.run(IDENTITY, inputs={"dataset1": (form, data)}, memory_bytes=512 * MEBI, disk_bytes=32 * MEBI)
    assert run.reason in ("bad_input", "out_of_memory"), run.report


# Each damaged file is read in a process of its own. Exit code 1 is «refused»; 2 would have been the service's fault.
DAMAGE = """
import os, signal, sys
import pandas as pd

def read(path):
    formats, tables_in, refused = (sys.modules["_fumehood_runner." + name] for name in ("formats", "tables_in", "refused"))
    class Notes:
        def note(self, *_, **__): pass
    signal.alarm(20)
    try:
        tables_in.from_arrow("d", formats.read("d", path, "parquet", {"memory_bytes": 10**9}, Notes()))
    except refused.Refused:
        return 1
    except BaseException as error:
        print(repr(error)[:300])
        return 2
    return 0

def azureml_main(files):
    codes = []
    for data in files["file"]:
        with open("file", "wb") as file:
            file.write(data)
        pid = os.fork()
        if pid == 0:
            os._exit(read("file"))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return pd.DataFrame({"code": codes})
"""


def test_damaged_parquet_is_never_the_services_fault(sandbox):
    chance = random.Random(7)
    seeds = [parquet(ALL)[1], parquet(ALL, use_dictionary=False, compression="none", data_page_version="2.0")[1]]
    files = []
    for number in range(150):
        data = bytearray(seeds[number % 2])
        for _ in range(chance.choice([1, 1, 3])):
            data[chance.randrange(len(data))] = chance.choice([0, 255, 127, 128, chance.randrange(256)])
        files.append(bytes(data))
    run = sandbox.run(DAMAGE, inputs={"dataset1": arrow({"file": pa.array([*seeds, *files], pa.large_binary())})}, wall_seconds=120)
    assert run.reason == "ok", run.report
    codes = run.frame()["code"].tolist()
    assert codes[:2] == [0, 0], run.log
    # A reader may be crashed by such bytes, which is the job's end and blamed on it; it must not hang or raise what nobody expects.
    assert {code for code in codes if code >= 0} == {0, 1}, run.log
    assert -14 not in codes
