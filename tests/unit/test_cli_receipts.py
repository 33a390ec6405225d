"""`fumehood receipt` and the client's receipts, against a front desk that listens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fumehood.client import Client
from fumehood.job import Job, Lane
from fumehood.job_store import JobStore
from fumehood.outcome import Outcome, Reason
from fumehood.receipt import SigningKey, verify
from fumehood.testing import erasure
from tests.unit.cli_desk import Listening, fumehood
from tests.unit.test_receipt import CHANGED

__all__ = ["fumehood"]

OLD, KEY = SigningKey("11" * 32), SigningKey("22" * 32)


def claim(store: JobStore) -> Job:
    claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert claimed is not None
    return claimed


@pytest.fixture
def job(fumehood: Listening) -> Job:
    """One that has ended, its receipt signed with KEY; the service had another key before."""
    stand = fumehood.stand
    stand.store.keep_receipt_key(OLD.id, OLD.public)
    stand.store.keep_receipt_key(KEY.id, KEY.public)
    stand.us.job()
    claimed = claim(stand.store)
    return stand.worker.finish(claimed, receipt=KEY.sign(erasure(claimed)))


def test_a_receipt_is_shown_kept_and_checked_by_its_job_or_its_file(fumehood: Listening, job: Job, tmp_path: Path) -> None:
    shown = fumehood("receipt", "show", job.id)
    assert shown.exit_code == 0, shown.output
    verify(json.loads(shown.stdout), [KEY.public])
    (tmp_path / "receipt.json").write_text(shown.stdout)
    (tmp_path / "record.json").write_text(fumehood("status", "--json", job.id).stdout)
    for what in (job.id, tmp_path / "receipt.json", tmp_path / "record.json"):
        done = fumehood("receipt", "verify", what)
        assert done.exit_code == 0, done.output
        assert f"{job.id}, attempt 1, fence {job.fence}: container fumehood-test; 7 files" in done.stdout
        assert KEY.id in done.stderr


def test_the_receipt_of_a_tenant_is_checked_by_its_file(fumehood: Listening, tmp_path: Path) -> None:
    store = fumehood.stand.store
    store.keep_receipt_key(KEY.id, KEY.public)
    tenant = store.create_tenant("lab").id
    store.begin_erasure(tenant)
    receipt = store.end_erasure(tenant, worker="wrk_test", nothing_left=lambda: True, seal=KEY.seal)
    assert receipt is not None
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(receipt))
    done = fumehood("receipt", "verify", file)
    assert done.exit_code == 0, done.output
    assert f"{tenant}: 0 jobs, 0 batches, 0 datasets, 0 keys; 0 files, 0 bytes; gone at " in done.stdout
    assert KEY.id in done.stderr
    file.write_text(json.dumps(receipt | {"jobs": 1}))
    assert fumehood("receipt", "verify", file).exit_code == 2


def test_with_a_file_and_keys_nobody_is_asked(fumehood: Listening, job: Job, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text(fumehood("receipt", "show", job.id).stdout)
    keys = fumehood("receipt", "keys").stdout
    assert sorted(keys.split()) == sorted([OLD.public, KEY.public])
    (tmp_path / "keys").write_text(keys)
    fumehood.point_at("http://127.0.0.1:1", "none")
    done = fumehood("receipt", "verify", tmp_path / "receipt.json", "--key", tmp_path / "keys")
    assert done.exit_code == 0, done.output


def test_a_key_that_was_kept_counts_more_than_those_the_service_names(fumehood: Listening, job: Job, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# kept since spring\n{OLD.public}\n")
    done = fumehood("receipt", "verify", job.id, "--key", tmp_path / "keys")
    assert done.exit_code == 2
    assert "expected one of the 1 that are trusted" in done.stderr


@pytest.mark.parametrize("name", CHANGED)
def test_a_receipt_that_was_changed_is_told(fumehood: Listening, job: Job, tmp_path: Path, name: str) -> None:
    receipt = json.loads(fumehood("receipt", "show", job.id).stdout)
    (tmp_path / "receipt.json").write_text(json.dumps(receipt | {name: CHANGED[name]}))
    done = fumehood("receipt", "verify", tmp_path / "receipt.json")
    assert done.exit_code == 2
    assert done.stdout == ""


TEXTS: dict[str, Callable[[str], str]] = {
    "no JSON": lambda text: text[:-5],
    "no object": lambda text: "[]",
    "a name twice": lambda text: text.replace('"files": 7', '"files": 7, "files": 7'),
    "a record without one": lambda text: '{"erasure": null}',
    "deep": lambda text: "[" * 200_000,
    "too large": lambda text: text + " " * 2**20,
}


@pytest.mark.parametrize("what", TEXTS)
def test_what_is_no_receipt_is_told(fumehood: Listening, job: Job, tmp_path: Path, what: str) -> None:
    (tmp_path / "receipt.json").write_text(TEXTS[what](fumehood("receipt", "show", job.id).stdout))
    done = fumehood("receipt", "verify", tmp_path / "receipt.json")
    assert done.exit_code == 2
    assert "receipt" in done.stderr
    assert len(done.stderr) < 400


def test_a_job_that_never_ran_has_a_receipt_that_nobody_signed(fumehood: Listening) -> None:
    job = fumehood.stand.us.job()
    assert fumehood("receipt", "show", job).exit_code == 2
    assert fumehood("cancel", job).exit_code == 0
    shown = json.loads(fumehood("receipt", "show", job).stdout)
    assert {name: shown[name] for name in ("job", "attempt", "container", "container_id", "files", "signature")} == {
        "job": job, "attempt": 0, "container": None, "container_id": None, "files": 0, "signature": None,
    }  # fmt: skip
    done = fumehood("receipt", "verify", job)
    assert done.exit_code == 2
    assert "is not signed" in done.stderr


def handed_back(fumehood: Listening, *, count_attempt: bool) -> Job:
    """A job that waits again after its first attempt, whose receipt is signed with KEY."""
    stand = fumehood.stand
    stand.store.keep_receipt_key(KEY.id, KEY.public)
    stand.us.job()
    claimed = claim(stand.store)
    return stand.store.give_back(claimed, KEY.sign(erasure(claimed)), Outcome(reason=Reason.LOST), count_attempt=count_attempt)


def test_the_receipt_of_an_earlier_attempt_is_not_taken_for_that_of_the_job(fumehood: Listening) -> None:
    handed_back(fumehood, count_attempt=True)
    second = claim(fumehood.stand.store)
    fumehood.stand.worker.finish(second, receipt=KEY.sign(erasure(second, attempt=1)))
    done = fumehood("receipt", "verify", second.id)
    assert done.exit_code == 2
    assert "is of attempt 1; expected attempt 2" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("count_attempt", [True, False])
def test_a_job_that_was_handed_back_has_the_receipt_of_that_attempt_counted_or_not(
    fumehood: Listening, count_attempt: bool, ends: bool
) -> None:
    job = handed_back(fumehood, count_attempt=count_attempt)
    assert job.attempt == int(count_attempt)
    if ends:
        assert fumehood("cancel", job.id).exit_code == 0
    done = fumehood("receipt", "verify", job.id)
    assert done.exit_code == 0, done.output
    assert f"{job.id}, attempt 1, fence {job.fence - 1}: " in done.stdout


def test_a_later_attempt_than_one_that_ended_is_not_taken_for_it(fumehood: Listening) -> None:
    """Only a job that waits, or was cancelled while it did, may have given its attempt back."""
    handed_back(fumehood, count_attempt=False)
    again = claim(fumehood.stand.store)
    fumehood.stand.worker.finish(again, receipt=KEY.sign(erasure(again, attempt=2)))
    done = fumehood("receipt", "verify", again.id)
    assert done.exit_code == 2
    assert "is of attempt 2; expected attempt 1" in done.stderr


def test_the_client_hands_out_receipts_and_keys(fumehood: Listening, job: Job) -> None:
    with Client(fumehood.url, fumehood.stand.key) as client:
        receipt: Any = client.job(job.id).receipt
        verify(receipt, client.receipt_keys())


def test_keys_are_listed_the_newest_first_and_known_once(fumehood: Listening) -> None:
    stand = fumehood.stand
    for now, key in ((1.0, OLD), (2.0, KEY), (3.0, OLD)):
        store = JobStore(stand.settings.store_url, clock=lambda now=now: now)  # type: ignore[misc]
        store.keep_receipt_key(key.id, key.public)
        store.close()
    assert stand.us.get("/v1/receipts/keys").json() == {
        "items": [
            {"id": KEY.id, "algorithm": "Ed25519", "public": KEY.public, "since": "1970-01-01T00:00:02.000Z"},
            {"id": OLD.id, "algorithm": "Ed25519", "public": OLD.public, "since": "1970-01-01T00:00:01.000Z"},
        ]
    }
