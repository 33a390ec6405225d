"""Keys of tenants: the verbs of the job store that make, list, end and replace them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from fumehood.errors import BadField, BadRequest, Conflict, NotFound
from fumehood.schema import API_KEYS
from fumehood.tenant import Key, Scope, TenantState, key_prefix, new_key, write_scopes
from fumehood.tenant_store import Tenants, find_tenant, key_from_row

KEYS_MAX = 1000
"""Of a tenant, that live; so many are listed."""
USED_SECONDS = 60.0
"""How exactly the last use of a key is known: it is written no more often."""


class Keys(Tenants):
    """The part of `JobStore` that makes keys, and ends them."""

    def create_key(self, which: str, *, name: str, scopes: frozenset[Scope], expires_at: float | None = None) -> tuple[Key, str]:
        """A new key of the tenant, and the key itself, which is nowhere afterwards.

        Raises NotFound; BadRequest; Conflict where the tenant is being deleted, or has as many as it may.
        """
        faults = [] if scopes else [BadField("/scopes", "are none; expected at least one")]
        if expires_at is not None and expires_at <= self._clock():
            faults.append(BadField("/expires_at", "is past"))
        if faults:
            raise BadRequest("the key cannot be made", errors=tuple(faults))
        with self._database.writing() as connection:
            tenant = self._open(connection, which)
            return self._make(connection, tenant, name=name, scopes=scopes, expires_at=expires_at)

    def list_keys(self, which: str) -> list[Key]:
        """What the tenant has and had, the newest first. Raises NotFound."""
        with self._database.reading() as connection:
            tenant = find_tenant(connection, which).id
            newest = select(API_KEYS).where(API_KEYS.c.tenant == tenant).order_by(API_KEYS.c.created_at.desc(), API_KEYS.c.prefix)
            return [key_from_row(row) for row in connection.execute(newest.limit(KEYS_MAX))]

    def revoke_key(self, which: str, prefix: str) -> Key:
        """From now on, everywhere. Asking twice is fine. Raises NotFound."""
        with self._database.writing() as connection:
            key = self._find(connection, which, prefix)
            ended = {"revoked_at": func.coalesce(API_KEYS.c.revoked_at, self._clock())}
            row = connection.execute(update(API_KEYS).where(API_KEYS.c.prefix == key.prefix).values(ended).returning(*API_KEYS.c)).one()
            self._note(connection, prefix, tenant=key.tenant)
            return key_from_row(row)

    def rotate_key(self, which: str, prefix: str, *, overlap_seconds: float) -> tuple[Key, str]:
        """A new key with the name, the scopes and the lifetime of a live one, which ends after the overlap at the latest.

        Raises NotFound; Conflict where the old one has ended, or was replaced already.
        """
        now = self._clock()
        with self._database.writing() as connection:
            old = self._find(connection, which, prefix)
            if not old.live(now=now):
                raise Conflict(f"key {prefix} has ended; make a new one instead")
            if old.replaced_by is not None:  # Its lifetime is the overlap's by now.
                raise Conflict(f"key {prefix} was replaced by {old.replaced_by}; expected one that was not")
            tenant = self._open(connection, old.tenant)
            lifetime = None if old.expires_at is None else old.expires_at - old.created_at
            made = self._make(connection, tenant, name=old.name, scopes=old.scopes, expires_at=None if lifetime is None else now + lifetime)
            ends = min(now + overlap_seconds, old.expires_at if old.expires_at is not None else now + overlap_seconds)
            ending = {"expires_at": ends, "replaced_by": made[0].prefix}
            connection.execute(update(API_KEYS).where(API_KEYS.c.prefix == prefix).values(ending))
            return made

    def key_used(self, prefix: str) -> None:
        """Remember that a key is in use; what was written within the last minute stands."""
        now = self._clock()
        stale = or_(API_KEYS.c.used_at.is_(None), API_KEYS.c.used_at <= now - USED_SECONDS)
        with self._database.writing() as connection:
            connection.execute(update(API_KEYS).where(API_KEYS.c.prefix == prefix, stale).values(used_at=now))

    def _make(
        self, connection: Connection, tenant: str, *, name: str, scopes: frozenset[Scope], expires_at: float | None
    ) -> tuple[Key, str]:
        ends_later = or_(API_KEYS.c.expires_at.is_(None), API_KEYS.c.expires_at > self._clock())
        live = select(func.count()).where(API_KEYS.c.tenant == tenant, API_KEYS.c.revoked_at.is_(None), ends_later)
        count = connection.execute(live).scalar_one()
        if count >= KEYS_MAX:
            raise Conflict(f"the tenant has {count:,} keys, which is the limit; revoke some")
        key = new_key()
        prefix = key_prefix(key)
        assert prefix is not None
        values: dict[str, Any] = {"tenant": tenant, "name": name, "scopes": write_scopes(scopes), "expires_at": expires_at}
        row = connection.execute(insert(API_KEYS).values(self._hashed(key, prefix) | values).returning(*API_KEYS.c)).one()
        self._note(connection, prefix, tenant=tenant)
        return key_from_row(row), key

    def _open(self, connection: Connection, which: str) -> str:
        """The id of a tenant that may still get keys."""
        tenant = find_tenant(connection, which, lock=True)
        if tenant.state == TenantState.DELETING.value:
            raise Conflict(f"tenant {tenant.id} is being deleted")
        return str(tenant.id)

    def _find(self, connection: Connection, which: str, prefix: str) -> Key:
        tenant = find_tenant(connection, which)
        query = select(API_KEYS).where(API_KEYS.c.prefix == prefix, API_KEYS.c.tenant == tenant.id)
        row = connection.execute(query.with_for_update()).one_or_none()
        if row is None:
            raise NotFound("there is no such key")
        return key_from_row(row)
