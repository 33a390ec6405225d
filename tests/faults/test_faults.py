"""Nothing is lost, nothing stays: whatever is killed, frozen, full, late, broken or gone, and whatever time it is said to be."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults import chaos
from tests.faults.bad_line import bad_line
from tests.faults.chaos import FAULTS, Fault, Undo
from tests.faults.engine import PrivateEngine
from tests.faults.load import SORTS
from tests.faults.service import Service, small_disk, standing
from tests.faults.storm import Reckoning, storm

# Far more than they take: a machine that is killed every few seconds is a slow one.
pytestmark = pytest.mark.timeout(900)
SEED = int(os.environ.get("FUMEHOOD_TEST_SEED", "0")) or random.randrange(1, 1_000_000)
FREE = (SORTS[0], SORTS[2])
"""Of what takes no time."""


def hold(found: Reckoning, *, jobs: int, faults: int = 1) -> None:
    said = f"seed {SEED}\n{found.text()}"
    assert not found.broken, said
    assert not found.left, said
    # Or it was no trial.
    assert found.reasons.total() == jobs, said
    assert found.faults.total() >= faults, said


def test_nothing_is_lost_doubled_or_left_in_a_storm(engine: PrivateEngine, image: str, tmp_path: Path) -> None:
    service = Service(tmp_path, engine, image)
    hold(storm(service, jobs=80, every_seconds=2.5, seed=SEED), jobs=80, faults=8)


def test_those_who_were_killed_a_moment_ago_are_not_counted_as_ready(engine: PrivateEngine, image: str, tmp_path: Path) -> None:
    """Else a service might be stopped, and looked at, before anybody has buried them."""
    service = Service(tmp_path, engine, image)
    with standing(service):
        workers = [part for name, part in service.parts.items() if name.startswith("worker")]
        for worker in workers:
            worker.kill()
        service.ready()
        assert all(worker.alive for worker in workers)


@pytest.mark.parametrize(
    ("faults", "every_seconds", "patience_seconds"),
    [
        ({chaos.kill_everything: 1}, 4.0, math.inf),
        ({chaos.freeze_a_worker: 1}, 2.0, 15.0),
        ({chaos.lose_messages: 1, chaos.double_messages: 1, chaos.forget_all_of_redis: 1}, 1.0, 15.0),
    ],
    ids=["all at once", "frozen workers that wake late", "messages lost and doubled"],
)
def test_of_one_kind_only(
    faults: Mapping[Fault, int], every_seconds: float, patience_seconds: float, engine: PrivateEngine, image: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, engine, image)
    hold(storm(service, jobs=40, every_seconds=every_seconds, seed=SEED, faults=faults, patience_seconds=patience_seconds), jobs=40)


def test_a_disk_that_is_full_now_and_then(engine: PrivateEngine, image: str, tmp_path: Path) -> None:
    """Who was told 202 is not lost with it; the others are told that it is not now, and try again."""
    with small_disk(160) as disk:
        service = Service(tmp_path, engine, image, home=disk / "home", disk_floor_bytes=4 * 1024 * 1024)

        def fill(service: Service, chance: random.Random) -> Undo:
            filler = disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(64 * 1024))
            return chance.uniform(1.0, 3.0), filler.unlink

        hold(storm(service, jobs=30, every_seconds=3.0, seed=SEED, faults={fill: 1}, sorts=FREE, callers=3), jobs=30)


def test_an_engine_that_answers_late_with_errors_or_not_at_all(engine: PrivateEngine, image: str, tmp_path: Path) -> None:
    with bad_line(tmp_path / "line.sock", engine.address, seed=SEED) as line:
        service = Service(tmp_path, engine, image, docker_host=line.address)

        def worsen(service: Service, chance: random.Random) -> Undo:
            line.faults = {"late": 0.1, "error": 0.1, "lost": 0.05}
            return chance.uniform(1.0, 3.0), line.faults.clear

        found = storm(service, jobs=40, every_seconds=3.0, seed=SEED, faults={worsen: 1})
        assert line.done.total() > 0, line.done
    hold(found, jobs=40)


def test_an_image_that_is_gone_for_a_while(engine: PrivateEngine, image: str, tmp_path: Path) -> None:
    other = engine.derive(image)
    service = Service(tmp_path, engine, other)

    def hide(service: Service, chance: random.Random) -> Undo:
        bring_back = engine.hide(other)
        return chance.uniform(1.0, 3.0), bring_back

    # The engine starts anew each time.
    found = storm(service, jobs=20, every_seconds=4.0, seed=SEED, faults={hide: 1}, sorts=FREE, callers=1, patience_seconds=math.inf)
    hold(found, jobs=20)


# What a process calls now; its monotonic clock is left alone, as the kernel leaves it when somebody sets the time.
OTHER_TIME = """
import os, runpy, time
from pathlib import Path

offset, now, now_ns = Path(os.environ["OFFSET_FILE"]), time.time, time.time_ns
time.time = lambda: now() + float(offset.read_text())
time.time_ns = lambda: now_ns() + int(float(offset.read_text()) * 1e9)
runpy.run_module("%s", run_name="__main__")
"""


def test_a_clock_that_jumps(engine: PrivateEngine, image: str, tmp_path: Path) -> None:
    """Hours forwards and backwards, for the API and the workers."""
    offset = tmp_path / "offset"

    def set_to(seconds: int) -> None:
        # In one step: who reads it at this moment reads the one or the other.
        beside = tmp_path / "offset.new"
        beside.write_text(str(seconds))
        beside.rename(offset)

    def jump(service: Service, chance: random.Random) -> Undo:
        # Less than a day, for which a request that was answered is remembered by its key.
        set_to(chance.choice([-7200, -60, 60, 7200]))
        # And back, at the latest before the reckoning, which looks by the clock on the wall whether the service is ready.
        return chance.uniform(1.0, 6.0), lambda: set_to(0)

    set_to(0)
    programs = {name: ("-c", OTHER_TIME % name) for name in ("api", "worker")}
    service = Service(tmp_path, engine, image, environment={"OFFSET_FILE": str(offset)}, **programs)
    found = storm(service, jobs=40, every_seconds=2.0, seed=SEED, faults={jump: 2, chaos.kill_a_worker: 1})
    hold(found, jobs=40, faults=3)


# The journey of a worker that says «erased» and erases a little later.
LATE_ERASER = """
import runpy, threading
import worker.journey
from worker.deps import receipt
from worker.scratch import Removed

erase_once = worker.journey._erase_once

def later(job, deps, bench):
    threading.Timer(0.3, erase_once, (job, deps, bench)).start()
    return receipt(job, deps, bench.opened.container if bench.opened else None, Removed())

worker.journey._erase_once = later
runpy.run_module("worker", run_name="__main__")
"""


def test_a_worker_that_erases_late_is_found(engine: PrivateEngine, image: str, tmp_path: Path) -> None:
    service = Service(tmp_path, engine, image, worker=("-c", LATE_ERASER))
    found = storm(service, jobs=6, every_seconds=600.0, seed=SEED, sorts=FREE)
    assert len([each for each in found.broken if "was removed" in each and "after it ended" in each]) == 6, found.text()


def test_every_fault_can_be_drawn() -> None:
    assert all(weight > 0 for weight in FAULTS.values())
