"""`fumehood webhook`, and the option and the argument that name an address, against a front desk that listens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fumehood.delivery import Trouble, Try
from fumehood.delivery_store import Share
from fumehood.job import Lane
from tests.unit.cli_desk import Listening, fumehood, script
from tests.unit.test_client_run import client

__all__ = ["client", "fumehood", "script"]

URL = "https://hooks.example/a"


@pytest.fixture
def told(fumehood: Listening, script: Path) -> str:
    """A job that was cancelled, whose message was not taken."""
    done = fumehood("submit", script, "--callback-url", URL)
    assert done.exit_code == 0, done.output
    assert done.output == done.stdout
    job = done.stdout.strip()
    assert fumehood("cancel", job).exit_code == 0
    (sending,) = fumehood.stand.store.claim_deliveries(room=1, share=Share(of_tenant=1, of_host=1), lease_seconds=60)
    fumehood.stand.store.settle_delivery(sending, Try(at=1.0, status=500, trouble=Trouble.STATUS), again_in_seconds=None)
    return job


def test_deliveries_show_what_came_of_each(fumehood: Listening, told: str) -> None:
    head, line = fumehood("webhook", "deliveries").stdout.splitlines()
    assert head.split() == ["MESSAGE", "EVENT", "ABOUT", "STATE", "TRIES", "LAST", "NEXT"]
    assert line.split()[1:] == ["job.cancelled", told, "failed", "1", "500"]
    assert len(fumehood("webhook", "deliveries", "--state", "delivered").stdout.splitlines()) == 1
    (found,) = json.loads(fumehood("webhook", "deliveries", "--about", told, "--json").stdout)
    assert found["url"] == URL


def test_a_message_is_sent_again(fumehood: Listening, told: str) -> None:
    (found,) = fumehood.stand.us.get("/v1/webhooks/deliveries").json()["items"]
    done = fumehood("webhook", "replay", found["id"])
    assert (done.exit_code, done.output) == (0, f"-- {found['id']} is pending\n")
    assert fumehood("webhook", "replay", f"msg_{0:032}").exit_code == 2
    assert json.loads(fumehood("webhook", "replay", found["id"], "--json").stdout)["state"] == "pending"


def test_the_secret_is_shown_and_changed(fumehood: Listening) -> None:
    first = fumehood("webhook", "secret").stdout.strip()
    assert first == fumehood.stand.us.get("/v1/webhooks/secret").json()["secret"]
    changed = fumehood("webhook", "rotate")
    assert changed.stdout.strip() not in ("", first)
    assert "1 earlier one holds until" in changed.output
    assert json.loads(fumehood("webhook", "secret", "--json").stdout)["former"] == 1


def test_a_batch_takes_an_address_too(fumehood: Listening, script: Path, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("a\n1\n")
    batch = fumehood("batch", "submit", script, table, "--callback-url", URL).stdout.strip()
    assert fumehood.stand.us.get(f"/v1/batches/{batch}").json()["callback_url"] == URL


def test_an_address_of_the_inside_is_refused_with_its_reason(fumehood: Listening, script: Path) -> None:
    done = fumehood("submit", script, "--callback-url", "http://192.168.0.1/")
    assert done.exit_code == 2
    assert "private" in done.output


def double(frame=None):  # type: ignore[no-untyped-def]
    return frame * 2


def test_the_client_names_an_address_for_a_job_and_for_a_batch(client: Any, fumehood: Listening) -> None:
    fumehood.stand.queue.awake = {Lane.ERRANDS}
    job = client.submit(double, callback_url=URL)
    batch = client.batch(double, [{"parameters": {}}], callback_url=URL)
    assert fumehood.stand.us.get(f"/v1/jobs/{job.id}").json()["callback_url"] == URL
    assert fumehood.stand.us.get(f"/v1/batches/{batch.id}").json()["callback_url"] == URL
