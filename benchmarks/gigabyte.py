"""A table of a gigabyte through a job, against the same script over the same file without a sandbox."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
import numpy
import pyarrow
import pyarrow.ipc

from benchmarks import baselines, jobs
from benchmarks.plan import Plan
from benchmarks.results import Row, spread
from benchmarks.stand import Stand, own_memory_bytes, service

GB, GIB, MIB = 10**9, 2**30, 2**20
COLUMNS, BATCHES = 8, 16
ROUNDS = 7
LOOK_SECONDS = 0.05
RUN_SECONDS = 300
SCRIPT = "def azureml_main(frame, _=None):\n    frame['c0'] = frame.sum(axis=1)\n    return frame,\n"


def gigabyte(plan: Plan) -> Iterator[Row]:
    """A stored table of 1 GB through a script that reads and writes all of it; and what the service's memory does meanwhile."""
    size = GB // 64 if plan.quick else GB
    limits = {"memory_bytes": 6 * GIB, "wall_seconds": RUN_SECONDS}
    ours, local, grown = list[jobs.Done](), list[float](), dict[str, int]()
    with baselines.workplace(SCRIPT, b"") as place, service(plan.image, warm_min=1) as stand, stand.client() as client:
        table = write_table(place / "table.arrow", size)
        dataset = store(client, table)
        for number in range(1 + plan.count(ROUNDS)):
            stand.wait_warm(1)
            with memory_watched(stand, grown):
                done = jobs.run(client, SCRIPT, dataset1=dataset, limits=limits)
            client.delete(f"/v1/jobs/{done.record['id']}").raise_for_status()
            seconds = baselines.run_inside(plan.image, place)
            if number:  # The first round finds cold caches.
                ours.append(done)
                local.append(seconds)
    took = [done.seconds for done in ours]
    rooms = {name: round(median(done.milliseconds.get(name, 0.0) for done in ours)) for name in ours[0].milliseconds}
    yield Row(
        name=f"a table of {size / GB:g} GB in and out",
        ours=f"{spread(took)} (p50 / p90 / p99)",
        baseline=f"local Python: {spread(local)}",
        value=median(took) / median(local),
        target=1.15,
        at_most=True,
        details={"milliseconds": rooms},
    )
    yield growth("growth of API and worker while it runs", grown)


def growth(name: str, grown: dict[str, int]) -> Row:
    return Row(
        name=name,
        ours=", ".join(f"{process} {value / MIB:.0f} MiB" for process, value in grown.items()),
        baseline="before",
        value=max(grown.values()) / MIB,
        target=50.0,
        at_most=True,
        unit="MiB",
    )


def write_table(path: Path, size: int) -> Path:
    """An Arrow file of `size` bytes of float64, written piece by piece."""
    numbers, rows = numpy.random.default_rng(20), size // (COLUMNS * BATCHES * 8)
    schema = pyarrow.schema([(f"c{number}", pyarrow.float64()) for number in range(COLUMNS)])
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, schema) as writer:
        for _ in range(BATCHES):
            writer.write_batch(pyarrow.record_batch([numbers.random(rows) for _ in range(COLUMNS)], schema=schema))
    return path


def store(client: httpx.Client, path: Path) -> str:
    """The id of the file as a dataset."""
    with path.open("rb") as body:
        answer = client.post("/v1/datasets", params={"name": path.name}, content=body, headers={"Content-Type": jobs.ARROW})
    return str(answer.raise_for_status().json()["id"])


@contextmanager
def memory_watched(stand: Stand, grown: dict[str, int]) -> Iterator[None]:
    """Keep in `grown` the most that each process of the service has grown by in such a block."""
    pids = {name: process.pid for name, process in stand.processes.items() if name != "redis"}
    before, over = {name: own_memory_bytes(pid) for name, pid in pids.items()}, threading.Event()

    def watch() -> None:
        while True:
            for name, pid in pids.items():
                grown[name] = max(grown.get(name, 0), own_memory_bytes(pid) - before[name])
            if over.wait(LOOK_SECONDS):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
