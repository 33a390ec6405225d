"""A model is trained in one job, published with the script that loads it, and called with one row, a hundred and a hundred thousand."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.docs.blocks import blocks_of
from tests.e2e.stand import ROOT, Stand, ended

DIABETES = ROOT / "examples" / "pima-indians-diabetes.csv"
ARROW = "application/vnd.apache.arrow.file"


def page(file: str) -> bytes:
    """A file as docs/how-to/model.md has it."""
    return next(block.text for block in blocks_of(ROOT / "docs" / "how-to" / "model.md") if block.file == file).encode()


@pytest.fixture(scope="module")
def model(stand: Stand) -> Iterator[str]:
    """The address of its calls."""
    with stand.client() as client:
        trained = client.post(
            "/v1/jobs",
            files={"script": ("train.py", page("train.py"), "text/x-python"), "dataset1": ("d.csv", DIABETES.read_bytes(), "text/csv")},
        ).json()
        assert ended(client, trained["id"], seconds=120)["state"] == "succeeded"
        pickled = client.get(f"/v1/jobs/{trained['id']}/artifacts/model.pkl").raise_for_status().content
        files = {
            "version": (None, json.dumps({"limits": {"wall_seconds": 60}, "description": "Diabetes"}), "application/json"),
            "script": ("diabetes.py", page("diabetes.py"), "text/x-python"),
            "bundle": ("bundle.zip", zipped("model.pkl", pickled), "application/zip"),
            "sample": ("sample.csv", features(2).to_csv(index=False).encode(), "text/csv"),
        }
        answer = client.put("/v1/scripts/diabetes", files=files, headers={"Prefer": "wait=60"})
        assert (answer.status_code, answer.json()["state"]) == (201, "ready"), answer.text
        assert answer.json()["has_init"] is True
        yield "/v1/scripts/diabetes/score"
        assert client.delete("/v1/scripts/diabetes").status_code == 204


def features(rows: int) -> pd.DataFrame:
    """The rows of the examples' table without what is to be found, again and again."""
    table = pd.read_csv(DIABETES).iloc[:, :-1]
    return pd.concat([table] * -(-rows // len(table)), ignore_index=True).head(rows)


def zipped(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def arrow_of(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("rows", [1, 100, 100_000])
def test_it_scores_as_many_rows_as_are_sent(client: httpx.Client, model: str, rows: int) -> None:
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    answer = client.post(model, content=arrow_of(features(rows)), headers=headers, timeout=90)
    assert answer.status_code == 200, answer.text
    scored = pa.ipc.open_file(answer.content).read_all().to_pandas()
    assert len(scored) == rows
    assert scored["risk"].between(0, 1).all()
    # The same patient has the same risk, in whichever call and row.
    assert np.allclose(scored["risk"][:1], scored["risk"][768:769] if rows > 768 else scored["risk"][:1])


def test_json_rows_do_as_well(client: httpx.Client, model: str) -> None:
    rows = json.loads(features(3).to_json(orient="records"))
    answer = client.post(model, json=rows)
    assert answer.status_code == 200, answer.text
    assert [set(row) for row in answer.json()] == [{"risk"}] * 3


def test_a_row_without_a_column_names_it(client: httpx.Client, model: str) -> None:
    answer = client.post(model, json=json.loads(features(1).drop(columns="age").to_json(orient="records")))
    assert answer.status_code == 422
    assert "/body/age" in [entry["pointer"] for entry in answer.json()["errors"]]


def test_a_call_that_follows_finds_the_model_loaded(client: httpx.Client, model: str, stand: Stand) -> None:
    starts = set()
    for _ in range(20):
        answer = client.post(model, json=json.loads(features(1).to_json(orient="records")))
        starts.add(client.get(f"/v1/jobs/{answer.headers['fumehood-job']}").json()["start"])
        if "prepared" in starts:
            return
    pytest.fail(f"of 20 calls one after the other none found the script open; they started {starts}")
