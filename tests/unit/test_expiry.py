"""The worker's chore that takes away what is due: rows and blobs, fairly, in bounded steps, and whatever is interrupted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fumehood.batch import Batch
from fumehood.errors import NotFound, StoreUnavailable
from fumehood.expiry import Part
from fumehood.expiry_store import AGAIN_SECONDS
from fumehood.job import Input, Job, Kind, Lane, new_id
from fumehood.quota import DAY_SECONDS, Retention
from fumehood.tenant import new_key
from fumehood.testing import dataset, erasure, outcome
from tests.unit.stores import batch_of
from tests.unit.workbench import Bench
from worker.expiry import Expiry

DAYS = Retention(log_days=1, result_days=2, record_days=3, dataset_days=3)


class Now:
    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def after_days(self, days: float) -> None:
        self.seconds += days * DAY_SECONDS


@pytest.fixture
def now(bench: Bench) -> Now:
    now = Now()
    bench.store._clock = now
    return now


def chore(bench: Bench, **options: float) -> Expiry:
    return Expiry(replace(bench.deps, now=bench.store._clock), **options)  # type: ignore[arg-type]


def ended(bench: Bench, **overrides: object) -> Job:
    """With all that a job can leave."""
    claimed = bench.claim(bench.submit(**({"retention": DAYS} | overrides)))
    for name in ("log", "result", "result2", "files", "result.preview.json"):
        bench.put(claimed.output_blob(name), name.encode())
    return bench.store.finish(claimed, outcome(outputs={"log": 3, "result": 6, "result2": 7, "files": 5}), erasure(claimed))


def kept(bench: Bench) -> list[str]:
    blobs = bench.home / "blobs"
    return sorted(str(path.relative_to(blobs).as_posix()).split("/", 1)[1] for path in blobs.rglob("*") if path.is_file())


def stored(bench: Bench) -> str:
    name = new_id("ds")
    bench.put(f"datasets/{name}/original", b"a\n1\n")
    bench.store.add_dataset(dataset(id=name, tenant=bench.tenant, kept_seconds=3 * DAY_SECONDS))
    return name


def test_the_blobs_of_a_part_go_with_it(bench: Bench, now: Now) -> None:
    done = ended(bench)
    mine, attempt = f"jobs/{done.id}", f"jobs/{done.id}/{done.fence}"
    now.after_days(1)
    chore(bench).take_away()
    assert kept(bench) == [f"{attempt}/{name}" for name in ("files", "result", "result.preview.json", "result2")] + [f"{mine}/script"]
    now.after_days(1)
    chore(bench).take_away()
    assert kept(bench) == [f"{mine}/script"]  # with which it can be run again
    now.after_days(1)
    chore(bench).take_away()
    assert kept(bench) == []
    assert bench.store.expired_at(bench.tenant, done.id) == now()


def test_a_dataset_goes_with_its_blobs(bench: Bench, now: Now) -> None:
    name, pinned = stored(bench), stored(bench)
    bench.store.pin_dataset(bench.tenant, pinned, pinned=True)
    now.after_days(3)
    chore(bench).take_away()
    assert kept(bench) == [f"datasets/{pinned}/original"]
    assert bench.store.expired_at(bench.tenant, name) == now()
    assert list((bench.home / "unsettled").iterdir()) == []


def test_a_dataset_that_an_unfinished_job_needs_stays_with_its_blobs(bench: Bench, now: Now) -> None:
    name = stored(bench)
    blob = f"datasets/{name}/original"
    table = Input(blob=blob, format="csv", bytes=4, dataset=name)
    bench.submit(inputs={"script": Input(blob="b", format="py", bytes=1), "dataset1": table})
    now.after_days(30)
    chore(bench).take_away()
    assert blob in kept(bench)
    assert bench.store.get_dataset(bench.tenant, name).id == name


def whole(bench: Bench, items: int) -> Batch:
    batch, *asked = batch_of(items, tenant=bench.tenant, retention=DAYS)
    bench.put(f"{batch.blob_prefix}/script.py", b"def azureml_main(): ...\n")
    bench.store.submit_batch(batch, *asked)
    for _ in range(items):
        claimed = bench.store.claim(worker=bench.worker, lane=Lane.JOBS, disk_budget_bytes=2**60)
        assert claimed is not None
        bench.put(claimed.output_blob("log"), b"log")
        bench.store.finish(claimed, outcome(), erasure(claimed))
    return batch


def test_a_batch_goes_with_all_its_blobs_however_many_steps_it_takes(bench: Bench, now: Now) -> None:
    batch = whole(bench, 5)
    now.after_days(3)
    chore(bench, step_rows=2).take_away()
    assert kept(bench) == []
    assert bench.store.list_jobs(bench.tenant) == ([], None)
    assert bench.store.expired_at(bench.tenant, batch.id) == now()


@pytest.mark.parametrize("verb", ["end_expiry", "shrink_batch", "end_batch_expiry", "expire_dataset"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_is_killed_between_row_and_blobs_leaves_nothing(
    bench: Bench, now: Now, monkeypatch: pytest.MonkeyPatch, verb: str, when: str
) -> None:
    ended(bench)
    stored(bench)
    whole(bench, 2)
    now.after_days(3)
    real = getattr(bench.store, verb)

    def dies(*given: object, **named: object) -> None:
        if when == "after":
            real(*given, **named)
        raise StoreUnavailable("the worker is killed here")

    with monkeypatch.context() as broken:
        broken.setattr(bench.store, verb, dies)
        with pytest.raises(StoreUnavailable):
            chore(bench).take_away()
    now.seconds += AGAIN_SECONDS
    chore(bench).take_away()
    _settle(bench)
    assert kept(bench) == []
    for listing in (bench.store.list_jobs, bench.store.list_datasets, bench.store.list_batches):
        assert listing(bench.tenant) == ([], None)


def _settle(bench: Bench) -> None:
    """What another chore does with the notes of the dead."""
    bench.blobs.settle(lambda tenant, prefix: _exists(bench, tenant, prefix))


def _exists(bench: Bench, tenant: str, prefix: str) -> bool:
    try:
        bench.store.get_dataset(tenant, prefix.removeprefix("datasets/"))
    except NotFound:
        return False
    return True


def test_one_tenant_with_much_to_lose_does_not_hold_up_the_others(bench: Bench, now: Now) -> None:
    other = bench.store.ensure_tenant("other", new_key()).id
    for _ in range(9):
        ended(bench)
    theirs = bench.claim(bench.submit(retention=DAYS, tenant=other))
    bench.store.finish(theirs, outcome(), erasure(theirs))
    now.after_days(3)
    chore(bench, step_rows=3, round_seconds=0.0).take_away()  # one step
    chore(bench, step_rows=3, round_seconds=0.0).take_away()
    now.seconds += 1  # which of them is the first in a round changes
    chore(bench, step_rows=3, round_seconds=0.0).take_away()
    assert bench.store.expired_at(other, theirs.id) is not None
    assert len(bench.store.list_jobs(bench.tenant)[0]) >= 3


def test_a_round_ends_when_its_time_is_over(bench: Bench, now: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        ended(bench)
    now.after_days(3)
    real = bench.store.end_expiry

    def slow(dues: list[object]) -> None:
        bench.clock.pause(1.0)
        real(dues)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.store, "end_expiry", slow)
    chore(bench, step_rows=1, round_seconds=1.5).take_away()
    assert len(bench.store.list_jobs(bench.tenant)[0]) == 2


def test_two_workers_at_once_pass_over_each_others_rows(bench: Bench, now: Now) -> None:
    for _ in range(4):
        ended(bench)
    now.after_days(3)
    first = bench.store.begin_expiry(bench.tenant, limit=2)
    second = bench.store.begin_expiry(bench.tenant, limit=10)
    assert [len(first), len(second)] == [2, 2]
    assert not {due.job.id for due in first} & {due.job.id for due in second}
    assert all(Part.RECORD in due.parts for due in first + second)


def test_what_is_expired_is_forgotten_in_turn(bench: Bench, now: Now) -> None:
    done = ended(bench)
    now.after_days(3)
    chore(bench).take_away()
    now.after_days(91)
    chore(bench).take_away()
    assert bench.store.forget_tombstones() == 0
    assert bench.store.expired_at(bench.tenant, done.id) is None


def test_errands_are_left_to_their_askers(bench: Bench, now: Now) -> None:
    errand = bench.claim(bench.submit(kind=Kind.DESCRIBE, retention=DAYS))
    bench.store.finish(errand, outcome(), erasure(errand))
    now.after_days(30)
    chore(bench).take_away()
    assert bench.row(errand).state.final
