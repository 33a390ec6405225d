"""Verdict: what a run ended as, from facts first and the runner's word last. A pure table, read from the top.

Docker says «exit 0, OOMKilled» when only a child died of memory, and 137 for every kill, so no single fact is a verdict. The
report can say less than the facts allow, never more: it is believed only where the container lived until we killed it.

Once the runner was ready and has its go line, only a script can bring it down or make its report contradict itself: that is
the script's crash. Were it the service's fault, a script could have itself run again, and raise an alert, as often as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fumehood.outcome import Blame, Outcome, Reason
from worker.collect import Report
from worker.sandbox import Exit, Stop

KILLED = 137  # 128 + SIGKILL
SIGKILL = 9
# The supervisor's own code for «stdin ended: the worker is gone», and for its absolute deadline.
LEFT_ALONE = 3
# And of one whose script was open and ended before its call came.
BROKEN_OFF = 4


@dataclass(frozen=True, slots=True)
class Row:
    """`when` holds → `reason`, with `message`. An empty message, or a reason of None, stands for the report's own."""

    name: str
    when: Callable[[Exit, Report], bool]
    reason: Reason | None
    message: str = ""


TABLE: tuple[Row, ...] = (
    # We ended it ourselves.
    Row("cancelled", lambda exit, report: exit.stopped is Stop.CANCELLED, Reason.CANCELLED, "The job was cancelled while it ran."),
    Row("lease lost", lambda exit, report: exit.stopped is Stop.LEASE_LOST, Reason.LOST, "The worker lost the job while it ran."),
    Row("shut down", lambda exit, report: exit.stopped is Stop.SHUTDOWN, Reason.LOST, "The worker was shut down while the job ran."),
    # The service's own faults.
    Row("engine", lambda exit, report: exit.engine_error is not None, Reason.SANDBOX_ERROR, "The container engine failed meanwhile."),
    Row("not ready", lambda exit, report: not exit.ready, Reason.SANDBOX_ERROR, "The sandbox did not start."),
    Row(
        "flooded",
        lambda exit, report: exit.stopped is Stop.FLOODED,
        Reason.CRASHED,
        "The sandbox's supervisor broke its own rules while the script ran.",
    ),
    Row(
        "overdue",
        lambda exit, report: exit.stopped is Stop.DEADLINE,
        Reason.TIMED_OUT,
        "The script ran longer than its time limit and was killed.",
    ),
    # It ended without a word: the supervisor itself is gone.
    Row(
        "supervisor out of memory",
        lambda exit, report: not exit.done and exit.oom_killed,
        Reason.OUT_OF_MEMORY,
        "The script needed more memory than its limit.",
    ),
    Row(
        "killed from outside",
        lambda exit, report: not exit.done and exit.exit_code == KILLED and not exit.mortal,
        Reason.SANDBOX_ERROR,
        "The sandbox was killed from outside while the job ran.",
    ),
    Row(
        "left alone",
        lambda exit, report: not exit.done and exit.exit_code == LEFT_ALONE,
        Reason.SANDBOX_ERROR,
        "The sandbox lost touch with its worker.",
    ),
    Row(
        "broken off",
        lambda exit, report: not exit.done and exit.exit_code == BROKEN_OFF,
        Reason.CRASHED,
        "The script ended its process before it was called.",
    ),
    Row(
        "killed from inside",
        lambda exit, report: not exit.done and exit.exit_code == KILLED,
        Reason.CRASHED,
        "The sandbox was killed: by its script, or because it needed more memory than its limit.",
    ),
    Row("no word", lambda exit, report: not exit.done, Reason.CRASHED, "The sandbox's supervisor ended while the script ran."),
    Row("no report", lambda exit, report: report.reason is None, Reason.CRASHED, "The script left no report that agrees with its outputs."),
    # The report's word, where the facts allow it.
    Row(
        "outputs past their caps",
        lambda exit, report: report.reason is Reason.OK and bool(report.too_large),
        Reason.OUTPUT_TOO_LARGE,
        "An output is larger than its limit.",
    ),
    Row(
        "killed for memory",
        lambda exit, report: report.reason is Reason.CRASHED and report.signal == SIGKILL and exit.oom_killed,
        Reason.OUT_OF_MEMORY,
        "The script needed more memory than its limit and was killed.",
    ),
    Row(
        "good word, bad end",
        lambda exit, report: report.reason is Reason.OK and (bool(report.exit_code) or report.signal is not None),
        Reason.CRASHED,
        "The script's process did not end well.",
    ),
    Row(
        "good in spite of a kill",
        lambda exit, report: report.reason is Reason.OK and exit.oom_killed,
        Reason.OK,
        "Some process of the script was killed because the memory limit was reached; the result may lack its part.",
    ),
    Row("as reported", lambda exit, report: True, None),
)


def judge(exit: Exit, report: Report) -> Outcome:
    """Reason, message and report of the outcome; usage and outputs are filled in by who publishes.

    What the runner wrote about a run that was the service's fault is left out: it may be half of something.
    """
    row = next(row for row in TABLE if row.when(exit, report))
    reason = row.reason or report.reason
    assert reason is not None  # «no report» stands above «as reported».
    same = reason is report.reason
    return Outcome(
        reason=reason,
        message=row.message or report.message,
        error=report.error if same and reason is not Reason.OK else None,
        report=report.for_display() if reason.blame is not Blame.SERVICE else {},
    )
