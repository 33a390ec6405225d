"""`fumehood doctor --attack` at a desk whose worker makes the endings up, and what counts as broken."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cli import attack as siege
from cli import config, walls_view
from cli.attack import AFTER_LIMIT_SECONDS, LABEL, LOG_SLACK_BYTES, TOLD_BYTES, judge
from cli.corpus import Attack, attacks
from fumehood.job import Job, Kind, Lane
from fumehood.limits import CEILING, Limits
from fumehood.outcome import Erasure, Reason
from fumehood.receipt import SigningKey, document
from fumehood.testing import erasure
from tests.services import until
from tests.unit.cli_desk import Listening, fumehood, script
from tests.unit.front_desk import Made, Stand
from worker.collect import LOG_SLACK_BYTES as SLACK_OF_THE_WORKER

__all__ = ["fumehood", "script"]

SPIN = attacks()["spin"]
NONE = {"container": None, "container_id": None, "began_at": None}
NOWHERE = ("--home", "/nowhere")
RECEIPT = {"job": "job_1", "attempt": 1, "container": "fumehood-x", "container_id": "c0" * 32, "files": 7, "bytes": 1, "key": None}
HELD: dict[str, Any] = {
    "id": "job_1",
    "state": "failed",
    "reason": "timed_out",
    "attempt": 1,
    "usage": {"wall_seconds": 2.1},
    "outputs": {"log": 10},
    "erasure": RECEIPT,
}
BREACHES: dict[str, tuple[dict[str, Any], str]] = {
    "another reason": ({"reason": "ok", "state": "succeeded"}, "ends as timed_out"),
    "too long": ({"usage": {"wall_seconds": SPIN.limits.wall_seconds + AFTER_LIMIT_SECONDS}}, "less than 6 s"),
    "a large log": ({"outputs": {"log": SPIN.limits.log_bytes + LOG_SLACK_BYTES + 1}}, "bytes of its log are stored"),
    "large files": ({"outputs": {"files": SPIN.limits.disk_bytes + 1}}, "bytes of its files are stored"),
    "another start": ({"attempt": 2, "erasure": RECEIPT | {"attempt": 2}}, "started once"),
    "a receipt of another job": ({"erasure": RECEIPT | {"job": "job_2"}}, "of this attempt"),
    "no receipt": ({"erasure": None}, "a receipt"),
    "a receipt of nothing": ({"erasure": {"container": None}}, "a receipt"),
    "no end": ({"state": "running"}, "it ends within"),
}


def breaches(record: dict[str, Any], downloaded: dict[str, int] | None = None, left: tuple[str, ...] = ()) -> list[str]:
    return [breach.expected for breach in judge(SPIN, HELD | record, downloaded or {}, left, runtime="runc")]


def test_an_attack_that_ends_as_it_must_broke_nothing() -> None:
    assert breaches({}, {"log": TOLD_BYTES * 10, "result": SPIN.limits.output_bytes}) == []


@pytest.mark.parametrize("name", BREACHES)
def test_each_difference_from_what_is_promised_is_a_breach(name: str) -> None:
    change, expected = BREACHES[name]
    (said,) = breaches(change)
    assert expected in said


def test_bytes_that_come_and_things_that_stay_are_breaches() -> None:
    assert "downloaded" in breaches({}, {"result": SPIN.limits.output_bytes + 1})[0]
    assert "downloaded" in breaches({}, {"log": TOLD_BYTES * (SPIN.limits.log_bytes + LOG_SLACK_BYTES) + 1})[0]
    assert breaches({}, left=("the container fumehood-x",)) == ["what the receipt names is gone"]


def test_where_a_service_signs_every_receipt_must_be_signed() -> None:
    private = SigningKey("1" * 64)
    signed = document(private.sign(erasure(job="job_1", attempt=1, fence=1)))

    def found(receipt: dict[str, Any], keys: list[str]) -> list[str]:
        return [breach.found for breach in judge(SPIN, HELD | {"erasure": receipt}, {}, (), runtime="runc", keys=keys)]

    assert found(signed, [private.public]) == found(signed, []) == []
    assert "not what was signed" in found(signed | {"bytes": 2}, [private.public])[0]
    assert "not signed" in found(signed | {"signature": None}, [private.public])[0]


def test_what_a_log_may_be_longer_is_what_the_worker_says() -> None:
    assert LOG_SLACK_BYTES == SLACK_OF_THE_WORKER


def ends(
    fumehood: Listening, change: Callable[[str], Made | None] = lambda name: None, receipt: Callable[[Job], Erasure] | None = None
) -> None:
    """From now on attacks end as they must, but for what `change` and `receipt` say of the one of that name."""
    worker, usual = fumehood.stand.worker, fumehood.stand.worker._make
    reasons = {name: attack.reason for name, attack in attacks().items()}

    def make(job: Job, content: bytes) -> Made:
        if job.kind is not Kind.SCRIPT:
            return usual(job, content)
        name = job.labels[LABEL]
        reason = reasons.get(name, Reason.OK)
        return change(name) or Made(reason, outputs={"log": b"x"} | ({"result": b"ARROW1"} if reason is Reason.OK else {}))

    finish = worker.finish

    def finished(job: Job, made: Made | None = None, given: Erasure | None = None) -> Job:
        return finish(job, made, receipt(job) if receipt else given)

    worker.make, worker.finish = make, finished  # type: ignore[method-assign]
    fumehood.stand.queue.awake = {Lane.JOBS, Lane.ERRANDS}


def jobs(fumehood: Listening) -> list[str]:
    return [job["labels"][LABEL] for job in json.loads(fumehood("ps", "--json").stdout)]


def test_attacks_that_end_as_they_must_hold_every_promise_and_leave_no_job(fumehood: Listening) -> None:
    ends(fumehood)
    done = fumehood("doctor", "--attack", "--promise", 1, "--promise", 6, "--at-once", 3, *NOWHERE)
    assert done.exit_code == 0, done.output
    assert "Every promise that was tried held." in done.stdout
    assert "there is no home /nowhere" in done.stdout
    assert jobs(fumehood) == []


def test_one_that_ends_otherwise_is_broken_with_what_was_promised_and_found_and_its_job_is_kept(fumehood: Listening) -> None:
    error = {"type": "AssertionError", "message": "192.0.2.1 port 443 was reached"}
    ends(fumehood, lambda name: Made(Reason.SCRIPT_ERROR, "it failed", error, {"log": b""}) if name == "reach_out" else None)
    done = fumehood("doctor", "--attack", "--promise", "1", *NOWHERE)
    assert done.exit_code == 1
    assert "promised  it ends as ok" in done.stdout
    assert "found     script_error: AssertionError: 192.0.2.1 port 443 was reached" in done.stdout
    assert "BROKEN: promise 1." in done.stdout
    assert jobs(fumehood) == ["reach_out"]


def test_a_receipt_without_a_container_is_broken(fumehood: Listening) -> None:
    ends(fumehood, receipt=lambda job: erasure(job, **(NONE if job.labels[LABEL] == "exit_137" else {})))
    report = json.loads(fumehood("doctor", "--attack", "--promise", "3", "--json", *NOWHERE).stdout)
    assert [one["name"] for one in report["attacks"] if one["verdict"] == "broken"] == ["exit_137"]
    assert report["well"] is False


@pytest.mark.parametrize("name", ["harmless-before", "harmless-after"])
def test_a_harmless_job_that_is_not_served_is_a_failure(name: str, fumehood: Listening) -> None:
    ends(fumehood, lambda label: Made(Reason.SANDBOX_ERROR, "no engine") if label == name else None)
    done = fumehood("doctor", "--attack", "--promise", "2", *NOWHERE)
    assert done.exit_code == 1
    assert "sandbox_error: no engine" in done.stdout
    assert ("harmless job before it was not served" in done.stdout) == (name == "harmless-before")


def test_an_attack_that_takes_the_service_away_has_broken_something(fumehood: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.client.surface.BACKOFF_SECONDS", 0.0)
    ends(fumehood)

    def dies(self: object, record: object, attack: siege.Attack) -> dict[str, int]:
        if attack.name == "write_everywhere":
            raise siege.ClientError("the service cannot be reached")
        return {}

    monkeypatch.setattr(siege.Siege, "_downloaded", dies)
    done = fumehood("doctor", "--attack", "--promise", "2", *NOWHERE)
    assert done.exit_code == 1
    assert "found     the service cannot be reached" in done.stdout


def test_a_list_says_what_would_be_tried_and_runs_nothing(fumehood: Listening) -> None:
    shown = fumehood("doctor", "--list", "--promise", "2").stdout
    wanted = [[attack.name, "2", str(attack.reason)] for attack in attacks().values() if attack.promise == 2]
    assert [line.split()[:3] for line in shown.splitlines()[1:]] == wanted
    assert {one["name"] for one in json.loads(fumehood("doctor", "--list", "--json").stdout)} == attacks().keys()
    assert json.loads(fumehood("ps", "--json").stdout) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--attack", "--promise", "8"), "there is no promise 8"),
        (("--promise", "1"), "--promise says what --attack tries"),
        (("--attack", "--host"), "two looks"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options: tuple[str, ...], said: str, fumehood: Listening) -> None:
    done = fumehood("doctor", *options)
    assert done.exit_code == 2
    assert said in done.stderr


def test_an_attack_whose_limits_the_service_refuses_is_not_tried_and_the_report_says_why(
    open_stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = open_stand(ceiling=replace(CEILING, wall_seconds=10.0), limits=replace(Limits(), wall_seconds=10.0))
    low = Listening(stand, monkeypatch)
    try:
        ends(low)
        report = json.loads(low("doctor", "--attack", "--promise", "5", "--json", *NOWHERE).stdout)
    finally:
        low.close()
    tried = {one["name"]: one["why_not"] for one in report["attacks"]}
    assert tried["spin"] == ""
    assert tried["disk_bomb"] == "the service refuses it: limits.wall_seconds: wall_seconds is 20.0; expected a number from 0.1 to 10.0"
    assert report["well"] is True


def test_what_the_doctor_finds_is_a_document_too(fumehood: Listening) -> None:
    report = json.loads(fumehood("doctor", "--json").stdout)
    assert report["host"] is None
    assert {"configuration", "service", "key"} <= {one["what"] for one in report["findings"]}


def test_who_is_interrupted_leaves_no_job_that_runs_on(fumehood: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siege, "ASK_SECONDS", 0.2)
    first, second = attacks()["spin"], attacks()["fork_bomb"]
    queued = threading.Event()

    def interrupt(attack: Attack) -> None:
        if attack is second:
            until(lambda: bool(json.loads(fumehood("ps", "--json").stdout)), seconds=20, what="the other's job is queued")
            queued.set()
            raise KeyboardInterrupt

    with config.connect() as client, pytest.raises(KeyboardInterrupt):
        list(siege.Siege(client, siege.Afar(), at_once=2).run([first, second], interrupt))
    assert queued.is_set()
    assert [job["state"] for job in json.loads(fumehood("ps", "--json").stdout)] == ["cancelled"]


@pytest.mark.parametrize("running", [False, True])
def test_who_is_interrupted_before_the_first_attack_leaves_no_job_either(
    running: bool, fumehood: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siege, "ASK_SECONDS", 0.2)

    def interrupt(self: object, seconds: float) -> None:
        if running:
            assert fumehood.stand.worker.claim() is not None
        raise KeyboardInterrupt

    monkeypatch.setattr(siege.Siege, "_pause", interrupt)
    done = fumehood("doctor", "--attack", *NOWHERE)
    assert done.exit_code == 130
    left = [json.loads(fumehood("status", "--json", job["id"]).stdout) for job in json.loads(fumehood("ps", "--json").stdout)]
    assert [(job["state"], job["cancel_requested"]) for job in left] == ([("running", True)] if running else [])


def test_the_walls_are_shown_with_what_is_missing_the_grade_and_the_next_steps(capsys: pytest.CaptureFixture[str]) -> None:
    def wall(name: str, kind: str, active: bool | None) -> dict[str, Any]:
        return {"name": name, "kind": kind, "active": active, "found": f"found {name}", "adds": f"{name} adds", "advice": f"do {name}"}

    walls = [wall("filter", "indispensable", True), wall("second kernel", "kernel", False), wall("age", "depth", None)]
    steps = [{"wall": f"wall {n}", "advice": f"do {n}"} for n in range(5)]
    walls_view.show({"grade": "C", "rule": "there is neither", "steps": steps, "walls": walls})
    shown = capsys.readouterr().out
    assert "Grade C: there is neither." in shown
    assert "  3. wall 2: do 2\n  … and 2 more" in shown
    assert "second kernel adds" in shown
    assert "filter adds" not in shown
    assert "1 could not be told" in shown
