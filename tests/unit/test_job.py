"""Job: the state machine's shape, lanes, and where a job's blobs lie; and that a row gives the value back."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from fumehood.job import PORTS, TRANSITIONS, Kind, Lane, State, new_id
from fumehood.outcome import BLAME, Blame, Reason
from fumehood.testing import dataset, erasure, job, outcome


def test_every_state_has_its_transitions_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {successor for successors in TRANSITIONS.values() for successor in successors} == set(State)


def test_a_state_is_final_when_nothing_follows() -> None:
    assert {state for state in State if state.final} == {State.SUCCEEDED, State.FAILED, State.CANCELLED}


def test_the_docstring_of_the_states_is_the_list_of_the_states() -> None:
    assert State.__doc__ is not None
    # What goes on in the next line is indented further.
    begun = [line.split()[0] for line in State.__doc__.strip("\n").splitlines() if line.strip() and line[4:5] != " "]
    assert begun == [state.value for state in State]


def test_every_reason_has_its_blame() -> None:
    assert set(BLAME) == set(Reason)
    service = {reason for reason in Reason if reason.blame is Blame.SERVICE}
    assert service == {Reason.EXPIRED, Reason.SANDBOX_ERROR, Reason.LOST}
    assert {reason for reason in Reason if reason.blame is Blame.NOBODY} == {Reason.OK, Reason.CANCELLED}


def test_errands_have_a_lane_of_their_own() -> None:
    assert {kind: kind.lane for kind in Kind} == {
        Kind.SCRIPT: Lane.JOBS,
        Kind.CHUNK: Lane.JOBS,
        Kind.CHECK: Lane.JOBS,
        Kind.SCORE: Lane.JOBS,
        Kind.DESCRIBE: Lane.ERRANDS,
        Kind.CONVERT: Lane.ERRANDS,
        Kind.PROFILE: Lane.ERRANDS,
        Kind.JOIN: Lane.ERRANDS,
    }


def test_an_attempts_outputs_lie_apart_from_those_of_any_other() -> None:
    first = job(id="job_1", fence=1)
    assert first.output_blob("result") == "jobs/job_1/1/result"
    assert replace(first, fence=3).output_blob("result") == "jobs/job_1/3/result"
    assert first.output_blob("log").startswith(first.blob_prefix + "/")


def test_an_answers_first_table_is_of_the_format_that_was_asked_for() -> None:
    call = job(kind=Kind.SCORE, target_format="csv")
    assert [call.output_format(name) for name in ("result", "result2")] == ["csv", "arrow"]
    assert replace(call, target_format=None).output_format("result") == "arrow"


def test_ids_cannot_be_guessed() -> None:
    ids = {new_id("job") for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == len("job_") + 32 for each in ids)


@pytest.mark.parametrize("value", [job(), dataset(), outcome(), erasure(), job().limits])
def test_values_are_frozen(value: object) -> None:
    name = dataclasses.fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)


def test_the_builder_names_ports_that_exist() -> None:
    assert set(job().inputs) <= set(PORTS)
