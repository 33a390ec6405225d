"""Tenants and keys: the verbs of the job store that say who may ask for what."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, select

from fumehood.database import BUSY_SECONDS, Database
from fumehood.errors import Misconfigured
from fumehood.job import new_id
from fumehood.quota import Defaults
from fumehood.schema import API_KEYS, TENANTS
from fumehood.tenant import (
    TENANT_SCOPES,
    Caller,
    Key,
    Scope,
    Tenant,
    TenantState,
    hash_key,
    key_matches,
    key_prefix,
    read_scopes,
    write_scopes,
)

BOOTSTRAP_KEY_NAME = "bootstrap"


class Tenants:
    """The part of `JobStore` that knows tenants. `defaults` hold where a tenant's own documents say nothing."""

    def __init__(
        self,
        url: str,
        *,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
        defaults: Defaults | None = None,
    ) -> None:
        self._database = Database(url, busy_seconds=busy_seconds)
        self._clock = clock
        self._defaults = defaults or Defaults()

    def ensure_tenant(self, name: str, key: str, *, scopes: frozenset[Scope] = TENANT_SCOPES) -> Tenant:
        """The tenant called `name`, made if absent, with `key` as one of its keys (stored hashed); a key that is known already keeps
        its own scopes, and stays revoked where it was. A tenant that is being deleted gets none.

        Raises:
            Misconfigured: `key` does not have the form of a key, or its prefix belongs to another key.
        """
        prefix = key_prefix(key)
        if prefix is None:
            raise Misconfigured("the key is not one: expected fh_, 12 hexadecimal digits, _, 64 hexadecimal digits")
        with self._database.writing() as connection:
            made = {"id": new_id("ten"), "name": name, "created_at": self._clock()}
            tenant = self._database.insert_or_get(connection, TENANTS, made, unique=("name",))
            if tenant.state != TenantState.DELETING.value:
                stored = self._hashed(key, prefix) | {"tenant": tenant.id, "name": BOOTSTRAP_KEY_NAME, "scopes": write_scopes(scopes)}
                known = self._database.insert_or_get(connection, API_KEYS, stored, unique=("prefix",))
                if known.tenant != tenant.id or not key_matches(key, known.salt, known.digest):
                    raise Misconfigured(f"the key's prefix {prefix} belongs to another key; make a new one")
        return self._tenant(tenant)

    def caller_of_key(self, key: str) -> Caller | None:
        """Who asks with this key; None where it is not known, has expired or was revoked. Suspended tenants are found too.

        Asked by every request and never remembered: a key that was revoked is refused at once.
        """
        prefix = key_prefix(key)
        if prefix is None:
            return None
        with self._database.reading() as connection:
            row = connection.execute(_owner_of_key(), {"of_prefix": prefix}).one_or_none()
        if row is None or not key_matches(key, row.salt, row.digest):
            return None
        known = _key(row, prefix="key_")
        return Caller(tenant=self._tenant(row), key=known) if known.live(now=self._clock()) else None

    def tenant_of_key(self, key: str) -> Tenant | None:
        """Its tenant, whatever the key may be used for."""
        caller = self.caller_of_key(key)
        return caller.tenant if caller else None

    def _hashed(self, key: str, prefix: str) -> dict[str, Any]:
        salt = secrets.token_bytes(16)
        return {"prefix": prefix, "salt": salt, "digest": hash_key(key, salt), "created_at": self._clock()}

    def _tenant(self, row: Row[Any]) -> Tenant:
        return Tenant(
            id=row.id,
            name=row.name,
            state=TenantState(row.state),
            weight=row.weight,
            quota=self._defaults.quota_with(row.quota),
            retention=self._defaults.retention_with(row.retention),
            created_at=row.created_at,
        )


_KEY_COLUMNS = ("prefix", "tenant", "name", "scopes", "created_at", "expires_at", "revoked_at", "used_at")


def _key(stored: Row[Any], *, prefix: str = "") -> Key:
    values = {name: stored._mapping[prefix + name] for name in _KEY_COLUMNS}
    return Key(**(values | {"scopes": read_scopes(values["scopes"])}))


@cache
def _owner_of_key() -> Select[Any]:
    """Built once (see fumehood.moves)."""
    of_key = [API_KEYS.c[name].label(f"key_{name}") for name in _KEY_COLUMNS]
    owner = select(TENANTS, API_KEYS.c.salt, API_KEYS.c.digest, *of_key).join(API_KEYS, API_KEYS.c.tenant == TENANTS.c.id)
    return owner.where(API_KEYS.c.prefix == bindparam("of_prefix"))
