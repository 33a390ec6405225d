"""/v1/webhooks, and the address that a job or a batch names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fumehood.delivery import Delivery, Trouble, Try
from fumehood.delivery_store import Share
from fumehood.webhook import headers_of, verify
from tests.unit.front_desk import SCRIPT, Counter, Stand, pointers, slug

URL = "https://hooks.example/a?b=c"
WIDE = Share(of_tenant=100, of_host=100)
DELIVERIES = "/v1/webhooks/deliveries"


def claim(stand: Stand) -> Delivery:
    (claimed,) = stand.store.claim_deliveries(room=1, share=WIDE, lease_seconds=60)
    return claimed


def told(us: Counter) -> str:
    """Id of a job that has ended, and whose end is to be told."""
    job = us.job(callback_url=URL)
    assert us.post(f"/v1/jobs/{job}/cancel").status_code == 202
    return str(job)


def test_a_job_that_names_an_address_is_told_of_at_its_end(stand: Stand, us: Counter) -> None:
    job = us.job(callback_url=URL, labels={"team": "blue"})
    assert us.get(f"/v1/jobs/{job}").json()["callback_url"] == URL
    assert us.get(DELIVERIES).json() == {"items": [], "next": None}
    stand.worker.work()
    (found,) = us.get(DELIVERIES, params={"about": job}).json()["items"]
    assert {name: found[name] for name in ("event", "about", "url", "state", "attempt", "ended_at", "last")} == {
        "event": "job.succeeded",
        "about": job,
        "url": URL,
        "state": "pending",
        "attempt": 0,
        "ended_at": None,
        "last": None,
    }
    assert found["next_at"] == found["created_at"]
    assert found["links"] == {"self": f"{DELIVERIES}/{found['id']}", "about": f"/v1/jobs/{job}"}
    record = us.get(found["links"]["self"]).json()
    assert record["payload"]["data"]["labels"] == {"team": "blue"}
    assert us.get(record["links"]["about"]).status_code == 200


@pytest.mark.parametrize("isolation", ["item", "batch"])
def test_a_batch_that_names_one_is_told_of_once(stand: Stand, us: Counter, isolation: str) -> None:
    document = {"script": SCRIPT, "items": [{}, {}], "callback_url": URL, "isolation": isolation}
    batch = us.post("/v1/batches", json=document).json()
    assert batch["callback_url"] == URL
    (held,) = us.get(DELIVERIES, params={"state": "held"}).json()["items"]
    assert held["links"]["about"] == f"/v1/batches/{batch['id']}"
    assert slug(us.post(f"{DELIVERIES}/{held['id']}/replay")) == "conflict"
    us.post(f"/v1/batches/{batch['id']}/cancel")
    assert stand.store.release_batches() == 1
    (only,) = us.get(DELIVERIES).json()["items"]
    assert (only["id"], only["event"], only["state"]) == (held["id"], "batch.finished", "pending")


def test_an_address_of_the_inside_is_named_also_for_a_batch(us: Counter) -> None:
    answer = us.post("/v1/batches", json={"script": SCRIPT, "items": [{}], "callback_url": "http://10.0.0.1/"})
    assert pointers(answer) == ["/callback_url"]
    assert "10.0.0.1 is not one of the internet's: private" in answer.json()["errors"][0]["detail"]


def test_what_the_operator_lists_is_taken(open_stand: Callable[..., Stand]) -> None:
    us = open_stand(webhook_allow="10.0.0.0/8, hooks").us
    for url in ("http://10.0.0.1/", "http://hooks:8080/"):
        assert us.submit(callback_url=url).status_code == 202
    assert pointers(us.submit(callback_url="http://192.168.0.1/")) == ["/callback_url"]


def test_what_came_of_each_time_is_in_the_record(stand: Stand, us: Counter) -> None:
    about = told(us)
    sending = claim(stand)
    assert us.get(DELIVERIES, params={"state": "sending"}).json()["items"][0]["next_at"] is None
    stand.store.settle_delivery(sending, Try(at=1.0, trouble=Trouble.UNREACHABLE, milliseconds=3.5), again_in_seconds=0)
    stand.store.settle_delivery(claim(stand), Try(at=2.0, status=204), again_in_seconds=None)
    record = us.get(f"{DELIVERIES}/{sending.id}").json()
    assert record["tries"] == [
        {"at": "1970-01-01T00:00:01.000Z", "status": None, "trouble": "unreachable", "milliseconds": 3.5},
        {"at": "1970-01-01T00:00:02.000Z", "status": 204, "trouble": None, "milliseconds": 0.0},
    ]
    assert (record["state"], record["attempt"], record["last"]) == ("delivered", 2, record["tries"][1])
    assert us.get(DELIVERIES, params={"state": "delivered", "about": about}).json()["items"][0]["id"] == sending.id


def test_a_message_is_sent_again_when_it_is_asked_for(stand: Stand, us: Counter) -> None:
    told(us)
    sending = claim(stand)
    here = f"{DELIVERIES}/{sending.id}/replay"
    assert slug(us.post(here)) == "conflict"
    stand.store.settle_delivery(sending, Try(at=1.0, status=410, trouble=Trouble.GONE), again_in_seconds=None)
    again = us.post(here)
    assert (again.status_code, again.json()["state"], again.json()["attempt"]) == (202, "pending", 0)
    assert claim(stand).id == sending.id


def test_a_page_leads_to_the_next(us: Counter) -> None:
    jobs = [told(us) for _ in range(3)]
    first = us.get(DELIVERIES, params={"limit": 2, "state": "pending"})
    second = us.get(first.headers["link"].partition(">")[0].removeprefix("<"))
    assert [one["about"] for one in first.json()["items"] + second.json()["items"]] == jobs[::-1]


def test_what_is_not_yours_is_not_there(stand: Stand, us: Counter) -> None:
    about = told(us)
    delivery = us.get(DELIVERIES).json()["items"][0]["id"]
    assert stand.other.get(DELIVERIES).json()["items"] == []
    assert stand.other.get(DELIVERIES, params={"about": about}).json()["items"] == []
    absent = f"msg_{0:032}"
    for call in (stand.other.get, lambda path: stand.other.post(f"{path}/replay")):
        theirs, nobodys = call(f"{DELIVERIES}/{delivery}"), call(f"{DELIVERIES}/{absent}")
        assert (theirs.status_code, theirs.json()) == (404, nobodys.json())
    assert stand.other.get("/v1/webhooks/secret").json()["secret"] != us.get("/v1/webhooks/secret").json()["secret"]


@pytest.mark.parametrize("query", [{"state": "lost"}, {"about": "x"}, {"about": "job_\x00"}, {"cursor": "!"}, {"limit": 0}, {"job": "x"}])
def test_a_wrong_question_is_named(narrow: Stand, query: dict[str, str]) -> None:
    assert pointers(narrow.us.get(DELIVERIES, params=query))


def test_the_secret_stays_until_it_is_changed_and_both_hold_for_a_while(us: Counter) -> None:
    first = us.get("/v1/webhooks/secret")
    assert first.headers["cache-control"] == "no-store"
    assert us.get("/v1/webhooks/secret").json() == first.json()
    assert (first.json()["former"], first.json()["former_until"]) == (0, None)
    changed = us.post("/v1/webhooks/secret/rotate").json()
    assert changed["secret"] != first.json()["secret"]
    assert changed["former"] == 1
    assert changed["former_until"] > changed["created_at"]
    assert us.get("/v1/webhooks/secret").json() == changed
    assert verify(b"{}", headers_of("msg_1", b"{}", [changed["secret"]], sent_at=0), changed["secret"], now=0) == "msg_1"


def test_an_address_and_a_secret_never_reach_the_log(stand: Stand, us: Counter) -> None:
    told(us)
    secret = us.post("/v1/webhooks/secret/rotate").json()["secret"]
    us.submit(callback_url="https://user:hunter2@example.com/")
    written = stand.log.getvalue()
    assert "/v1/webhooks/secret/rotate" in written
    for private in (secret, "hooks.example", "hunter2"):
        assert private not in written


def test_forgetting_a_job_forgets_what_was_told_of_it(us: Counter) -> None:
    about = told(us)
    assert us.delete(f"/v1/jobs/{about}").status_code == 204
    assert us.get(DELIVERIES).json()["items"] == []
