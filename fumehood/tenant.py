"""Tenant: who a request belongs to, what it may have, and what a key of it may be used for. Keys are shown once and stored hashed."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from fumehood.quota import Quota, Retention

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
WEIGHT_RANGE = (0.01, 100.0)


class TenantState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Its keys are refused and its queued jobs wait; what runs ends. The operator suspends and resumes."""
    DELETING = "deleting"
    """As suspended, for ever: a worker erases what it has, and then the tenant itself."""


class Scope(StrEnum):
    """What a key may be used for; one does not mean another."""

    SUBMIT = "submit"
    """Whatever makes, changes or deletes something of the tenant."""
    READ = "read"
    ADMIN = "admin"
    """The operator's: tenants, keys, the audit log, metrics."""


ALL_SCOPES = frozenset(Scope)
TENANT_SCOPES = frozenset({Scope.SUBMIT, Scope.READ})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    id: str
    name: str
    state: TenantState = TenantState.ACTIVE
    weight: float = 1.0
    """Its share of the slots, against the weights of the others that want some."""
    quota: Quota = field(default_factory=Quota)
    """What holds: its own where it has one, else the operator's."""
    retention: Retention = field(default_factory=Retention)
    created_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What may be known of a key; the key itself nobody knows but its holder."""

    prefix: str
    """The public part, between the two underscores."""
    tenant: str
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    used_at: float | None = None
    """The last use, within a minute."""
    replaced_by: str | None = None
    """The prefix of the key that was made in its place."""

    def live(self, *, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who a request comes from: a tenant, by one of its live keys."""

    tenant: Tenant
    key: Key
    secret: bytes = field(repr=False)
    """Of the tenant and nobody's to see: the same for all of its keys, for as long as it is there."""


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


def secret_from(salt: bytes) -> bytes:
    """What a salt is used for beside the digest of its key, without telling it."""
    return hashlib.sha256(b"tenant secret" + salt).digest()


def write_scopes(scopes: frozenset[Scope]) -> str:
    """As rows hold them."""
    return " ".join(sorted(scopes))


def read_scopes(text: str) -> frozenset[Scope]:
    return frozenset(Scope(word) for word in text.split())
