"""The signature, against the convention's own example and an implementation that is the test's."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from fumehood.webhook import WebhookRefused, headers_of, new_secret, verify

# The example that the convention's text works through.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, SENT_AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signed_by_hand(secret: str, message: str, seconds: str, body: bytes) -> str:
    """What the text says, step by step, and nothing of ours."""
    key = base64.b64decode(secret.split("_", 1)[1])
    content = f"{message}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def headers(**changes: str) -> dict[str, str]:
    made = headers_of(MESSAGE, BODY, [SECRET], sent_at=SENT_AT)
    return made | {name.replace("_", "-"): value for name, value in changes.items()}


def test_the_convention_s_example_comes_out_as_it_stands_there() -> None:
    made = headers_of(MESSAGE, BODY, [SECRET], sent_at=SENT_AT + 0.9)
    assert made == {"webhook-id": MESSAGE, "webhook-timestamp": str(SENT_AT), "webhook-signature": SIGNATURE}
    assert signed_by_hand(SECRET, MESSAGE, str(SENT_AT), BODY) == SIGNATURE


def test_a_message_that_was_signed_is_taken_and_its_id_told() -> None:
    secret = new_secret()
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    body = '{"name":"naïve"}'
    made = headers_of("msg_1", body.encode(), [secret], sent_at=SENT_AT)
    assert made["webhook-signature"] == signed_by_hand(secret, "msg_1", str(SENT_AT), body.encode())
    assert verify(body, {name.title(): value for name, value in made.items()}, secret, now=SENT_AT + 299) == "msg_1"


def test_while_secrets_change_either_is_enough() -> None:
    old, new = new_secret(), new_secret()
    made = headers_of(MESSAGE, BODY, [new, old], sent_at=SENT_AT)
    assert len(made["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert verify(BODY, made, secret, now=SENT_AT) == MESSAGE
    assert verify(BODY, headers_of(MESSAGE, BODY, [old], sent_at=SENT_AT), [new, old], now=SENT_AT) == MESSAGE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"webhook_signature": SIGNATURE.replace("g0h", "g0H")}, "no signature fits"),
        ({"webhook_signature": SIGNATURE.replace("v1,", "v1a,")}, "no signature fits"),
        ({"webhook_signature": "v1,ü v1, ,"}, "no signature fits"),
        ({"webhook_signature": " ".join(["v1,AAAA"] * 16 + [SIGNATURE])}, "no signature fits"),
        ({"webhook_id": "msg_another"}, "no signature fits"),
        ({"webhook_timestamp": str(SENT_AT + 1)}, "no signature fits"),
        ({"webhook_timestamp": str(SENT_AT - 301)}, "301 seconds off"),
        ({"webhook_timestamp": str(SENT_AT + 301)}, "301 seconds off"),
        ({"webhook_timestamp": "1e9"}, "expected seconds since 1970"),
        ({"webhook_timestamp": "9" * 5000}, "expected seconds since 1970"),
        ({"webhook_timestamp": "١"}, "expected seconds since 1970"),
        ({"webhook_id": ""}, "no header webhook-id"),
    ],
)
def test_whatever_is_changed_is_refused(given: dict[str, str], said: str) -> None:
    assert verify(BODY, headers(), SECRET, now=SENT_AT) == MESSAGE
    with pytest.raises(WebhookRefused, match=said):
        verify(BODY, headers(**given), SECRET, now=SENT_AT)


def test_another_body_or_secret_is_refused() -> None:
    with pytest.raises(WebhookRefused, match="no signature fits"):
        verify(BODY + b" ", headers(), SECRET, now=SENT_AT)
    with pytest.raises(WebhookRefused, match="no signature fits"):
        verify(BODY, headers(), new_secret(), now=SENT_AT)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_!", "whsec_" + "A" * 88])
def test_what_is_no_secret_is_said_without_showing_it(secret: str) -> None:
    with pytest.raises(ValueError, match=r"a webhook secret (is no base64|has \d+ bytes)") as caught:
        verify(BODY, headers(), secret, now=SENT_AT)
    assert not isinstance(caught.value, WebhookRefused)
