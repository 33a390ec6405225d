"""`fumehood events`, against a front desk that listens."""

from __future__ import annotations

import json
from pathlib import Path

from fumehood.job import Lane
from fumehood.outcome import Reason
from tests.unit.cli_desk import Listening, failed, fumehood, made, script

__all__ = ["fumehood", "script"]


def test_events_are_lines_of_json_and_can_be_gone_on_with(fumehood: Listening, script: Path) -> None:
    begun = [json.loads(line) for line in fumehood("events", "--seconds", "0", "--json").stdout.splitlines()]
    assert [(one["event"], one["data"]) for one in begun] == [("now", {"queued": 0, "running": 0})]
    fumehood.works(made)
    job = fumehood("run", script, "--quiet", "--json")
    assert job.exit_code == 0, job.output
    after = fumehood("events", "--seconds", "0", "--json", "--after", begun[0]["id"]).stdout
    told = [json.loads(line) for line in after.splitlines()]
    assert [(one["event"], one["data"]["state"]) for one in told] == [("job", "queued"), ("job", "running"), ("job", "succeeded")]


def test_events_are_shown_as_a_table_and_a_gap_is_said(fumehood: Listening, script: Path) -> None:
    begun = json.loads(fumehood("events", "--seconds", "0", "--json").stdout)["id"]
    fumehood.works(lambda: failed(Reason.OUT_OF_MEMORY))
    fumehood("run", script, "--quiet")
    (script.parent / "script.csv").write_text("a\n1\n")
    batch = fumehood("batch", "submit", script, script.parent / "script.csv", "--wait")
    assert batch.exit_code == 1, batch.output
    lines = fumehood("events", "--seconds", "0", "--after", begun).stdout.splitlines()
    assert lines[0].split() == ["TIME", "WHAT", "STATE"]
    assert lines[3].endswith("  failed (out_of_memory)")
    assert "item 0 of bat_" in lines[4]
    assert lines[-1].endswith("  1 failed")
    gap = fumehood("events", "--seconds", "0", "--after", "nonsense")
    assert "not kept any more" in gap.stderr
    assert "nothing waits or runs" in gap.stdout


def test_what_waits_is_counted_first(fumehood: Listening, script: Path) -> None:
    fumehood.stand.queue.awake = {Lane.ERRANDS}
    fumehood("submit", script)
    assert "1 queued" in fumehood("events", "--seconds", "0").stdout
