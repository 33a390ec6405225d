"""Calls that find their script open: what is laid into the sandbox that waits, what its call adds, and what becomes of the rest. A real
store and real files; the engine is the shipped fake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from fumehood.job import Input, Job, Kind, Lane, new_id
from fumehood.limits import Limits
from fumehood.script import Version, check_of
from tests.services import until
from tests.unit.workbench import Bench
from worker.prepared import PreparedSandboxes
from worker.reaper import Reaper
from worker.recipe import Recipe
from worker.registration import Registration
from worker.sandbox import Exit
from worker.scratch import Scratch, owners
from worker.testing import succeeds
from worker.warm_pool import WarmPool

SECONDS = 5.0
SCRIPT, BUNDLE = b"def azureml_main(frame, context): ...\n", b"PK.."


class Hosting:
    """A version that is ready, and a pool that prepares for its calls."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.prepared = PreparedSandboxes(bench.store, bench.blobs, worker=bench.worker, at_most=2)
        self.pool = WarmPool(
            {Lane.JOBS: Recipe(limits=Limits(), at_least=0, at_most=0)},
            host=bench.host,
            home=bench.home,
            worker=bench.worker,
            cpus=4,
            idle_seconds=60.0,
            may_fill=lambda: True,
            recipe_of=self.prepared.recipe_of,
            room=2,
        )
        self.version = self._publish()

    def _publish(self) -> Version:
        bench, version_id = self.bench, new_id("ver")
        given = {
            "script": replace(bench.put(f"scripts/{version_id}/script.py", SCRIPT), format="python", version=version_id),
            "bundle": replace(bench.put(f"scripts/{version_id}/bundle", BUNDLE), format="zip", version=version_id),
        }
        version = Version(id=version_id, tenant=bench.tenant, script="score", inputs=given)
        made, _ = bench.store.publish(version, check_of(version, new_id("job"), attempts_max=1, retention=None))
        bench.carry(self._claimed(made.job))
        return bench.store.get_version(bench.tenant, "score", made.number)

    def _claimed(self, job_id: str) -> Job:
        claimed = self.bench.store.claim(worker=self.bench.worker, lane=Lane.JOBS, disk_budget_bytes=2**60)
        assert claimed is not None
        assert claimed.id == job_id
        return claimed

    def called(self) -> Job:
        """A call that is claimed."""
        job_id = new_id("job")
        table = Input(blob=f"jobs/{job_id}/dataset1", format="csv", bytes=4)
        self.bench.put(table.blob, b"a\n1\n")
        files = {port: self.version.inputs[port] for port in ("script", "bundle")}
        job = Job(id=job_id, tenant=self.bench.tenant, kind=Kind.SCORE, inputs=files | {"dataset1": table}, limits=self.version.limits)
        return self._claimed(self.bench.store.submit(job).job.id)

    def call(self) -> Job:
        after = self.bench.carry(self.called(), pool=self.pool)
        assert after is not None
        return after

    def waiting(self, count: int) -> None:
        until(lambda: self.pool.prepared() == count, seconds=SECONDS, what=f"{count} wait prepared")

    def rows(self) -> list[str]:
        return [row.sandbox for row in self.bench.store.prepared_of(self.bench.worker)]


@pytest.fixture
def hosting(bench: Bench) -> Iterator[Hosting]:
    hosting = Hosting(bench)
    hosting.pool.start()
    yield hosting
    assert hosting.pool.close()
    assert hosting.rows() == []
    assert bench.host.containers == {}
    assert list(owners(bench.home)) == []


def start_of(job: Job) -> str | None:
    return job.outcome.start if job.outcome else None


def test_the_second_call_finds_its_script_open(hosting: Hosting) -> None:
    assert start_of(hosting.call()) == "cold"
    hosting.waiting(1)
    (name,) = hosting.rows()
    (waiting,) = [sandbox for sandbox in hosting.bench.host.made if sandbox.name == name]
    inside = waiting.scratch.inside
    assert {path.name: path.read_bytes() for path in inside.iterdir() if path.name != "prepare.json"} == {
        "script.py": SCRIPT, "bundle.zip": BUNDLE,
    }  # fmt: skip
    request = json.loads((inside / "prepare.json").read_text())
    assert request == {"version": 1, "inputs": {"bundle": {"format": "zip"}}, "limits": hosting.version.limits.as_dict()}
    assert waiting.prepared
    second = hosting.call()
    assert (start_of(second), second.sandbox) == ("prepared", name)
    assert second.erasure is not None
    assert second.erasure.container == name
    assert second.outcome is not None
    assert second.outcome.start_reason is None
    assert second.outcome.usage.bytes_in == len(SCRIPT) + len(BUNDLE) + 4
    assert not inside.exists()
    assert name not in hosting.rows()


def test_a_call_adds_its_table_and_its_request_to_what_lies_there(hosting: Hosting) -> None:
    seen: list[dict[str, bytes]] = []

    def look(scratch: Scratch, *rest: object) -> Exit:
        seen.append({path.name: path.read_bytes() for path in scratch.inside.iterdir()})
        return succeeds(scratch, *rest)  # type: ignore[arg-type]

    hosting.bench.host.behaviour = look
    hosting.call()
    hosting.waiting(1)
    hosting.call()
    cold, prepared = seen
    assert prepared.pop("prepare.json")
    assert prepared == cold
    assert json.loads(cold["request.json"])["kind"] == "score"


def test_of_a_version_that_is_deleted_nothing_waits(hosting: Hosting) -> None:
    hosting.call()
    hosting.waiting(1)
    hosting.bench.store.delete_script(hosting.bench.tenant, "score")
    assert hosting.rows(), "it is not gone yet, and nobody says so"
    hosting.prepared.look_after(hosting.pool)
    until(lambda: not hosting.rows(), seconds=SECONDS, what="it is gone")
    assert hosting.bench.host.containers == {}


def test_a_script_that_cannot_be_opened_leaves_no_row(hosting: Hosting) -> None:
    hosting.bench.host.faults["open_script"] = RuntimeError("no")
    with capture_logs():
        hosting.call()
        until(lambda: "open_script" in hosting.bench.host.visits and not hosting.rows(), seconds=SECONDS, what="it was tried and is gone")
    assert hosting.pool.prepared() == 0
    assert start_of(hosting.call()) == "cold", "the call itself goes on without"


def test_the_row_of_one_that_its_job_took_away_is_forgotten(hosting: Hosting) -> None:
    """A job that could not name it has destroyed it all the same."""
    hosting.bench.store.keep_prepared(tenant=hosting.bench.tenant, version=hosting.version.id, worker=hosting.bench.worker, sandbox="gone")
    hosting.call()
    hosting.waiting(1)
    assert "gone" in hosting.rows()
    hosting.prepared.look_after(hosting.pool)
    (left,) = hosting.rows()
    assert left in hosting.pool.names()


def test_only_calls_have_sandboxes_of_their_own(hosting: Hosting) -> None:
    call = hosting.called()
    assert hosting.prepared.recipe_of(call) is not None
    assert hosting.prepared.recipe_of(replace(call, kind=Kind.SCRIPT)) is None
    hosting.bench.carry(call, pool=hosting.pool)


def test_those_of_a_dead_worker_are_buried_with_their_rows(bench: Bench) -> None:
    registration = Registration(bench.home, pulse_seconds=60.0)
    dead = Registration(bench.home, pulse_seconds=60.0)
    dead.leave()
    (bench.home / "workers" / f"{dead.worker}.lock").touch()
    version_id = new_id("ver")
    script = replace(bench.put(f"scripts/{version_id}/script.py", SCRIPT), version=version_id)
    version = Version(id=version_id, tenant=bench.tenant, script="score", inputs={"script": script})
    made, _ = bench.store.publish(version, check_of(version, new_id("job"), attempts_max=1, retention=None))
    scratch = Scratch.create(bench.home, worker=dead.worker)
    bench.host.prepare(scratch, Limits())
    bench.host.containers[bench.host.name_of(scratch)] = dead.worker
    assert bench.store.keep_prepared(tenant=bench.tenant, version=made.id, worker=dead.worker, sandbox=bench.host.name_of(scratch))
    with capture_logs():
        Reaper(bench.deps, registration, interval_seconds=1.0).bury_dead_workers()
    assert bench.store.prepared_of(dead.worker) == []
    assert bench.host.containers == {}
    scratch._close()
    registration.leave()
