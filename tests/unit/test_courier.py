"""The courier against servers that are really there: what arrives, where, and what happens where it does not."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from courier.courier import SHARE, Courier
from courier.resolving import Resolve, addresses_of
from courier.resolving import resolve as ask_the_system
from fumehood.addresses import Allowed
from fumehood.callback import Target
from fumehood.delivery import Delivery, Trouble
from fumehood.errors import StoreUnavailable
from fumehood.job_store import JobStore
from fumehood.settings import Settings
from fumehood.testing import job
from tests.services import until
from tests.unit.receivers import FINE, Authority, Receiver, answer, receiving, running
from tests.unit.test_webhook import signed_by_hand

LOOPBACK, SECOND = "127.0.0.1", "127.0.0.2"
WAIT_SECONDS = 30


class Post:
    """A store, receivers, and couriers."""

    def __init__(self, home: Path, template: Path, stack: ExitStack) -> None:
        self.home, self.stack = home, stack
        home.mkdir(mode=0o700)
        (home / "fumehood.db").write_bytes(template.read_bytes())
        self.store = JobStore(f"sqlite:///{home}/fumehood.db")
        stack.callback(self.store.close)
        self.names: dict[str, list[list[str]]] = {}
        """What the resolver answers, one after the other; the last one stays."""
        self.asked: list[str] = []

    async def ask(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self.names.get(host)
        if not answers:
            raise OSError("Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def receive(self, *receivers: Receiver) -> Receiver:
        self.stack.enter_context(receiving(*receivers))
        return receivers[0]

    def courier(self, *, ask: Resolve | None = None, **settings: Any) -> Courier:
        given = {"webhook_allow": LOOPBACK, "webhook_retry_seconds": "0.01,0.01", "webhook_seconds": 10, **settings}
        made = Settings(home=self.home, **given)
        return self.stack.enter_context(running(lambda: Courier(made, self.store, ask=ask or self.ask, chance=lambda: 0.0)))

    def tell(self, url: str, *, tenant: str = "ten_test", **more: Any) -> str:
        made = self.store.submit(job(tenant=tenant, callback_url=url, **more)).job
        self.store.request_cancel(tenant, made.id)
        return made.id

    def of(self, about: str, tenant: str = "ten_test") -> Delivery:
        (found,), _ = self.store.list_deliveries(tenant, about=about)
        return found

    def ended(self, about: str, tenant: str = "ten_test") -> Delivery:
        def look() -> Delivery | None:
            found = self.of(about, tenant)
            return found if found.ended_at is not None else None

        return until(look, seconds=WAIT_SECONDS, what="the delivery ends")

    def troubles(self, about: str) -> list[str]:
        return [one.trouble.value if one.trouble else "none" for one in self.ended(about).tries]


@pytest.fixture
def post(home: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    monkeypatch.setattr("courier.courier.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("courier.sending.REST_SECONDS", 0.2)
    with ExitStack() as stack:
        yield Post(home, template, stack)


# what arrives ------------------------------------------------------------------------------------------------------------


def test_a_message_arrives_whole_and_signed(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    post.courier()
    about = post.tell(f"http://{LOOPBACK}:{receiver.port}/hook?a=1", labels={"team": "naïve"})
    ended = post.ended(about)
    (got,) = receiver.got
    assert got.line == "POST /hook?a=1 HTTP/1.1"
    assert (got.headers["host"], got.headers["content-type"]) == (f"{LOOPBACK}:{receiver.port}", "application/json")
    assert got.headers["webhook-id"] == ended.id
    secret = post.store.webhook_secrets("ten_test").newest
    assert got.headers["webhook-signature"] == signed_by_hand(secret, ended.id, got.headers["webhook-timestamp"], got.body)
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60
    document = json.loads(got.body)
    assert (document["type"], document["data"]["id"], document["data"]["labels"]) == ("job.cancelled", about, {"team": "naïve"})
    assert (ended.state, [one.status for one in ended.tries]) == ("delivered", [204])


def test_while_a_secret_changes_the_message_bears_both_signatures(post: Post) -> None:
    old = post.store.webhook_secrets("ten_test").newest
    new = post.store.rotate_webhook_secret("ten_test").newest
    receiver = post.receive(Receiver(LOOPBACK))
    post.courier()
    ended = post.ended(post.tell(f"http://{LOOPBACK}:{receiver.port}/"))
    (got,) = receiver.got
    by_hand = [signed_by_hand(secret, ended.id, got.headers["webhook-timestamp"], got.body) for secret in (new, old)]
    assert got.headers["webhook-signature"].split(" ") == by_hand


def test_over_tls_the_name_is_shown_and_checked_and_the_connection_goes_to_the_number(post: Post, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    receiver = post.receive(Receiver(LOOPBACK, tls=authority.server("hook.example")))
    post.names = {"hook.example": [[LOOPBACK]], "other.example": [[LOOPBACK]]}
    post.courier(webhook_ca_file=authority.file)
    ended = post.ended(post.tell(f"https://hook.example:{receiver.port}/"))
    (got,) = receiver.got
    assert (ended.state, got.sni, got.headers["host"]) == ("delivered", "hook.example", f"hook.example:{receiver.port}")
    assert post.troubles(post.tell(f"https://other.example:{receiver.port}/")) == ["tls_failed"] * 3
    assert len(receiver.got) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(post: Post, tmp_path: Path) -> None:
    receiver = post.receive(Receiver(LOOPBACK, tls=Authority(tmp_path).server(LOOPBACK)))
    post.courier()
    assert post.troubles(post.tell(f"https://{LOOPBACK}:{receiver.port}/")) == ["tls_failed"] * 3
    assert receiver.got == []


def test_no_proxy_of_the_environment_is_used(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    receiver = post.receive(Receiver(LOOPBACK))
    post.courier()
    assert post.ended(post.tell(f"http://{LOOPBACK}:{receiver.port}/")).state == "delivered"


# where it may not go -----------------------------------------------------------------------------------------------------


def test_a_name_is_asked_for_once_and_the_connection_goes_to_the_address_that_was_judged(post: Post) -> None:
    """DNS rebinding: the first answer may be reached, every later one leads inside."""
    outside = Receiver(SECOND, answers=[answer(500)])
    post.receive(outside)
    inside = post.receive(Receiver(LOOPBACK, port=outside.port))
    post.names = {"rebind.example": [[SECOND], [LOOPBACK]]}
    post.courier(webhook_allow=SECOND)
    ended = post.ended(post.tell(f"http://rebind.example:{outside.port}/"))
    assert [(one.status, one.trouble) for one in ended.tries] == [
        (500, Trouble.STATUS),
        (None, Trouble.ADDRESS_REFUSED),
        (None, Trouble.ADDRESS_REFUSED),
    ]
    assert post.asked == ["rebind.example"] * 3
    assert (outside.connections, inside.connections) == (1, 0)


@pytest.mark.parametrize(
    "answers",
    [[LOOPBACK], [SECOND, LOOPBACK], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["169.254.169.254"], ["::1"], ["fe80::1%eth0"], ["x"]],
    ids=lambda answers: ",".join(answers),
)
def test_a_name_that_means_an_address_of_the_inside_is_refused_without_a_connection(answers: list[str], post: Post) -> None:
    receiver = Receiver(SECOND)
    post.receive(receiver)
    inside = post.receive(Receiver(LOOPBACK, port=receiver.port))
    post.names = {"hook.example": [answers]}
    post.courier(webhook_allow=SECOND, webhook_retry_seconds="")
    assert post.troubles(post.tell(f"http://hook.example:{receiver.port}/")) == ["address_refused"]
    assert (receiver.connections, inside.connections) == (0, 0)


def test_what_the_operator_allows_no_more_is_refused_at_delivery(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    post.courier(webhook_allow=None)
    assert post.troubles(post.tell(f"http://{LOOPBACK}:{receiver.port}/")) == ["address_refused"] * 3
    assert receiver.connections == 0


def test_a_host_that_the_operator_lists_may_be_anywhere(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    post.names = {"hooks": [[LOOPBACK]]}
    post.courier(webhook_allow="hooks")
    assert post.ended(post.tell(f"http://hooks:{receiver.port}/")).state == "delivered"


def test_of_several_addresses_the_next_is_tried_where_one_does_not_answer(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    post.names = {"hook.example": [[SECOND, LOOPBACK]]}
    post.courier(webhook_allow="127.0.0.0/8")
    assert post.ended(post.tell(f"http://hook.example:{receiver.port}/")).state == "delivered"


def test_the_system_is_asked_for_names_and_never_for_numbers() -> None:
    async def never(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    target = Target(scheme="http", host="1.1.1.1", port=80, path="/")
    assert [str(one) for one in asyncio.run(addresses_of(target, ask=never, allowed=Allowed()))] == ["1.1.1.1"]
    assert LOOPBACK in asyncio.run(ask_the_system("localhost", 80))


# what does not arrive ----------------------------------------------------------------------------------------------------


def test_redirects_are_not_followed(post: Post) -> None:
    victim = post.receive(Receiver(LOOPBACK))
    there = f"http://{LOOPBACK}:{victim.port}/inside"
    statuses = [301, 302, 307, 308]
    receiver = post.receive(Receiver(LOOPBACK, answers=[answer(status, f"Location: {there}") for status in statuses]))
    post.courier(webhook_retry_seconds="0.01,0.01,0.01")
    ended = post.ended(post.tell(f"http://{LOOPBACK}:{receiver.port}/"))
    assert [one.status for one in ended.tries] == statuses
    assert (ended.state, victim.connections) == ("failed", 0)


def test_it_is_tried_again_until_it_came_with_the_same_id_and_body(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK, answers=[answer(500), None, FINE]))
    post.courier()
    ended = post.ended(post.tell(f"http://{LOOPBACK}:{receiver.port}/"))
    assert [one.trouble for one in ended.tries] == [Trouble.STATUS, Trouble.BAD_ANSWER, None]
    assert ended.state == "delivered"
    assert len({(got.headers["webhook-id"], got.body) for got in receiver.got}) == 1


def test_it_is_given_up_after_the_last_pause_and_can_be_sent_again(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK, usual=answer(500)))
    post.courier()
    about = post.tell(f"http://{LOOPBACK}:{receiver.port}/")
    ended = post.ended(about)
    assert (ended.state, ended.attempt, len(receiver.got)) == ("failed", 3, 3)
    receiver.usual = FINE
    post.store.replay_delivery("ten_test", ended.id)
    until(lambda: post.of(about).state == "delivered", seconds=WAIT_SECONDS, what="the replay arrives")
    assert receiver.got[3].headers["webhook-id"] == ended.id


def test_410_ends_it_at_once(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK, usual=answer(410)))
    post.courier()
    assert post.troubles(post.tell(f"http://{LOOPBACK}:{receiver.port}/")) == ["gone"]


def test_pauses_are_those_of_the_schedule_longer_by_chance_and_as_long_as_the_receiver_asks(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    said = [answer(500), answer(503, "Retry-After: 900"), answer(429, "Retry-After: 1"), answer(503, "Retry-After: 99999999999")]
    receiver.answers = [*said, answer(429, "Retry-After: 9999999")]
    post.courier(webhook_retry_seconds="300")
    pauses = []
    for _ in range(5):
        about = post.tell(f"http://{LOOPBACK}:{receiver.port}/")
        tried = until(lambda: found if (found := post.of(about)).tries else None, seconds=WAIT_SECONDS, what="a try")  # noqa: B023
        pauses.append(tried.due_at - tried.tries[0].at)
    assert pauses == pytest.approx([300, 900, 300, 300, 86_400], abs=20)
    lucky = Courier(Settings(home=post.home, webhook_retry_seconds="100"), post.store, chance=lambda: 1.0)
    delivery = post.of(about)
    assert lucky._again_in(delivery, delivery.tries[0], None) == pytest.approx(120)


async def _drip(writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _silent(_: Any) -> None:
    await asyncio.Event().wait()


class Gate:
    """A receiver that answers when it is told to."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, writer: Any) -> None:
        await asyncio.to_thread(self._opened.wait, WAIT_SECONDS)
        writer.write(FINE)
        await writer.drain()


async def _endless(writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def _body_that_stops(writer: Any) -> None:
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nabc")
    await writer.drain()
    await asyncio.Event().wait()


async def _interim(writer: Any) -> None:
    for _ in range(1000):
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("said", "status", "trouble"),
    [
        (_silent, None, "timed_out"),
        (_drip, None, "timed_out"),
        (_interim, None, "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, None, "bad_answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None, "bad_answer"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", None, "bad_answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + FINE, 204, "none"),
        (_endless, 200, "none"),
        (_body_that_stops, 202, "none"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", 200, "none"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ", 200, "none"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 200, "none"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:30],
)
def test_whatever_a_receiver_says_costs_little_time_and_memory(said: Any, status: int | None, trouble: str, post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK, usual=said))
    post.courier(webhook_seconds=1.5, webhook_retry_seconds="")
    about = post.tell(f"http://{LOOPBACK}:{receiver.port}/")
    assert post.troubles(about) == [trouble]
    (only,) = post.of(about).tries
    assert only.status == status
    assert only.milliseconds < 10_000


def test_a_port_where_nobody_listens_and_a_name_that_nobody_has(post: Post) -> None:
    receiver = Receiver(LOOPBACK)
    with receiving(receiver):
        pass
    post.courier(webhook_retry_seconds="")
    assert post.troubles(post.tell(f"http://{LOOPBACK}:{receiver.port}/")) == ["unreachable"]
    assert post.troubles(post.tell("http://nobody.example/")) == ["name_not_found"]


# several -----------------------------------------------------------------------------------------------------------------


def test_one_tenant_s_slow_server_holds_up_nobody_else(post: Post) -> None:
    gate = Gate()
    slow = post.receive(Receiver(LOOPBACK, usual=gate))
    quick = post.receive(Receiver(LOOPBACK))
    post.courier(webhook_slots=SHARE.of_tenant + 1, webhook_seconds=20)
    held = [post.tell(f"http://{LOOPBACK}:{slow.port}/{n}", tenant="ten_slow") for n in range(20)]
    until(lambda: slow.connections == SHARE.of_host, seconds=WAIT_SECONDS, what="the slow one is busy")
    theirs = [post.tell(f"http://{LOOPBACK}:{quick.port}/", tenant="ten_slow") for _ in range(3)]
    others = [post.tell(f"http://{LOOPBACK}:{quick.port}/", tenant=f"ten_{n}") for n in range(3)]
    for n, about in enumerate(others):
        assert post.ended(about, f"ten_{n}").state == "delivered"
    for about in theirs:
        assert post.ended(about, "ten_slow").state == "delivered"
    assert slow.connections == SHARE.of_host
    assert {post.of(about, "ten_slow").state.value for about in held} == {"sending", "pending"}
    gate.open()


def test_two_couriers_send_each_message_once(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    for _ in range(2):
        post.courier()
    told = [post.tell(f"http://{LOOPBACK}:{receiver.port}/", tenant=f"ten_{n % 4}") for n in range(40)]
    for n, about in enumerate(told):
        assert post.ended(about, f"ten_{n % 4}").state == "delivered"
    assert sorted(json.loads(got.body)["data"]["id"] for got in receiver.got) == sorted(told)


def test_what_a_killed_courier_was_sending_is_sent_by_the_next(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    about = post.tell(f"http://{LOOPBACK}:{receiver.port}/")
    post.store.claim_deliveries(room=1, share=SHARE, lease_seconds=0.0)
    post.courier()
    assert [one.trouble for one in post.ended(about).tries] == [Trouble.INTERRUPTED, None]


def test_a_message_over_which_couriers_end_again_and_again_is_given_up(post: Post) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    about = post.tell(f"http://{LOOPBACK}:{receiver.port}/")
    for _ in range(3):
        post.store.claim_deliveries(room=1, share=SHARE, lease_seconds=0.0)
    post.courier()
    assert post.ended(about).state == "failed"
    assert receiver.connections == 0


def test_a_store_that_is_away_for_a_while_ends_no_courier(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = post.receive(Receiver(LOOPBACK))
    monkeypatch.setattr("courier.courier.STORE_AWAY_SECONDS", 0.05)
    usual: Callable[..., Any] = JobStore.claim_deliveries
    asked: list[int] = []

    def away(*arguments: Any, **given: Any) -> Any:
        asked.append(1)
        if len(asked) < 3:
            raise StoreUnavailable("the job store does not answer")
        return usual(*arguments, **given)

    monkeypatch.setattr(JobStore, "claim_deliveries", away)
    about = post.tell(f"http://{LOOPBACK}:{receiver.port}/")
    post.courier()
    assert post.ended(about).state == "delivered"


def test_a_courier_that_is_told_to_stop_takes_nothing_more_and_ends_what_it_has(post: Post) -> None:
    gate = Gate()
    receiver = post.receive(Receiver(LOOPBACK, usual=gate))
    told = [post.tell(f"http://{LOOPBACK}:{receiver.port}/")]
    settings = Settings(home=post.home, webhook_allow=LOOPBACK)
    with running(lambda: Courier(settings, post.store)) as courier:
        until(lambda: receiver.connections, seconds=WAIT_SECONDS, what="the first is under way")
        stop = courier.stop

        def stop_and_go_on() -> None:
            stop()
            told.append(post.tell(f"http://{LOOPBACK}:{receiver.port}/"))
            gate.open()

        courier.stop = stop_and_go_on  # type: ignore[method-assign]
    first, second = (post.of(about) for about in told)
    assert (first.state, first.attempt) == ("delivered", 1)
    assert (second.state, second.attempt) == ("pending", 0)
