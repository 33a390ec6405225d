"""The front desk over real sandboxes: every format in and out, previews, and a result that goes on without a download."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.json
import pyarrow.parquet

from api.schemas import Preview
from fumehood.dataset import FORMATS, TABLE_FORMATS
from tests.journey.workshop import Workshop
from tests.unit.front_desk import Counter, slug

TABLE = pa.table({"n": [1, 2, None], "x": [0.5, None, -1.5], "t": ["ä,b", 'a "b"', "c\nd"], "yes": [True, False, None]})
MEDIA = {name: FORMATS[name][0][0] for name in FORMATS}
LIMITS = {"memory_bytes": 512 * 2**20, "output_bytes": 16 * 2**20, "disk_bytes": 16 * 2**20}
SCRIPT = """
import pandas as pd

def azureml_main(first, second=None):
    print("rows", len(first))
    return first.assign(twice=first["n"] * 2), pd.DataFrame()
"""


def stream_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def written(write: Callable[[pa.Table, io.BytesIO], object]) -> bytes:
    sink = io.BytesIO()
    write(TABLE, sink)
    return sink.getvalue()


BYTES: dict[str, bytes] = {
    "arrow": written(lambda table, sink: pa.feather.write_feather(table, sink, compression="zstd")),
    "arrow-stream": stream_bytes(TABLE),
    "parquet": written(pa.parquet.write_table),
    "csv": written(pa.csv.write_csv),
    "json": json.dumps(TABLE.to_pylist()).encode(),
    "ndjson": "".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()).encode(),
}
READERS: dict[str, Callable[[bytes], pa.Table]] = {
    "arrow": lambda data: pa.ipc.open_file(data).read_all(),
    "arrow-stream": lambda data: pa.ipc.open_stream(data).read_all(),
    "parquet": lambda data: pa.parquet.read_table(pa.BufferReader(data)),
    "csv": lambda data: pa.csv.read_csv(
        io.BytesIO(data), parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=pa.csv.ConvertOptions()
    ),
    "json": lambda data: pa.Table.from_pylist(json.loads(data)),
    "ndjson": lambda data: pa.Table.from_pylist([json.loads(line) for line in data.splitlines()]),
}
# Bytes that begin well, and what the refusal says.
MALFORMED: dict[str, tuple[bytes, str]] = {
    "arrow": (BYTES["arrow"][:-20], "its end is missing"),
    "arrow-stream": (BYTES["arrow-stream"][:-40], "dataset1 is not a readable Arrow"),
    "parquet": (BYTES["parquet"][:-20], "its end is missing"),
    "csv": (b"a,b\n1,2\n3,4,5\n", "row 3 has 3 cells"),
    "json": (b'[{"a": 1}, {"a": 2]', "line 1, column 19"),
    "ndjson": (b'{"a": 1}\n{"a": }\n', "Line 2"),
}


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return list(table.to_pylist())


def test_every_format_goes_in_and_comes_out(us: Counter) -> None:
    """What any of them holds is the same table in any other; each is read here by another reader than the sandbox's."""
    datasets = {}
    for format, content in BYTES.items():
        answer = us.upload(content, "application/octet-stream", params={"name": f"numbers{FORMATS[format][1][0]}"})
        assert answer.status_code == 201, answer.text
        record = answer.json()
        assert (record["format"], record["rows"], [column["name"] for column in record["columns"]]) == (format, 3, TABLE.column_names)
        datasets[format] = f"/v1/datasets/{record['id']}/content"
        canonical = us.get(datasets[format], headers={"Accept": MEDIA["arrow"]})
        assert rows(READERS["arrow"](canonical.content)) == rows(TABLE), format
        assert us.get(datasets[format]).content == content
    for format in TABLE_FORMATS:
        answer = us.get(datasets["arrow" if format != "arrow" else "csv"], headers={"Accept": MEDIA[format]})
        assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA[format]), answer.text
        assert rows(READERS[format](answer.content)) == rows(TABLE), format


def test_malformed_bytes_are_refused_and_nothing_stays(us: Counter, workshop: Workshop) -> None:
    for name, (content, place) in MALFORMED.items():
        answer = us.upload(content, MEDIA[name])
        assert (answer.status_code, slug(answer)) == (422, "bad-request"), (name, answer.text)
        assert place in answer.json()["detail"], name
    assert us.get("/v1/datasets").json()["items"] == []
    assert [path for path in (workshop.home / "blobs").rglob("*") if path.is_file()] == []


def test_a_job_its_previews_and_its_inputs(us: Counter) -> None:
    """One upload, one job, one more that takes its result; everything that can be asked about them."""
    dataset = us.upload(BYTES["parquet"], MEDIA["parquet"], params={"name": "numbers.parquet"}).json()
    document = {"script": SCRIPT, "limits": LIMITS, "dataset1": dataset["id"]}
    first = us.post("/v1/jobs", json=document, headers={"Prefer": "wait=60"}).json()
    assert (first["state"], first["reason"]) == ("succeeded", "ok"), first
    again = us.post(
        "/v1/jobs", json=document | {"dataset1": {"job": first["id"], "output": "result"}}, headers={"Prefer": "wait=60"}
    ).json()
    assert [column["name"] for column in again["result"]["columns"]] == [*TABLE.column_names, "twice"]
    inputs = {item["port"]: item for item in us.get(again["links"]["inputs"]).json()["items"]}
    assert inputs["dataset1"]["source"] == {"job": first["id"], "output": "result"}
    assert us.get(inputs["dataset1"]["href"]).content == us.get(first["links"]["result"]).content
    assert us.get(inputs["script"]["href"]).text == SCRIPT

    seen = us.get(dataset["links"]["preview"])
    made = Preview.model_validate_json(seen.content)
    assert [(column.name, column.count, column.nulls, column.min, column.max) for column in made.columns] == [
        ("n", 2, 1, 1, 2),
        ("x", 2, 1, -1.5, 0.5),
        ("t", 3, 0, 'a "b"', "ä,b"),
        ("yes", 2, 1, False, True),
    ]
    assert (made.rows, made.head.columns, len(made.head.rows)) == (3, TABLE.column_names, 3)
    assert us.get(dataset["links"]["preview"], headers={"If-None-Match": seen.headers["etag"]}).status_code == 304
    result = Preview.model_validate_json(us.get(first["links"]["result_preview"]).content)
    assert [column.max for column in result.columns if column.name == "twice"] == [4]
    assert result.columns[0].histogram is not None

    # The second table has no columns: its conversion to text is nothing, and its preview a table of nothing.
    assert us.get(first["links"]["result2"], headers={"Accept": MEDIA["json"]}).status_code == 200
    assert us.get(first["links"]["result2"], headers={"Accept": MEDIA["csv"]}).content.strip() == b""
    assert Preview.model_validate_json(us.get(first["links"]["result2_preview"]).content).columns == []

    (image,) = us.get("/v1/images").json()["items"]
    assert (image["digest"], image["current"]) == (first["image"], True)
    packages = {package["name"]: package["version"] for package in us.get(first["links"]["image"]).json()["items"]}
    assert image["packages"] == len(packages) > 100
    assert "pandas" in packages
