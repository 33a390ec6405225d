"""A table of a gigabyte goes in and comes out, and neither API nor worker grows: nothing holds it, nothing copies it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest

from tests.e2e.stand import Stand, ended, submit
from tests.services import missing

GIB, MIB = 2**30, 2**20
COLUMNS, BATCHES = 8, 16
ROWS_PER_BATCH = GIB // (COLUMNS * BATCHES * 8)
GROWTH_BYTES_MAX = 50 * MIB
SAMPLE_SECONDS = 0.05
# The original, its canonical form, the result and the download, a gigabyte each; and what the service sets aside for
# the worst case of the run, five files of its `output_bytes`, above the floor.
FREE_BYTES = 12 * GIB
ARROW = "application/vnd.apache.arrow.file"
IDENTITY = "def azureml_main(frame):\n    return frame\n"
SERVICES = ("api", "worker")


class Memory:
    """Resident memory of each service's processes, summed, sampled from /proc until the block ends; the peaks remain."""

    def __init__(self, stand: Stand) -> None:
        self._pids = {service: stand.processes(service) for service in SERVICES}
        assert all(self._pids.values())
        self.first = self._look()
        self.peak = dict(self.first)
        self.samples = 0

    def growth(self) -> dict[str, int]:
        return {service: self.peak[service] - self.first[service] for service in SERVICES}

    @contextmanager
    def watched(self) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLE_SECONDS):
                now = self._look()
                self.peak = {service: max(now[service], self.peak[service]) for service in SERVICES}
                self.samples += 1

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self) -> dict[str, int]:
        return {service: sum(map(resident_bytes, pids)) for service, pids in self._pids.items()}


def resident_bytes(pid: int) -> int:
    """0 for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Path]:
    """An Arrow file of 1 GiB, written batch by batch."""
    path = tmp_path / "table.arrow"
    numbers = np.random.default_rng(20)
    schema = pa.schema([(f"c{n}", pa.float64()) for n in range(COLUMNS)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for _ in range(BATCHES):
            writer.write_batch(pa.record_batch([numbers.random(ROWS_PER_BATCH) for _ in range(COLUMNS)], schema=schema))
    assert path.stat().st_size >= GIB
    yield path
    shutil.rmtree(tmp_path)  # Kept by pytest otherwise, for some sessions.


@pytest.mark.timeout(600)
def test_a_gigabyte_goes_in_and_out_and_the_service_does_not_grow(stand: Stand, client: httpx.Client, table: Path) -> None:
    free = shutil.disk_usage(stand.home).free
    if free < FREE_BYTES:
        missing(f"{free / GIB:.0f} GiB are free in {stand.home}; this test needs {FREE_BYTES / GIB:.0f}")
    # Once the small way, so that what is loaded late is loaded before the first look.
    submit(client, IDENTITY, "a\n1\n", wait_seconds=60)
    small = client.post("/v1/datasets", content=b"a\n1\n", headers={"Content-Type": "text/csv"}).raise_for_status().json()["id"]
    client.delete(f"/v1/datasets/{small}").raise_for_status()

    memory, download = Memory(stand), table.with_name("result.arrow")
    with memory.watched():
        with table.open("rb") as body:
            stored = client.post("/v1/datasets", params={"name": "table.arrow"}, content=body, headers={"Content-Type": ARROW})
        assert stored.status_code == 201, stored.text
        dataset = stored.json()
        limits = {"memory_bytes": 6 * GIB, "output_bytes": GIB + GIB // 4, "wall_seconds": 240}
        posted = client.post("/v1/jobs", json={"script": IDENTITY, "dataset1": dataset["id"], "limits": limits})
        assert posted.status_code == 202, posted.text
        record = ended(client, posted.json()["id"], seconds=300)
        assert (record["state"], record["reason"]) == ("succeeded", "ok"), record
        with client.stream("GET", f"/v1/jobs/{record['id']}/result", headers={"Accept": ARROW}) as answer, download.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_bytes(MIB):
                file.write(chunk)

    assert memory.samples > 50
    assert {service: f"{grown / MIB:.0f} MiB" for service, grown in memory.growth().items() if grown > GROWTH_BYTES_MAX} == {}
    assert dataset["rows"] == record["result"]["rows"] == ROWS_PER_BATCH * BATCHES
    with pa.memory_map(str(table)) as sent, pa.memory_map(str(download)) as received:
        assert pa.ipc.open_file(received).read_all().equals(pa.ipc.open_file(sent).read_all())
    client.delete(f"/v1/jobs/{record['id']}").raise_for_status()
    client.delete(f"/v1/datasets/{dataset['id']}").raise_for_status()
