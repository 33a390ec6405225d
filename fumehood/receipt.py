"""Receipts: what of an erasure is signed, the bytes that are, and how a signature is made and checked.

A receipt is one JSON object, the `erasure` of a record. Signed is all of it but `signature`, as canonical JSON: keys sorted, no
spaces, UTF-8. Its values are strings, whole numbers and null, so that there is one way to write each. Nothing here asks anybody:
who checks a receipt names the keys that it trusts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fumehood.errors import FumehoodError, Misconfigured
from fumehood.outcome import Erasure
from fumehood.text import timestamp

VERSION = "fumehood.erasure/1"
"""Names what the fields mean; part of what is signed, so that no signature of ours can be taken for one of something else."""
TENANT_VERSION = "fumehood.tenant-erasure/1"
VERSIONS = (VERSION, TENANT_VERSION)
ALGORITHM = "Ed25519"

_HALF = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


class ReceiptRefused(FumehoodError):
    """The receipt is not signed, not by a key that is trusted, or not what was signed."""


def document(erasure: Erasure) -> dict[str, Any]:
    """The receipt as records show it; `key` and `signature` are None where it is not signed."""
    return {
        "version": VERSION,
        "job": erasure.job,
        "attempt": erasure.attempt,
        "fence": erasure.fence,
        "worker": erasure.worker,
        "container": erasure.container,
        "container_id": erasure.container_id,
        "began_at": timestamp(erasure.began_at),
        "files": erasure.files,
        "bytes": erasure.bytes,
        "erased_at": timestamp(erasure.erased_at),
        "key": erasure.key,
        "signature": erasure.signature,
    }


def canonical(receipt: Mapping[str, Any]) -> bytes:
    """The bytes that are signed. Raises ReceiptRefused where a value has more than one way to be written, or none."""
    signed = {name: value for name, value in receipt.items() if name != "signature"}
    for name, value in signed.items():
        if not (value is None or type(value) in (str, int)):
            raise ReceiptRefused(f"the receipt's {name} is {type(value).__name__}; expected a string, a whole number or null")
    try:
        return json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ReceiptRefused("the receipt holds half a surrogate pair; expected text that UTF-8 can hold") from None


def key_id(public: str) -> str:
    """The fingerprint of a public key (64 hexadecimal digits): SHA-256 of its 32 bytes."""
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicKey:
    """What everybody may know of a key that signs."""

    id: str
    public: str
    """64 hexadecimal digits."""
    since: float
    """When a worker first started with it; seconds since the epoch."""


class SigningKey:
    """The private half. Nothing that prints, compares or stores it shows it."""

    def __init__(self, private: str) -> None:
        """`private` is 64 hexadecimal digits. Raises Misconfigured, without them."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not _HALF.fullmatch(private):
            raise Misconfigured(f"the receipt key has {len(private)} characters; expected 64 hexadecimal digits, 32 random bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private))
        self.public = self._key.public_key().public_bytes_raw().hex()
        self.id = key_id(self.public)

    def sign(self, erasure: Erasure) -> Erasure:
        draft = document(erasure) | {"key": self.id}
        return replace(erasure, key=self.id, signature=self._key.sign(canonical(draft)).hex())

    def seal(self, draft: Mapping[str, Any]) -> dict[str, Any]:
        """A receipt of anything else: the draft with this key and its signature."""
        whole = {**draft, "key": self.id}
        return whole | {"signature": self._key.sign(canonical(whole)).hex()}


def unsealed(draft: Mapping[str, Any]) -> dict[str, Any]:
    """The same where there is no key."""
    return {**draft, "key": None, "signature": None}


def verify(receipt: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Returns where one of `keys` (public ones, 64 hexadecimal digits each) has signed exactly this receipt.

    `keys` are the caller's own knowledge: what a receipt says of its key only chooses among them.

    Raises:
        ReceiptRefused: says what was found and what was expected.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if receipt.get("version") not in VERSIONS:
        raise ReceiptRefused(f"the receipt's version is {str(receipt.get('version'))[:40]!r}; expected {' or '.join(map(repr, VERSIONS))}")
    signature, named = receipt.get("signature"), receipt.get("key")
    if signature is None:
        raise ReceiptRefused("the receipt is not signed; expected a signature")
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise ReceiptRefused("the receipt's signature is none; expected 128 hexadecimal digits")
    trusted = {key_id(key): key for key in map(_checked, keys)}
    if not isinstance(named, str) or named not in trusted:
        raise ReceiptRefused(f"the receipt names the key {str(named)[:64]}; expected one of the {len(trusted)} that are trusted")
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(trusted[named])).verify(bytes.fromhex(signature), canonical(receipt))
    except InvalidSignature:
        raise ReceiptRefused("the receipt is not what was signed: its signature does not fit what it says") from None


def _checked(public: str) -> str:
    if not _HALF.fullmatch(public):
        raise ReceiptRefused(f"a public key has {len(public)} characters; expected 64 hexadecimal digits")
    return public
