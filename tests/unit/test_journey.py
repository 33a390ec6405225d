"""The rooms, each with everything that can go wrong in it. A real store and real files; the engine is the shipped fake."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fumehood.errors import LeaseLost, NotFound, SandboxError, StoreUnavailable
from fumehood.job import Job, Kind, Lane, State
from fumehood.limits import Limits
from fumehood.outcome import Erasure, Outcome, Reason
from fumehood.receipt import document, verify
from fumehood.testing import erasure
from tests.contract.loading import runner
from tests.unit.workbench import KEY, SCRIPT, Bench, fail_first_rmdir, in_thread
from worker.expected import expected_of
from worker.journey import write_request
from worker.sandbox import Exit, Stop, StopSignal
from worker.scratch import Removed, Scratch
from worker.testing import blocks, exited, fails, report, succeeds, write


def nothing_is_left(bench: Bench) -> bool:
    return not bench.host.containers and not bench.scratch()


# the ordinary ways ------------------------------------------------------------------------------------------------------


def test_a_script_that_returns_is_published_and_erased(bench: Bench) -> None:
    job = bench.claim()
    after = bench.carry(job)
    assert after == bench.row(job)
    assert after.state is State.SUCCEEDED
    assert after.outcome is not None
    assert after.outcome.reason is Reason.OK
    assert after.outcome.outputs == {"result": 12, "log": 6}
    assert bench.published(job) == {"1/result": b"ARROW1 table", "1/log": b"hello\n"}
    assert after.erasure is not None
    assert after.erasure.container == after.sandbox
    assert (after.erasure.files, after.erasure.bytes) >= (7, 18)
    (made,) = bench.host.made
    assert (after.erasure.container_id, after.erasure.began_at) == (made.container.id, made.container.began_at)
    assert (after.erasure.job, after.erasure.attempt, after.erasure.fence) == (after.id, after.attempt, after.fence)
    assert after.erasure.worker == after.worker
    verify(document(after.erasure), [KEY.public])
    assert nothing_is_left(bench)
    assert bench.doubts == []


def test_usage_comes_from_the_engine_and_every_room_is_timed(bench: Bench) -> None:
    after = bench.carry(bench.claim())
    assert after is not None
    assert after.outcome is not None
    usage = after.outcome.usage
    assert (usage.wall_seconds, usage.cpu_seconds, usage.memory_peak_bytes) == (0.25, 0.125, 70_000_000)
    assert (usage.bytes_in, usage.bytes_out) == (len(SCRIPT), 18)
    rooms = {"stage", "run", "collect", "publish", "erase"}
    assert rooms | {"run.create", "run.start", "run.ready", "run.go", "run.import", "run.script"} == set(after.outcome.milliseconds)
    assert after.outcome.image == bench.host.image


def test_the_runners_peak_stands_in_where_the_engine_knows_none(bench: Bench) -> None:
    bench.host.behaviour = lambda *run: (succeeds(*run), exited(memory_peak_bytes=0))[1]
    after = bench.carry(bench.claim())
    assert after is not None
    assert after.outcome is not None
    assert after.outcome.usage.memory_peak_bytes == 60_000_000


def test_a_failed_script_keeps_log_and_files_but_no_result(bench: Bench) -> None:
    bench.host.behaviour = fails
    job = bench.claim()
    after = bench.carry(job)
    assert after is not None
    assert after.state is State.FAILED
    assert after.outcome is not None
    assert after.outcome.reason is Reason.SCRIPT_ERROR
    assert bench.published(job) == {"1/files": b"kept", "1/log": b"oh\n"}
    assert nothing_is_left(bench)


def test_a_log_is_published_although_it_is_empty(bench: Bench) -> None:
    def silent(scratch: Scratch, *_: object) -> Exit:
        write(scratch, "report.json", report(result=None))
        return exited()

    bench.host.behaviour = silent
    job = bench.claim()
    after = bench.carry(job)
    assert after is not None
    assert after.outcome is not None
    assert after.outcome.outputs == {"log": 0}
    assert bench.published(job) == {"1/log": b""}


def test_the_sandbox_sees_the_inputs_and_one_request(bench: Bench) -> None:
    seen: dict[str, bytes] = {}

    def look(scratch: Scratch, *rest: object) -> Exit:
        seen.update({path.name: path.read_bytes() for path in scratch.inside.iterdir()})
        assert {path.stat().st_mode & 0o777 for path in scratch.inside.iterdir()} == {0o444}
        return succeeds(scratch, *rest)  # type: ignore[arg-type]

    bench.host.behaviour = look
    queued = bench.submit(parameters={"threshold": 0.5, "name": "é\ud800"}, limits=Limits(wall_seconds=7))
    bench.carry(bench.claim(queued))
    request = json.loads(seen.pop("request.json"))
    assert seen == {"script.py": SCRIPT}
    assert request == {
        "version": 1,
        "kind": "script",
        "inputs": {},
        "parameters": {"threshold": 0.5, "name": "é\ud800"},
        "limits": Limits(wall_seconds=7).as_dict(),
    }


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_job_is_asked_for_in_a_word_that_the_runner_knows(kind: Kind, tmp_path: Path) -> None:
    write_request(tmp_path / "request.json", Job(id="job_1", tenant="ten_1", kind=kind))
    asked = json.loads((tmp_path / "request.json").read_text())["kind"]
    assert asked == kind.value
    assert asked in {*runner("kinds").KINDS, "chunk"}


def test_the_columns_that_a_table_must_have_and_the_format_of_an_answer_reach_the_sandbox(bench: Bench) -> None:
    requests: list[dict[str, object]] = []

    def look(scratch: Scratch, *rest: object) -> Exit:
        requests.append(json.loads((scratch.inside / "request.json").read_text()))
        return succeeds(scratch, *rest)  # type: ignore[arg-type]

    bench.host.behaviour = look
    columns = [{"name": "é", "type": "timestamp[ns, tz=UTC]", "nullable": True}]
    version, other = bench.publish(columns), bench.publish()
    tables = {"dataset1": replace(bench.put("table", b"[]"), format="json"), "dataset2": bench.put("two", b"a")}
    bench.carry(bench.claim(bench.submit()))
    bench.carry(bench.claim(bench.submit(inputs={**version.called, **tables}, target_format="csv")))
    bench.carry(bench.claim(bench.submit(inputs={**version.called})))
    bench.carry(bench.claim(bench.submit(inputs={**other.called, **tables})))
    told = [request.keys() & {"schema", "answer", "target_format"} for request in requests]
    assert told == [set(), {"schema", "answer"}, set(), set()], "a run without a table, or of a version without a sample, expects nothing"
    assert (requests[1]["schema"], requests[1]["answer"]) == ({"dataset1": columns}, "csv")


def test_a_check_holds_its_sample_against_nothing(bench: Bench) -> None:
    """It is what others are held against."""
    version = bench.publish([{"name": "a", "type": "int64", "nullable": True}])
    check = Job(id="job_1", tenant=bench.tenant, kind=Kind.CHECK, inputs={**version.called, "dataset1": bench.put("table", b"a")})
    assert expected_of(check, bench.store) == {}
    assert expected_of(replace(check, kind=Kind.SCORE), bench.store) != {}


@pytest.mark.parametrize("kind", [Kind.DESCRIBE, Kind.CONVERT])
def test_errands_go_through_the_same_rooms(bench: Bench, kind: Kind) -> None:
    requests: list[dict[str, object]] = []

    def look(scratch: Scratch, *rest: object) -> Exit:
        requests.append(json.loads((scratch.inside / "request.json").read_text()))
        return succeeds(scratch, *rest)  # type: ignore[arg-type]

    bench.host.behaviour = look
    job = bench.claim(bench.submit(kind=kind, target_format="csv" if kind is Kind.CONVERT else None))
    after = bench.carry(job)
    assert after is not None
    assert after.state is State.SUCCEEDED
    assert requests[0]["kind"] == str(kind)
    assert requests[0]["inputs"] == {"dataset1": {"format": "csv"}}
    assert requests[0].get("target_format") == ("csv" if kind is Kind.CONVERT else None)


def test_those_who_follow_hear_of_attempt_state_log_and_end(bench: Bench) -> None:
    job = bench.claim()
    bench.carry(job)
    assert bench.told(job) == [
        ("attempt", {"attempt": 1}),
        ("state", {"state": "running", "reason": None}),
        ("log", {"attempt": 1, "offset": 0, "text": "hello\n"}),
        ("state", {"state": "succeeded", "reason": "ok"}),
        ("end", {"state": "succeeded", "reason": "ok"}),
    ]


def test_the_row_names_the_sandbox_before_there_is_one(bench: Bench) -> None:
    job = bench.claim()
    named: list[tuple[str | None, str | None]] = []
    bench.host.on_prepare = lambda name: named.append((bench.row(job).sandbox, name))
    bench.carry(job)
    assert len(named) == 1
    assert named[0][0] == named[0][1]


# the service's own faults, room by room -----------------------------------------------------------------------------------


def refuse_to_create(*_: object, **__: object) -> Scratch:
    raise SandboxError("the attempt's directory could not be made: No space left on device")


def stage_cannot_make_a_directory(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scratch, "create", refuse_to_create)


def stage_misses_an_input(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bench.blobs, "link_into", raises(NotFound("the blob is not there")))


def stage_has_no_store(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bench.store, "name_sandbox", raises(StoreUnavailable("the database does not answer")))


def run_cannot_create(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.host.faults["prepare"] = SandboxError("the container engine could not create the sandbox")


def run_breaks_off(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.host.faults["run"] = SandboxError("the container engine could not start the sandbox")


def run_is_killed_from_outside(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.host.behaviour = lambda *_: exited(exit_code=137, done=False)


def run_never_gets_ready(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.host.behaviour = lambda *_: exited(exit_code=1, ready=False, done=False)


def collect_breaks(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("worker.journey.collect", raises(SandboxError("output log has mode 0; expected a regular file")))


def publish_finds_the_disk_full(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    """The second output fails; the first is in the store already."""
    publish_all = bench.blobs.publish_all

    def all_but_the_log(tenant: str, finished: dict[str, tuple[int, Path]]) -> dict[str, int]:
        sizes = publish_all(tenant, {key: file for key, file in finished.items() if not key.endswith("/log")})
        if len(sizes) < len(finished):
            raise StoreUnavailable("the blob store does not answer (EIO)")
        return sizes

    patch.setattr(bench.blobs, "publish_all", all_but_the_log)


def something_of_ours_is_wrong(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("worker.journey.judge", raises(ZeroDivisionError("a bug")))


def raises(error: Exception) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


FAULTS = [
    stage_cannot_make_a_directory,
    stage_misses_an_input,
    stage_has_no_store,
    run_cannot_create,
    run_breaks_off,
    run_is_killed_from_outside,
    run_never_gets_ready,
    collect_breaks,
    publish_finds_the_disk_full,
    something_of_ours_is_wrong,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_the_service_is_erased_and_handed_back(
    bench: Bench, fault: Callable[[Bench, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.claim()
    fault(bench, monkeypatch)
    after = bench.carry(job)
    assert after is not None
    assert (after.state, after.attempt, after.fence) == (State.QUEUED, 1, 2)
    assert bench.published(job) == {}
    assert nothing_is_left(bench)
    assert bench.queue.depth(Lane.JOBS) == 1
    assert ("end", {"state": "queued", "reason": None}) not in bench.told(job)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_job_whose_attempts_are_used_up_ends_as_the_services_fault(
    bench: Bench, fault: Callable[[Bench, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.claim(bench.submit(attempts_max=1))
    fault(bench, monkeypatch)
    after = bench.carry(job)
    assert after is not None
    assert after.state is State.FAILED
    assert after.outcome is not None
    assert after.outcome.reason is Reason.SANDBOX_ERROR
    assert after.outcome.outputs == {}
    assert after.erasure is not None
    assert bench.published(job) == {}
    assert nothing_is_left(bench)
    assert bench.queue.depth(Lane.JOBS) == 0
    assert bench.told(job)[-1] == ("end", {"state": "failed", "reason": "sandbox_error"})


def fills_the_disk(scratch: Scratch, *_: object) -> Exit:
    write(scratch, "files.bin", b"half")
    write(scratch, "report.json", report(reason="disk_full", message="No space left on device", result=None))
    return exited()


@pytest.mark.parametrize(
    ("free_bytes", "floor_bytes", "reason"),
    [
        (2**50, 2**30, Reason.DISK_FULL),  # the script's own tmpfs
        (2**30 - 1, 2**30, Reason.SANDBOX_ERROR),  # the host's
        (4 * 2**30, 2**30, Reason.SANDBOX_ERROR),  # less than the 5 GiB that the attempt was promised
        (5 * 2**30, 2**30, Reason.DISK_FULL),
    ],
)
def test_a_full_disk_is_the_tenants_fault_only_while_the_host_has_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, free_bytes: int, floor_bytes: int, reason: Reason
) -> None:
    assert Limits().reserved_bytes == 5 * 2**30
    monkeypatch.setattr(bench.blobs, "free_bytes", lambda: free_bytes)
    bench.host.behaviour = fills_the_disk
    job = bench.claim(bench.submit(attempts_max=1))
    after = bench.carry(job, floor_bytes=floor_bytes)
    assert after is not None
    assert after.outcome is not None
    assert after.outcome.reason is reason
    assert bool(bench.doubts) is (reason is Reason.SANDBOX_ERROR)
    assert bool(bench.published(job)) is (reason is Reason.DISK_FULL)
    assert nothing_is_left(bench)


def test_what_an_attempt_wrote_itself_is_no_excuse(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It used up a part of its own promise, so less is free."""
    monkeypatch.setattr(bench.blobs, "free_bytes", lambda: 5 * 2**30 - 4)
    bench.host.behaviour = fills_the_disk
    after = bench.carry(bench.claim())
    assert after is not None
    assert after.outcome is not None
    assert after.outcome.reason is Reason.DISK_FULL


def test_a_job_that_met_a_full_host_runs_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.claim()
    monkeypatch.setattr(bench.blobs, "free_bytes", lambda: 0)
    bench.host.behaviour = fills_the_disk
    after = bench.carry(job)
    assert after is not None
    assert (after.state, after.attempt) == (State.QUEUED, 1)
    monkeypatch.undo()
    bench.host.behaviour = succeeds
    again = bench.carry(bench.claim(after))
    assert again is not None
    assert again.state is State.SUCCEEDED


@pytest.mark.parametrize("reason", ["ok", "script_error"])
@pytest.mark.parametrize("listed", [True, False])
def test_files_are_published_only_where_the_report_lists_some(reason: str, listed: bool, bench: Bench) -> None:
    """What a script wrote there past its runner is nobody's output, and would take up disk for the job's life."""
    files = [{"role": "artifact", "name": "a", "media_type": "text/plain", "offset": 0, "bytes": 4}] if listed else []

    def behaviour(scratch: Scratch, *_: object) -> Exit:
        write(scratch, "files.bin", b"kept")
        write(scratch, "report.json", report(reason=reason, result=None, files=files))
        return exited()

    bench.host.behaviour = behaviour
    after = bench.carry(bench.claim())
    assert after is not None
    assert after.outcome is not None
    assert ("files" in after.outcome.outputs) is listed
    assert b"kept" not in bench.published(after).values() or listed


def test_an_engine_that_fails_is_doubted_and_a_script_that_dies_strangely_is_not(bench: Bench) -> None:
    """A doubt stops all claims for a moment; no tenant may bring one about."""
    bench.host.behaviour = lambda *_: exited(exit_code=0, done=False)
    after = bench.carry(bench.claim())
    assert bench.doubts == []
    assert after is not None
    assert after.state is State.FAILED, "and it is not run again"
    bench.host.behaviour = lambda *_: exited(exit_code=None, done=False, engine_error="the engine went away")
    bench.carry(bench.claim())
    assert len(bench.doubts) == 1


def test_a_container_whose_creation_only_seemed_to_fail_is_removed(bench: Bench) -> None:
    def create_and_fail(name: str) -> None:
        bench.host.containers[name] = bench.worker
        raise SandboxError("the container engine could not create the sandbox")

    bench.host.on_prepare = create_and_fail
    after = bench.carry(bench.claim())
    assert after is not None
    assert after.state is State.QUEUED
    assert after.erasure is not None
    assert after.erasure.container is not None
    assert nothing_is_left(bench)


# final implies erased -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [succeeds, fails])
def test_a_job_that_cannot_be_erased_stays_running(bench: Bench, behaviour: Callable[..., Exit]) -> None:
    bench.host.behaviour = behaviour
    bench.host.faults["destroy"] = SandboxError("the sandbox is still there")
    job = bench.claim()
    assert bench.carry(job) is None
    row = bench.row(job)
    assert (row.state, row.fence, row.erasure) == (State.RUNNING, job.fence, None)
    assert bench.clock.seconds >= 1005  # it was tried for as long as the engine may take
    assert bench.doubts
    assert [kind for kind, _ in bench.told(job)][-1] == "log"


def test_an_erasure_that_works_at_the_second_try_is_enough(bench: Bench) -> None:
    bench.host.faults["destroy"] = SandboxError("the engine restarts")

    def engine_comes_back(seconds: float) -> None:
        bench.host.faults.clear()

    after = bench.carry(bench.claim(), pause=engine_comes_back)
    assert after is not None
    assert after.state is State.SUCCEEDED
    assert nothing_is_left(bench)


def test_the_receipt_counts_what_every_try_removed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = bench.carry(bench.claim())
    fail_first_rmdir(monkeypatch)
    after = bench.carry(bench.claim())
    told = [(row.erasure.files, row.erasure.bytes) for row in (at_once, after) if row and row.erasure]
    assert len(told) == 2
    assert told[0] == told[1]
    assert nothing_is_left(bench)


def test_a_container_that_went_at_the_first_try_is_named_by_the_second(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its creation failed, and it was there all the same; then the files would not go."""
    erase, tries = Scratch.erase, []

    def at_the_second_try(scratch: Scratch) -> Removed:
        tries.append(scratch)
        if len(tries) == 1:
            raise SandboxError("the attempt's directory could not be removed")
        return erase(scratch)

    def made_all_the_same(name: str) -> None:
        bench.host.containers[name] = bench.worker
        raise SandboxError("the engine's answer was lost")

    monkeypatch.setattr(Scratch, "erase", at_the_second_try)
    bench.host.on_prepare = made_all_the_same
    job = bench.claim()
    after = bench.carry(job)
    assert after is not None
    assert len(tries) == 2
    assert after.erasure is not None
    assert after.erasure.container_id == bench.host.known(str(after.erasure.container)).id
    assert nothing_is_left(bench)


# leases, cancels, shutdown ------------------------------------------------------------------------------------------------


def test_a_running_job_is_stopped_when_its_cancel_is_asked_for(bench: Bench) -> None:
    bench.host.behaviour = blocks
    job = bench.claim()
    cancel = in_thread(lambda: bench.store.request_cancel(job.tenant, job.id))
    after = bench.carry(job)
    cancel.join(5)
    assert after is not None
    assert (after.state, after.attempt) == (State.CANCELLED, 1)
    assert set(bench.published(job)) == {"1/log"}
    assert nothing_is_left(bench)


def test_a_cancel_while_the_script_just_ends_is_kept(bench: Bench) -> None:
    stop = StopSignal()

    def ends_meanwhile(*run: object) -> Exit:
        exit = succeeds(*run)  # type: ignore[arg-type]
        stop.set(Stop.CANCELLED)
        return exit

    bench.host.behaviour = ends_meanwhile
    job = bench.claim()
    after = bench.carry(job, stop=stop)
    assert after is not None
    assert after.state is State.CANCELLED
    assert set(bench.published(job)) == {"1/log"}


def test_an_attempt_that_lost_its_lease_publishes_nothing_and_says_nothing(bench: Bench) -> None:
    bench.host.behaviour = blocks
    job = bench.claim()
    taken = in_thread(lambda: bench.store.give_back(job, erasure(job), Outcome(reason=Reason.LOST)))
    assert bench.carry(job) is None
    taken.join(5)
    assert bench.row(job).state is State.QUEUED
    assert bench.published(job) == {}
    assert nothing_is_left(bench)
    assert "end" not in [kind for kind, _ in bench.told(job)]


def test_a_stale_finish_takes_its_outputs_away(bench: Bench) -> None:
    def taken_over_in_the_last_moment(*run: object) -> Exit:
        exit = succeeds(*run)  # type: ignore[arg-type]
        bench.store.give_back(job, erasure(job), Outcome(reason=Reason.LOST))
        return exit

    bench.host.behaviour = taken_over_in_the_last_moment
    job = bench.claim()
    assert bench.carry(job, beat_seconds=60.0) is None
    assert bench.published(job) == {}
    assert bench.row(job).state is State.QUEUED
    assert nothing_is_left(bench)


def test_a_finish_whose_answer_was_lost_is_not_taken_for_a_stale_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = bench.store.finish
    answers: list[str] = []

    def lose_the_first_answer(job: Job, outcome: Outcome, erasure: Erasure) -> Job:
        after = finish(job, outcome, erasure)
        if not answers:
            answers.append("lost")
            raise StoreUnavailable("the connection broke")
        return after

    monkeypatch.setattr(bench.store, "finish", lose_the_first_answer)
    job = bench.claim()
    after = bench.carry(job, beat_seconds=60.0)
    assert after is not None
    assert after.state is State.SUCCEEDED
    assert set(bench.published(job)) == {"1/result", "1/log"}


def test_an_outcome_that_the_store_does_not_take_is_left_with_its_outputs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the step was taken is not known; deleting the outputs of a finished job would be the worse mistake."""
    monkeypatch.setattr(bench.store, "finish", raises(StoreUnavailable("the database does not answer")))
    job = bench.claim()
    assert bench.carry(job) is None
    assert set(bench.published(job)) == {"1/result", "1/log"}
    assert nothing_is_left(bench)


def test_a_shutdown_hands_the_job_back_without_counting_the_attempt(bench: Bench) -> None:
    stop = StopSignal()

    def is_shut_down(*run: object) -> Exit:
        stop.set(Stop.SHUTDOWN)
        return blocks(*run)  # type: ignore[arg-type]

    bench.host.behaviour = is_shut_down
    job = bench.claim(bench.submit(attempts_max=1))
    after = bench.carry(job, stop=stop)
    assert after is not None
    assert (after.state, after.attempt) == (State.QUEUED, 0)
    assert bench.published(job) == {}
    assert bench.queue.depth(Lane.JOBS) == 1
    assert nothing_is_left(bench)


@pytest.mark.parametrize(
    ("reason", "state"), [(Stop.CANCELLED, State.CANCELLED), (Stop.SHUTDOWN, State.QUEUED), (Stop.LEASE_LOST, State.QUEUED)]
)
def test_a_job_that_is_stopped_before_it_runs_gets_no_container(bench: Bench, reason: Stop, state: State) -> None:
    stop = StopSignal()
    stop.set(reason)
    after = bench.carry(bench.claim(), stop=stop)
    assert after is not None
    assert after.state is state
    assert "prepare" not in bench.host.visits
    assert after.erasure is not None
    assert after.erasure.container is None
    assert nothing_is_left(bench)


def test_a_lost_lease_at_naming_makes_no_container(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.store, "name_sandbox", raises(LeaseLost("not ours")))
    bench.carry(bench.claim())
    assert "prepare" not in bench.host.visits
    assert bench.doubts == []
    assert nothing_is_left(bench)
