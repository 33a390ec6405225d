"""Claims beside sandboxes that wait with a script open: a job that fits the disk without them is not kept waiting by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fumehood.job import Lane
from fumehood.job_store import JobStore
from fumehood.testing import job
from tests.services import until
from tests.unit.test_prepared_pool import SECONDS, WORKER, Recipes, call, waiting
from tests.unit.test_prepared_pool import job as called
from worker.claims import Claims
from worker.recipe import Recipe
from worker.testing import FakeSandboxHost
from worker.warm_pool import WarmPool

ONE = called().reserved_bytes


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WarmPool]:
    """Two sandboxes wait with a script open."""
    recipes, host = Recipes(), FakeSandboxHost(worker=WORKER)
    pool = WarmPool(
        {lane: Recipe(limits=called().limits, at_least=0, at_most=0) for lane in Lane},
        host=host,
        home=tmp_path,
        worker=WORKER,
        cpus=4,
        idle_seconds=60,
        may_fill=lambda: True,
        recipe_of=recipes.of,
        room=2,
        has_room=lambda size: True,
    )
    pool.start()
    for key in ("a", "b"):
        call(pool, key=key)
    waiting(pool, 2)
    yield pool
    assert pool.close()


def test_they_give_way_to_a_job_that_does_not_fit_beside_them(store: JobStore, pool: WarmPool) -> None:
    submitted = store.submit(job(limits=called().limits)).job
    claimed = Claims(store, pool, worker=WORKER).claim(Lane.JOBS, 2 * ONE)
    assert claimed is not None
    assert claimed.id == submitted.id
    assert (pool.prepared(), pool.reserved_bytes()) == (0, 0)


def test_they_stay_where_it_fits_and_where_nothing_is_queued(store: JobStore, pool: WarmPool) -> None:
    claims = Claims(store, pool, worker=WORKER)
    assert claims.claim(Lane.JOBS, 2 * ONE) is None
    store.submit(job(limits=called().limits))
    assert claims.claim(Lane.JOBS, 3 * ONE) is not None
    until(lambda: pool.prepared() == 2, seconds=SECONDS, what="both wait on")


def test_a_job_that_does_not_fit_without_them_either_waits(store: JobStore, pool: WarmPool) -> None:
    store.submit(job(limits=called().limits))
    assert Claims(store, pool, worker=WORKER).claim(Lane.JOBS, ONE - 1) is None
