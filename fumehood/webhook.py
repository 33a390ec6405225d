"""Webhook: a message's signature by the Standard Webhooks convention, made by the courier and checked by whoever receives it.

What is signed is the message's id, the seconds at which it was sent and its body, joined by dots; the key is what follows `whsec_`,
in base64. A message may carry several signatures, while an old secret and its successor both hold. The standard library alone: a
receiver needs nothing else of Fumehood, and may be written by another library that knows the convention.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets as random
import time
from collections.abc import Iterable, Mapping

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PREFIX, VERSION = "whsec_", "v1"
SECRET_BYTES = 32
SECRET_BYTES_LEAST, SECRET_BYTES_MOST = 24, 64
"""What the convention takes for a secret."""
TOLERANCE_SECONDS = 300.0
SIGNATURES_MAX = 16


class WebhookRefused(ValueError):
    """The message is not what somebody with the secret sent a moment ago; says why."""


def new_secret() -> str:
    return PREFIX + base64.b64encode(random.token_bytes(SECRET_BYTES)).decode()


def headers_of(message: str, body: bytes, secrets: Iterable[str], *, sent_at: float) -> dict[str, str]:
    """The headers of a message, signed with each of `secrets`."""
    seconds = str(int(sent_at))
    signatures = [f"{VERSION},{_signature(_key(secret), message, seconds, body)}" for secret in secrets]
    return {ID: message, TIMESTAMP: seconds, SIGNATURE: " ".join(signatures)}


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Iterable[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> str:
    """The message's id, where one of `secret` (one, or some while they change) has signed exactly this body, and lately.

    `body` is what came, byte by byte: one that was parsed and written again is another. The names of `headers` may have any case. The
    same id comes again when a delivery is repeated; whoever must not act twice remembers it.

    Raises:
        WebhookRefused: a header is missing, the time is further off than `tolerance_seconds`, or no signature fits.
        ValueError: a secret is none.
    """
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    given = {name.lower(): value for name, value in headers.items()}
    if missing := [name for name in (ID, TIMESTAMP, SIGNATURE) if not given.get(name)]:
        raise WebhookRefused(f"the message has no header {', '.join(missing)}")
    message, seconds = given[ID], given[TIMESTAMP]
    if not (seconds.isascii() and seconds.isdecimal() and len(seconds) <= 15):
        raise WebhookRefused(f"{TIMESTAMP} is {seconds[:40]!r}; expected seconds since 1970")
    off_seconds = abs((time.time() if now is None else now) - int(seconds))
    if off_seconds > tolerance_seconds:
        raise WebhookRefused(f"{TIMESTAMP} is {off_seconds:.0f} seconds off; {tolerance_seconds:.0f} are allowed")
    content = body.encode() if isinstance(body, str) else bytes(body)
    expected = [_signature(key, message, seconds, content).encode() for key in keys]
    for signature in given[SIGNATURE].split(" ")[:SIGNATURES_MAX]:
        version, _, value = signature.partition(",")
        fits = [hmac.compare_digest(value.encode("utf-8", "replace"), one) for one in expected]
        if version == VERSION and any(fits):
            return message
    raise WebhookRefused("no signature fits: the secret is another, or the message is not what was signed")


def _signature(key: bytes, message: str, seconds: str, body: bytes) -> str:
    signed = b".".join((message.encode("utf-8", "replace"), seconds.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    """Raises ValueError, without the secret's text."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a webhook secret is no base64; expected {PREFIX} and base64") from None
    if not SECRET_BYTES_LEAST <= len(key) <= SECRET_BYTES_MOST:
        raise ValueError(f"a webhook secret has {len(key)} bytes; expected {SECRET_BYTES_LEAST} to {SECRET_BYTES_MOST}")
    return key
