"""Tenant: who a request belongs to. Keys are shown once and stored hashed."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    id: str
    name: str


KEY_PATTERN = re.compile(r"fh_([0-9a-f]{12})_([0-9a-f]{64})")


def new_key() -> str:
    """A key such as `fh_<12 hex: its public prefix>_<64 hex: 256 secret bits>`."""
    return f"fh_{secrets.token_hex(6)}_{secrets.token_hex(32)}"


def key_prefix(key: str) -> str | None:
    """The public part that finds a key's row; None where `key` is not a key at all."""
    match = KEY_PATTERN.fullmatch(key)
    return match.group(1) if match else None


def hash_key(key: str, salt: bytes) -> bytes:
    """A salted SHA-256. The secret has 256 random bits, so a slow hash would protect nothing and cost every request."""
    return hashlib.sha256(salt + key.encode()).digest()


def key_matches(key: str, salt: bytes, digest: bytes) -> bool:
    return hmac.compare_digest(hash_key(key, salt), digest)
