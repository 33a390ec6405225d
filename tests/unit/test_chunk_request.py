"""What the sandbox of a chunk is told beside its items' windows: the columns that every item's table must have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fumehood.batch import Isolation
from fumehood.job import Job, Kind
from tests.contract.loading import runner
from tests.unit.stores import batch_of
from tests.unit.workbench import Bench, bench
from worker.chunk import stage_items
from worker.expected import expected_of
from worker.journey import write_request

__all__ = ["bench"]

COLUMNS = [{"name": "a", "type": "int64", "nullable": True}]


def claimed(bench: Bench, columns: list[dict[str, Any]] | None) -> Job:
    batch, items, terms = batch_of(3, Isolation.BATCH, tenant=bench.tenant)
    batch = replace(batch, inputs=bench.publish(columns).called)
    bench.put(f"batches/{batch.id}/pack", bytes(200))
    bench.store.submit_batch(batch, items, terms)
    job = bench.store.claim(worker=bench.worker, lane=Kind.CHUNK.lane, disk_budget_bytes=2**60)
    assert job is not None
    assert job.kind is Kind.CHUNK
    return job


def test_what_items_must_have_is_said_once_for_all_of_them(bench: Bench, tmp_path: Path) -> None:
    job = claimed(bench, COLUMNS)
    staged = stage_items(job, bench.store, bench.blobs, tmp_path)
    write_request(tmp_path / "request.json", job, staged.request | expected_of(job, bench.store))
    request = json.loads((tmp_path / "request.json").read_text())
    assert request["schema"] == {"dataset1": COLUMNS}
    own = runner("item").request_of(request, request["items"][0], result_end=0)
    assert own["schema"] == {"dataset1": COLUMNS}


def test_where_any_table_will_do_nothing_is_said(bench: Bench, tmp_path: Path) -> None:
    job = claimed(bench, None)
    staged = stage_items(job, bench.store, bench.blobs, tmp_path)
    assert expected_of(job, bench.store) == {}
    assert staged.request.keys() == {"items", "item_wall_seconds"}
    plain = {"version": 1, "limits": {}, "inputs": {}, "parameters": {}, "item_wall_seconds": 1}
    assert "schema" not in runner("item").request_of(plain, {"inputs": {}, "parameters": {}}, result_end=0)
