"""Batches over real sandboxes: hundreds of items, among them some that fail, that take too long, and that leave things behind."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest

from tests.journey.workshop import Workshop
from tests.services import until
from tests.unit.front_desk import Counter

LIMITS = {"wall_seconds": 5, "memory_bytes": 512 * 2**20, "output_bytes": 16 * 2**20, "disk_bytes": 16 * 2**20}
SCRIPT = """
import os, subprocess, sys, time
import pandas as pd

def azureml_main(frame, *, factor):
    n = int(frame["n"].iloc[0])
    print("item", n)
    seen = [name for name in os.listdir(".") if name.startswith("left")] + os.listdir("/dev/shm")
    seen += [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
    if n % 50 == 7:
        raise ValueError(f"item {n}")
    if n % 100 == 11:
        time.sleep(60)
    if n % 10 == 3:
        open("left.txt", "w").write("secret"); open("/dev/shm/left", "w").write("secret")
        subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    return pd.DataFrame({"n": frame["n"] * factor, "seen": [",".join(seen)] * len(frame)})
"""


def table(n: int, rows: int = 20) -> bytes:
    made, sink = pa.table({"n": [n] * rows}), io.BytesIO()
    with pa.ipc.new_file(sink, made.schema) as writer:
        writer.write_table(made)
    return sink.getvalue()


def submit(us: Counter, count: int, **document: Any) -> str:
    asked = {"script": SCRIPT, "limits": LIMITS, "parameters": {"factor": 2}, **document}
    items = [("item", (f"{n}.arrow", table(n), "application/vnd.apache.arrow.file")) for n in range(count)]
    answer = us.post("/v1/batches", files=[("batch", (None, json.dumps(asked).encode(), "application/json")), *items])
    assert answer.status_code == 202, answer.text
    return f"/v1/batches/{answer.json()['id']}"


def ended(us: Counter, here: str) -> dict[str, Any]:
    """The batch's record, once all has ended."""
    record: dict[str, Any] = {}

    def look() -> bool:
        record.update(us.get(here, params={"wait": 20}).json())
        return record["finished_at"] is not None

    until(look, seconds=180, what="the batch ends")
    return record


def result(us: Counter, item: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.ipc.open_file(us.get(item["links"]["result"]).content).read_all().to_pylist()
    return rows


def all_items(us: Counter, here: str) -> list[dict[str, Any]]:
    found, cursor = [], None
    while True:
        page = us.get(f"{here}/items", params={"limit": 200} | ({"cursor": cursor} if cursor else {})).json()
        found += page["items"]
        if (cursor := page["next"]) is None:
            return found


def test_two_hundred_items_in_few_sandboxes_each_end_in_their_own_way(us: Counter) -> None:
    here = submit(us, 200, isolation="batch")
    record = ended(us, here)
    assert record["counts"] == {"queued": 0, "running": 0, "succeeded": 194, "failed": 6, "cancelled": 0}
    items = all_items(us, here)
    assert {item["number"]: item["reason"] for item in items if item["state"] == "failed"} == {
        **dict.fromkeys((7, 57, 107, 157), "script_error"),
        **dict.fromkeys((11, 111), "timed_out"),
    }
    for item in items:
        if item["state"] == "succeeded":
            assert result(us, item) == [{"n": 2 * item["number"], "seen": ""}] * 20, item
    failed = us.get(items[57]["links"]["self"]).json()
    assert (failed["error"]["type"], failed["message"]) == ("ValueError", "ValueError: item 57 (line 11 of script.py)")
    log = us.get(failed["links"]["log"]).text
    assert log.startswith("item 57\nTraceback")
    receipts = {us.get(items[number]["links"]["self"]).json()["erasure"]["container"] for number in (0, 60, 120, 180)}
    assert len(receipts) == 2  # one for each slot


def test_items_in_sandboxes_of_their_own(us: Counter) -> None:
    here = submit(us, 9)
    record = ended(us, here)
    assert record["counts"]["succeeded"] == 8
    items = all_items(us, here)
    assert items[7]["reason"] == "script_error"
    assert result(us, items[8]) == [{"n": 16, "seen": ""}] * 20
    assert len({us.get(item["links"]["self"]).json()["erasure"]["container"] for item in items}) == 9


def test_a_cancel_ends_a_chunk_that_runs_with_all_its_items(us: Counter) -> None:
    slow = "import time\ndef azureml_main(frame, *, factor):\n    print('running', flush=True)\n    time.sleep(50)\n"
    here = submit(us, 60, isolation="batch", script=slow, limits={**LIMITS, "wall_seconds": 60})
    until(lambda: us.get(here).json()["counts"]["running"] > 0, seconds=30, what="a chunk runs")
    assert us.post(f"{here}/cancel").status_code == 202
    assert ended(us, here)["counts"]["cancelled"] == 60


def test_a_chunk_whose_worker_is_killed_runs_again(us: Counter, workshop: Workshop) -> None:
    slow = SCRIPT.replace('print("item", n)', "time.sleep(0.2)")
    here = submit(us, 25, isolation="batch", script=slow)
    until(lambda: us.get(here).json()["counts"]["running"] > 0, seconds=30, what="the chunk runs")
    workshop.workers[0].process.kill()
    workshop.workers[0].process.wait(10)
    workshop.start_worker(ready=False)
    record = ended(us, here)
    assert record["counts"]["succeeded"] == 23
    assert us.get(f"{here}/items/0").json()["attempt"] == 2


JOINING = """
import pandas as pd

def azureml_main(frame, *, fails, half):
    n = int(frame["n"].iloc[0])
    if n in fails:
        raise ValueError(f"item {n}")
    made = pd.DataFrame({"n": [n], "word": pd.Categorical([f"w{n}"])})
    return made.assign(more=[n / 2]) if n in half else made
"""


def joined(us: Counter, here: str, **params: Any) -> list[dict[str, Any]]:
    answer = us.get(f"{here}/result", params=params)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = pa.ipc.open_file(answer.content).read_all().to_pylist()
    return rows


@pytest.mark.parametrize("isolation", ["item", "batch"])
def test_the_results_of_all_items_are_one_table_that_is_made_once(us: Counter, isolation: str) -> None:
    here = submit(us, 4, script=JOINING, isolation=isolation, parameters={"fails": [2], "half": [1]})
    ended(us, here)
    rows = joined(us, here)
    assert rows == [
        {"item": 0, "item_name": "0.arrow", "n": 0, "word": "w0", "more": None},
        {"item": 1, "item_name": "1.arrow", "n": 1, "word": "w1", "more": 0.5},
        {"item": 3, "item_name": "3.arrow", "n": 3, "word": "w3", "more": None},
    ]
    first = us.get(f"{here}/result")
    assert us.get(f"{here}/result").headers["ETag"] == first.headers["ETag"]
    assert us.get(f"{here}/result", headers={"Accept": "text/csv"}).text.splitlines()[2] == '1,"1.arrow",1,"w1",0.5'
    again = us.post(f"{here}/items/2/retry")
    assert (again.status_code, again.json()["retries"]) == (202, 1), again.text
    record = ended(us, here)
    assert record["counts"] == {"queued": 0, "running": 0, "succeeded": 3, "failed": 1, "cancelled": 0}
    assert joined(us, here) == rows
    assert us.get(f"{here}/result").headers["ETag"] != first.headers["ETag"]
    assert us.delete(here).status_code == 204


def test_results_that_cannot_be_one_table_are_told_by_column_and_item(us: Counter) -> None:
    script = "import pandas as pd\ndef azureml_main(frame):\n    n = frame.n[0]\n    return pd.DataFrame({'a': [int(n) if n else 'x']})\n"
    here = submit(us, 2, script=script, isolation="batch", parameters={})
    ended(us, here)
    answer = us.get(f"{here}/result")
    assert answer.status_code == 422
    assert "Column 'a' is int64 in item 1 ('1.arrow') and string in item 0 ('0.arrow')" in answer.json()["detail"]


def test_what_has_succeeded_so_far_can_be_had_of_a_batch_that_runs(us: Counter) -> None:
    slow = "import time\n" + JOINING.replace("    n = int", "    time.sleep(3 * int(frame['n'].iloc[0]))\n    n = int")
    here = submit(us, 2, script=slow, parameters={"fails": [], "half": []}, limits={**LIMITS, "wall_seconds": 60})
    assert us.get(f"{here}/result").status_code == 409
    until(lambda: us.get(here).json()["counts"]["succeeded"] > 0, seconds=60, what="the first item ends")
    assert joined(us, here, partial="true")[0]["n"] == 0
    text = us.get(f"{here}/result", params={"partial": "true"}, headers={"Accept": "text/csv"}).text
    assert text.startswith('"item","item_name","n","word"\n0,"0.arrow",0,"w0"\n')
    ended(us, here)
    assert len(joined(us, here)) == 2


def test_the_first_failure_ends_a_batch_that_wants_it(us: Counter) -> None:
    here = submit(us, 40, script=JOINING, on_failure="stop", parameters={"fails": [1], "half": []})
    record = ended(us, here)
    assert record["stopped_by"] == 1
    assert record["counts"]["failed"] == 1
    assert record["counts"]["cancelled"] >= 30
    us.post(f"{here}/retry").raise_for_status()
    assert us.get(here).json()["stopped_by"] in (None, 1)
    ended(us, here)
