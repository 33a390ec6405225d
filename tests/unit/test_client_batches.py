"""Batches through the client, against a front desk that listens: both ways of waiting, one suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fumehood.batch import Isolation
from fumehood.client import InTheWay, NotSendable, NotThere, WaitedTooLong
from fumehood.job import Job, Kind, Lane
from fumehood.outcome import Reason
from tests.unit.cli_desk import Listening, arrow, failed, fumehood, made
from tests.unit.front_desk import Made
from tests.unit.test_client_run import client

__all__ = ["client", "fumehood"]


def double(frame, other=None, *, times: int = 2):  # type: ignore[no-untyped-def]
    return frame * times


@pytest.fixture
def worked(fumehood: Listening) -> list[Job]:
    """Items end at once, the second one badly; the jobs that ran them."""
    seen: list[Job] = []
    fumehood.works(made)
    usual = fumehood.stand.worker.make

    def work(job: Job, content: bytes) -> Made:
        if job.kind is Kind.CHUNK:
            seen.append(job)
            return chunk(fumehood, job)
        if job.kind is Kind.SCRIPT:
            seen.append(job)
            if job.item == 1:
                return failed()
        return usual(job, content)

    fumehood.stand.worker.make = work
    return seen


def chunk(fumehood: Listening, job: Job) -> Made:
    table = arrow(n=[1, 2])
    said = []
    for at, item in enumerate(fumehood.stand.store.chunk_of(job).items):
        window = {"rows": 2, "columns": [], "offset": at * (len(table) + -len(table) % 64), "bytes": len(table)}
        log = {"offset": at * 2, "bytes": 2, "truncated": False}
        said.append({"number": item.number, "reason": Reason.OK.value, "result": window, "log": log, "milliseconds": 1.0})
    padded = table + bytes(-len(table) % 64)
    return Made(outputs={"result": padded * len(said), "log": b"a\n" * len(said)}, report={"items": said})


def test_a_batch_of_frames_is_waited_for_and_its_results_come_one_by_one(client: Any, worked: list[Job]) -> None:
    batch = client.batch(double, [pd.DataFrame({"a": [n]}) for n in range(3)], labels={"team": "blue"}, times=3)
    record = batch.wait(20)
    assert record["labels"] == {"team": "blue"}
    assert {state: count for state, count in batch.counts().items() if count} == {"succeeded": 2, "failed": 1}
    assert worked[0].parameters == {"times": 3}
    results = list(batch.results())
    assert [number for number, _ in results] == [0, 2]
    assert list(results[0][1].columns) == ["feature", "importance"]
    assert batch.item(1)["reason"] == "script_error"
    assert batch.log(1) == "before it broke\n"
    assert [item["number"] for item in batch.items(state="failed")] == [1]


def test_isolation_batch_sends_the_same_and_gives_the_same(client: Any, worked: list[Job]) -> None:
    batch = client.batch(double, [pd.DataFrame({"a": [n]}) for n in range(3)], isolation="batch")
    assert [list(frame["n"]) for _, frame in batch.results(20)] == [[1, 2]] * 3
    assert [job.kind for job in worked] == [Kind.CHUNK]
    assert batch.log(2) == "a\n"
    assert batch.record["isolation"] == Isolation.BATCH


def test_items_may_be_paths_stored_tables_and_dicts(client: Any, worked: list[Job], tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("a\n1\n")
    batch = client.batch(double, [tmp_path / "one.csv", {"dataset1": pd.DataFrame({"a": [2]}), "name": "two", "parameters": {"times": 5}}])
    batch.wait(20)
    assert [item["name"] for item in batch.items()] == ["one.csv", "two"]
    assert [job.parameters for job in worked] == [{}, {"times": 5}]
    stored = client.upload(pd.DataFrame({"a": [1]}))
    again = client.batch(double, [stored, {"dataset1": stored, "dataset2": stored}, {"parameters": {"times": 1}}], df2=stored)
    again.wait(20)
    assert worked[-1].inputs.keys() == {"script", "dataset2"}


def test_what_cannot_be_sent_is_refused_with_its_item(client: Any) -> None:
    frame = pd.DataFrame({"a": [1]})
    for items, said in (
        ([], "items is empty"),
        ([frame, 5], "item 1 is a int"),
        ([{"data": frame}], "item 0 has 'data'"),
        ([{"dataset1": frame, "parameters": {"tmies": 1}}], "item 0: double takes no parameter called 'tmies'"),
        ([frame, {"parameters": {}}], "all of one kind"),
        ([{"dataset2": frame}], "store it first with upload()"),
    ):
        with pytest.raises(NotSendable, match=said.replace("(", r"\(").replace(")", r"\)")):
            client.batch(double, items)


def test_a_batch_is_cancelled_found_again_and_forgotten(client: Any, fumehood: Listening) -> None:
    fumehood.stand.queue.awake = {Lane.ERRANDS}
    batch = client.batch(double, [pd.DataFrame({"a": [1]})] * 2)
    with pytest.raises(WaitedTooLong):
        batch.wait(0.2)
    with pytest.raises(InTheWay):
        batch.delete()
    assert client.find_batch(batch.id).counts()["queued"] == 2
    batch.cancel()
    assert batch.record["counts"]["cancelled"] == 2
    with pytest.raises(InTheWay):
        batch.cancel()
    batch.delete()
    with pytest.raises(NotThere):
        client.find_batch(batch.id)


def test_a_batch_is_followed_item_by_item(client: Any, worked: list[Job]) -> None:
    batch = client.batch(double, [pd.DataFrame({"a": [n]}) for n in range(3)])
    told = {item["number"]: item["state"] for item in batch.follow(30)}
    assert told == {0: "succeeded", 1: "failed", 2: "succeeded"}
    assert batch.record["finished_at"] is not None
    again = [item["number"] for item in batch.follow(30)]
    assert again == [0, 1, 2], "one that has ended is told as well, each item once"


def test_who_follows_is_told_when_the_time_is_over(client: Any, fumehood: Listening) -> None:
    fumehood.stand.queue.awake = {Lane.ERRANDS}
    batch = client.batch(double, [pd.DataFrame({"a": [1]})])
    with pytest.raises(WaitedTooLong):
        list(batch.follow(1.0))


def test_a_change_of_the_counts_is_told_to_who_waits(client: Any, worked: list[Job]) -> None:
    batch = client.batch(double, [pd.DataFrame({"a": [n]}) for n in range(3)])
    changes: list[dict[str, Any]] = []
    record = batch.wait(30, on_change=changes.append)
    assert changes[-1] == record
    assert record["counts"]["succeeded"] == 2
