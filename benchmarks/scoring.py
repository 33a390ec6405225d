"""Calls of a published script: what a caller waits for, and how many are answered."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median

import httpx

from benchmarks import jobs
from benchmarks.plan import Plan
from benchmarks.results import Row, spread
from benchmarks.stand import Stand, service

CALLERS = 8
WARM = 2
LOADS = """
import time

def init():
    time.sleep(0.5)
    return 2.0

def azureml_main(frame, context):
    return frame.assign(z=frame.x * context),
"""
ROWS = [{"x": float(number)} for number in range(10)]
JSON = json.dumps(ROWS).encode()


def scoring(plan: Plan) -> Iterator[Row]:
    """A call of ten rows against a warm job of the same script, and one whose `init()` takes half a second; in turn."""
    spent: dict[str, list[float]] = {"job": [], "call": [], "job, init": [], "call, init": []}
    called: list[str] = []
    table = jobs.table(10, 1)
    with service(plan.image, warm_min=WARM) as stand, stand.client() as client:
        publish(client, "doubles", jobs.SCRIPT)
        publish(client, "loads", LOADS)
        for number in range(plan.count(60) + 3):
            turn = {
                "job": lambda: jobs.run(client, jobs.SCRIPT, table).seconds,
                "call": lambda: call(client, "doubles", called),
                "job, init": lambda: jobs.run(client, LOADS, table).seconds,
                "call, init": lambda: call(client, "loads", called),
            }
            for name, run in turn.items():
                rest(stand)
                seconds = run()
                if number >= 3:  # The first ones warm up connections and caches, and nothing is prepared for them.
                    spent[name].append(seconds)
        starts = Counter(client.get(f"/v1/jobs/{job}").raise_for_status().json()["start"] for job in called)
    yield Row(
        name="a call, 10 rows of JSON, against a warm job",
        ours=f"{spread(spent['call'])} (p50 / p90 / p99)",
        baseline=f"a job: {spread(spent['job'])}",
        value=median(spent["call"]) / median(spent["job"]),
        target=1.1,
        at_most=True,
        details={"starts": dict(starts)},
    )
    yield Row(
        name="the same, of a script whose `init()` takes 500 ms",
        ours=spread(spent["call, init"]),
        baseline=f"a job: {spread(spent['job, init'])}",
        value=median(spent["job, init"]) / median(spent["call, init"]),
        target=3.0,
    )


def calls(plan: Plan) -> Iterator[Row]:
    """120 calls by 8 callers against as many jobs of the same script by 8 submitters, in turn."""
    count, rounds = plan.count(120) // 3 or 1, 3
    ours = theirs = 0.0
    table = jobs.table(10, 1)
    with service(plan.image) as stand, stand.client() as client:
        publish(client, "doubles", jobs.SCRIPT)
        for _ in range(rounds):
            rest(stand)
            ours += jobs.many(CALLERS, count, lambda: call(client, "doubles", []))
            rest(stand)
            theirs += jobs.many(CALLERS, count, lambda: jobs.run(client, jobs.SCRIPT, table))
    total = rounds * count
    yield Row(
        name=f"calls/s, {CALLERS} callers, {total} calls",
        ours=f"{total / ours:.2f} calls/s",
        baseline=f"jobs: {total / theirs:.2f} jobs/s",
        value=theirs / ours,
        target=0.9,
    )


def publish(client: httpx.Client, name: str, script: str) -> None:
    """Raises RuntimeError where the version is not ready."""
    files = {
        "version": (None, json.dumps({"concurrency": 2 * CALLERS}), "application/json"),
        "script": ("script.py", script, "text/x-python"),
        "sample": ("sample.arrow", jobs.table(10, 1), jobs.ARROW),
    }
    record = client.put(f"/v1/scripts/{name}", files=files, headers={"Prefer": "wait=60"}).raise_for_status().json()
    if record["state"] != "ready":
        raise RuntimeError(f"the version is {record['state']}, {record['message']}; expected one that is ready")


def call(client: httpx.Client, name: str, called: list[str]) -> float:
    """Seconds; its job is added to `called`. Raises RuntimeError where the answer is not the table."""
    began = time.monotonic()
    answer = client.post(f"/v1/scripts/{name}/score", content=JSON, headers={"Content-Type": "application/json"})
    seconds = time.monotonic() - began
    if answer.status_code != 200 or len(answer.json()) != len(ROWS):
        raise RuntimeError(f"the call was answered with {answer.status_code}, {answer.text[:500]}; expected {len(ROWS)} rows")
    called.append(answer.headers["Fumehood-Job"])
    return seconds


def rest(stand: Stand) -> None:
    """Until whatever waits is ready: what is prepared beside a run is paid for by it."""
    stand.wait_warm(WARM if stand.sandboxes() else 1)
