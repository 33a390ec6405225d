"""Many jobs at once: jobs a second, and who used the processors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks import baselines, jobs
from benchmarks.plan import Plan
from benchmarks.results import Row
from benchmarks.stand import Stand, service

SUBMITTERS = 8
# As many wait as there are slots on two processors.
WARM = 2
ROUNDS = 3


def sustained(plan: Plan) -> Iterator[Row]:
    """120 jobs by 8 submitters, one container each, against as many `docker run`s with 8 in parallel; in turn."""
    table, count = jobs.table(100), plan.count(120) // ROUNDS or 1
    ours = theirs = busy = 0.0
    used: dict[str, float] = {}
    with baselines.workplace(jobs.SCRIPT, table) as place, service(plan.image) as stand, stand.client() as client:
        jobs.run(client, jobs.SCRIPT, table)
        for _ in range(ROUNDS):
            before, machine = stand.cpu_seconds(), _busy_seconds()
            ours += jobs.many(SUBMITTERS, count, lambda: jobs.run(client, jobs.SCRIPT, table))
            busy += _busy_seconds() - machine
            after = stand.cpu_seconds()
            used = {name: used.get(name, 0.0) + after[name] - before[name] for name in after}
            stand.wait_warm(1)
            theirs += jobs.many(SUBMITTERS, count, lambda: baselines.run_script(plan.image, place))
        memory = {name: size // 2**20 for name, size in stand.memory_bytes().items()}
    total = ROUNDS * count
    yield Row(
        name=f"sustained jobs/s, {SUBMITTERS} submitters, {total} jobs",
        ours=f"{total / ours:.2f} jobs/s, {busy / total:.2f} CPU s a job",
        baseline=f"`docker run`, {SUBMITTERS} in parallel: {total / theirs:.2f} jobs/s",
        value=theirs / ours,
        target=1.3,
    )
    yield Row(
        name="the service's own share of the CPU",
        ours=", ".join(f"{name} {1000 * seconds / total:.0f} ms a job" for name, seconds in used.items()),
        baseline="all of the machine",
        value=100 * sum(used.values()) / busy,
        target=5.0,
        at_most=True,
        unit="%",
        details={"memory_mib": memory},
    )


def batch(plan: Plan) -> Iterator[Row]:
    """1,000 small tables in one batch with `isolation: batch`, against `docker run` for each."""
    table, count, samples = jobs.table(100), plan.count(1000), plan.count(24)
    with ExitStack() as opened:
        place = opened.enter_context(baselines.workplace(jobs.SCRIPT, table))
        stand = opened.enter_context(service(plan.image, warm_min=WARM))
        client = opened.enter_context(stand.client())
        theirs = jobs.many(SUBMITTERS, samples, lambda: baselines.run_script(plan.image, place))
        stand.wait_warm(WARM)
        before = sum(stand.cpu_seconds().values())
        seconds = _batch(client, table, count)
        service_seconds = sum(stand.cpu_seconds().values()) - before
        theirs += jobs.many(SUBMITTERS, samples, lambda: baselines.run_script(plan.image, place))
    rate, baseline = count / seconds, 2 * samples / theirs
    yield Row(
        name=f"batch isolation, {count:,} small tables",
        ours=f"{rate:.0f} tables/s, {1000 * service_seconds / count:.1f} ms of the service's CPU each",
        baseline=f"`docker run`, {SUBMITTERS} in parallel: {baseline:.2f} tables/s",
        value=rate / baseline,
        target=50.0,
    )


def _batch(client: httpx.Client, table: bytes, count: int) -> float:
    """Seconds from the request to the end of the last item. Raises RuntimeError where an item does not succeed."""
    document = '{"isolation": "batch"}'
    files: list[tuple[str, tuple[str | None, bytes | str, str]]] = [
        ("batch", (None, document, "application/json")),
        ("script", ("script.py", jobs.SCRIPT, "text/x-python")),
    ]
    files += [("item", (f"{number}.arrow", table, jobs.ARROW)) for number in range(count)]
    began = time.monotonic()
    record: dict[str, Any] = client.post("/v1/batches", files=files).raise_for_status().json()
    while record["finished_at"] is None:
        record = client.get(f"/v1/batches/{record['id']}", params={"wait": 60}).raise_for_status().json()
    seconds = time.monotonic() - began
    if record["counts"].get("succeeded") != count:
        raise RuntimeError(f"the items ended as {record['counts']}; expected {count} that succeeded")
    return seconds


def workers(plan: Plan) -> Iterator[Row]:
    """One and two worker processes of one slot each, in turn."""
    count, spent = plan.count(40), {1: 0.0, 2: 0.0}
    for _ in range(1 if plan.quick else 2):
        for number in spent:
            with service(plan.image, workers=number, slots=1, warm_min=0, warm_max=0) as stand:
                spent[number] += _load(stand, count)
    yield Row(
        name="a second worker process",
        ours=f"{count / spent[2]:.2f} jobs/s with two",
        baseline=f"{count / spent[1]:.2f} jobs/s with one",
        value=spent[1] / spent[2] / 2,
        target=0.9,
        unit="of linear",
    )


def _load(stand: Stand, count: int) -> float:
    with stand.client() as client:
        return jobs.many(SUBMITTERS, count, lambda: jobs.run(client, jobs.PRINTS))


def _busy_seconds() -> float:
    """Of all processors since the machine began."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / 100
