"""Rule 10 with random tables, in the real image: two hundred tables through one sandbox, and some all the way.

The same tables run without a container, and shrink, in tests/unit/test_runner_random_tables.py.
"""

from __future__ import annotations

import io

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.contract.random_tables import differences, file_bytes, tables
from tests.contract.samples import IDENTITY, arrow

# It does with every table what the runner does around a script: the runner's package is loaded in the script's process.
DRIVER = """
import sys
import pandas as pd
import pyarrow as pa

class Notes:
    def note(self, kind, text, **facts):
        pass

def azureml_main(files):
    formats, tables_in, tables_out = (sys.modules["_fumehood_runner." + name] for name in ("formats", "tables_in", "tables_out"))
    found = []
    for data in files["file"]:
        with open("table", "wb") as file:
            file.write(data)
        source = tables_in.from_arrow("dataset1", formats.read("dataset1", "table", "arrow", {"memory_bytes": 10**9}, Notes()))
        result = tables_out.to_table(source.take_frame(), "result", [source], Notes())
        tables_out.write_arrow_file(result, "result", None)
        with open("result", "rb") as file:
            found.append(file.read())
    return pd.DataFrame({"file": pd.Series(found, dtype=object)})
"""


def random_tables(count: int) -> list[pa.Table]:
    drawn: list[pa.Table] = []

    @seed(20)
    @settings(max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(tables())
    def draw(table: pa.Table) -> None:
        drawn.append(table)

    draw()
    return drawn


def test_two_hundred_random_tables_come_back_as_they_were(sandbox):
    sent = random_tables(200)
    files = pa.table({"file": pa.array([file_bytes(table) for table in sent], pa.large_binary())})
    run = sandbox.run(DRIVER, inputs={"dataset1": arrow(files)})
    assert run.reason == "ok", run.report
    got = [pa.ipc.open_file(io.BytesIO(data)).read_all() for data in run.table().column("file").to_pylist()]
    assert len(got) == len(sent)
    wrong = {number: found for number, pair in enumerate(zip(sent, got, strict=True)) if (found := differences(*pair))}
    assert wrong == {}


def test_a_random_table_comes_back_all_the_way(sandbox):
    for sent in random_tables(40)[-3:]:
        run = sandbox.run(IDENTITY, inputs={"dataset1": ("arrow", file_bytes(sent))})
        assert run.reason == "ok", run.report
        assert differences(sent, run.table()) == []
        assert run.notes("dtype_change") == []
