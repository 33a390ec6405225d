"""The verdict's table, row by row, and what no report can do."""

from __future__ import annotations

from typing import Any

import pytest

from fumehood.outcome import Blame, Outcome, Reason
from worker import verdict
from worker.collect import Report
from worker.sandbox import Exit, Stop
from worker.shapes import REASONS

ENDED: dict[str, Any] = {
    "exit_code": 0,
    "oom_killed": False,
    "stopped": None,
    "ready": True,
    "done": True,
    "wall_seconds": 1.0,
    "cpu_seconds": 1.0,
    "memory_peak_bytes": 1,
}
NO_REPORT = Report(reason=None, problem="the report is empty")


def judged(report: Report | None = None, **facts: Any) -> Outcome:
    return verdict.judge(Exit(**(ENDED | facts)), report or Report(reason=Reason.OK))


# row → (report, facts, the reason it gives). Every row of the table has its line.
ROWS: dict[str, tuple[Report, dict[str, Any], Reason]] = {
    "cancelled": (Report(reason=Reason.OK), {"stopped": Stop.CANCELLED}, Reason.CANCELLED),
    "lease lost": (Report(reason=Reason.OK), {"stopped": Stop.LEASE_LOST}, Reason.LOST),
    "shut down": (Report(reason=Reason.OK), {"stopped": Stop.SHUTDOWN}, Reason.LOST),
    "engine": (Report(reason=Reason.OK), {"engine_error": "gone"}, Reason.SANDBOX_ERROR),
    "not ready": (NO_REPORT, {"ready": False, "done": False, "exit_code": 1}, Reason.SANDBOX_ERROR),
    "flooded": (Report(reason=Reason.OK), {"stopped": Stop.FLOODED}, Reason.CRASHED),
    "overdue": (NO_REPORT, {"stopped": Stop.DEADLINE, "done": False, "exit_code": 137}, Reason.TIMED_OUT),
    "supervisor out of memory": (NO_REPORT, {"done": False, "exit_code": 137, "oom_killed": True}, Reason.OUT_OF_MEMORY),
    "killed from outside": (NO_REPORT, {"done": False, "exit_code": 137}, Reason.SANDBOX_ERROR),
    "left alone": (NO_REPORT, {"done": False, "exit_code": 3}, Reason.SANDBOX_ERROR),
    "broken off": (NO_REPORT, {"done": False, "exit_code": 4}, Reason.CRASHED),
    "killed from inside": (NO_REPORT, {"done": False, "exit_code": 137, "mortal": True}, Reason.CRASHED),
    "no word": (NO_REPORT, {"done": False, "exit_code": 139}, Reason.CRASHED),
    "no report": (NO_REPORT, {}, Reason.CRASHED),
    "outputs past their caps": (Report(reason=Reason.OK, too_large=("log",)), {}, Reason.OUTPUT_TOO_LARGE),
    "killed for memory": (Report(reason=Reason.CRASHED, signal=9), {"oom_killed": True}, Reason.OUT_OF_MEMORY),
    "good word, bad end": (Report(reason=Reason.OK, signal=11), {}, Reason.CRASHED),
    "good in spite of a kill": (Report(reason=Reason.OK, exit_code=0), {"oom_killed": True}, Reason.OK),
    "as reported": (Report(reason=Reason.BAD_RETURN, message="No."), {}, Reason.BAD_RETURN),
}


def test_every_row_of_the_table_has_a_line_here() -> None:
    assert list(ROWS) == [row.name for row in verdict.TABLE]


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_the_first_that_holds(name: str) -> None:
    report, facts, reason = ROWS[name]
    exit = Exit(**(ENDED | facts))
    assert next(row.name for row in verdict.TABLE if row.when(exit, report)) == name
    outcome = verdict.judge(exit, report)
    assert outcome.reason is reason
    assert outcome.message == (report.message if name == "as reported" else outcome.message)


@pytest.mark.parametrize("reason", [reason for reason in REASONS.values() if reason is not Reason.SANDBOX_ERROR])
def test_what_the_facts_allow_is_taken_as_reported(reason: Reason) -> None:
    outcome = judged(Report(reason=reason, message="As it was."))
    assert (outcome.reason, outcome.message) == (reason, "As it was.")


def test_where_a_script_can_kill_its_supervisor_a_kill_is_its_own_doing() -> None:
    assert judged(NO_REPORT, done=False, exit_code=137, mortal=True).reason is Reason.CRASHED


@pytest.mark.parametrize("exit_code", [0, 1, 2, 4, 70, 134, 139])
def test_a_supervisor_that_a_script_brought_down_is_no_reason_to_run_it_again(exit_code: int) -> None:
    outcome = judged(NO_REPORT, done=False, exit_code=exit_code)
    assert outcome.reason is Reason.CRASHED
    assert outcome.message


def test_a_stream_that_broke_its_rules_before_the_go_line_is_the_services_fault() -> None:
    assert judged(NO_REPORT, stopped=Stop.FLOODED, ready=False, done=False).reason is Reason.SANDBOX_ERROR


GOOD = Report(reason=Reason.OK, exit_code=0, result={"rows": 1, "columns": []})


@pytest.mark.parametrize(
    "facts",
    [
        {"stopped": stop} for stop in Stop
    ] + [{"engine_error": "x"}, {"ready": False}, {"done": False}, {"done": False, "exit_code": 137}, {"done": False, "oom_killed": True}],
)  # fmt: skip
def test_no_report_makes_a_run_good_that_did_not_end_well(facts: dict[str, Any]) -> None:
    assert judged(GOOD, **facts).reason is not Reason.OK


def test_a_run_that_is_the_services_fault_says_nothing_of_what_the_runner_wrote() -> None:
    outcome = judged(GOOD, engine_error="gone")
    assert outcome.reason.blame is Blame.SERVICE
    assert (outcome.report, outcome.error) == ({}, None)


def test_an_overturned_report_does_not_lend_its_error() -> None:
    report = Report(reason=Reason.SCRIPT_ERROR, error={"type": "ValueError"})
    assert judged(report).error == {"type": "ValueError"}
    assert judged(report, stopped=Stop.CANCELLED).error is None


def test_a_child_killed_by_hand_without_an_oom_is_a_crash() -> None:
    assert judged(Report(reason=Reason.CRASHED, signal=9)).reason is Reason.CRASHED


def test_a_good_result_next_to_a_memory_kill_carries_a_warning() -> None:
    assert "memory" in judged(GOOD, oom_killed=True).message
    assert judged(GOOD).message == ""


def test_a_full_output_does_not_hide_why_the_script_failed() -> None:
    report = Report(reason=Reason.SCRIPT_ERROR, message="It raised.", too_large=("log",))
    assert judged(report).reason is Reason.SCRIPT_ERROR
