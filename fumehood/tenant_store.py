"""Tenants and keys: the verbs of the job store that say who may ask for what."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from fumehood.audit_store import AuditLog
from fumehood.errors import BadField, BadRequest, Conflict, Misconfigured, NotFound, Suspended
from fumehood.job import new_id
from fumehood.quota import Quota
from fumehood.schema import API_KEYS, TENANT_ERASURES, TENANTS
from fumehood.tenant import (
    NAME_PATTERN,
    TENANT_SCOPES,
    WEIGHT_RANGE,
    Caller,
    Key,
    Scope,
    Tenant,
    TenantState,
    hash_key,
    key_matches,
    key_prefix,
    read_scopes,
    secret_from,
    write_scopes,
)

BOOTSTRAP_KEY_NAME = "bootstrap"


class Tenants(AuditLog):
    """The part of `JobStore` that knows tenants."""

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

    def create_tenant(
        self,
        name: str,
        *,
        weight: float = 1.0,
        quota: Mapping[str, Any] | None = None,
        retention: Mapping[str, Any] | None = None,
    ) -> Tenant:
        """Raises BadRequest; Conflict where there is one of this name, or one that was is still being deleted."""
        if not NAME_PATTERN.fullmatch(name) or name.startswith("ten_"):
            expected = "expected 1 to 63 of a-z, 0-9, `.`, `_` and `-`, the first a letter or a digit, and no `ten_` in front"
            raise BadRequest("the tenant is not usable", errors=(BadField("/name", expected),))
        values = {"id": new_id("ten"), "name": name, "created_at": self._clock()} | self._checked(weight, quota, retention)
        try:
            with self._database.writing() as connection:
                row = connection.execute(insert(TENANTS).values(values).returning(*TENANTS.c)).one()
                self._note(connection, row.id, tenant=row.id)
                return self._tenant(row)
        except IntegrityError as error:
            raise Conflict(f"there is a tenant {name!r} already") from error

    def get_tenant(self, which: str) -> Tenant:
        """By id or name. Raises NotFound."""
        with self._database.reading() as connection:
            return self._tenant(find_tenant(connection, which))

    def list_tenants(self, *, after: str | None = None, limit: int = 50) -> tuple[list[Tenant], str | None]:
        """By name; the second value is the cursor of the next page: a name."""
        query = select(TENANTS).order_by(TENANTS.c.name).limit(limit + 1)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(TENANTS.c.name > after) if after is not None else query).all()
        return [self._tenant(row) for row in rows[:limit]], rows[limit - 1].name if len(rows) > limit else None

    def change_tenant(
        self,
        which: str,
        *,
        state: TenantState | None = None,
        weight: float | None = None,
        quota: Mapping[str, Any] | None = None,
        retention: Mapping[str, Any] | None = None,
    ) -> Tenant:
        """What is not None. Of `quota` and `retention`, what is named is changed, and what is named as None is the operator's again.

        Raises NotFound; BadRequest; Conflict where the tenant is being deleted.
        """
        assert state is not TenantState.DELETING
        with self._database.writing() as connection:
            row = find_tenant(connection, which, lock=True)
            if row.state == TenantState.DELETING.value:
                raise Conflict(f"tenant {row.id} is being deleted")
            merged = [None if new is None else _merged(old, new) for old, new in ((row.quota, quota), (row.retention, retention))]
            values = self._checked(weight, *merged) | ({"state": state.value} if state else {})
            if values:
                row = connection.execute(update(TENANTS).where(TENANTS.c.id == row.id).values(values).returning(*TENANTS.c)).one()
            self._note(connection, row.id, tenant=row.id)
            return self._tenant(row)

    def _checked(self, weight: float | None, quota: Mapping[str, Any] | None, retention: Mapping[str, Any] | None) -> dict[str, Any]:
        """The columns. Raises BadRequest, with every fault of all three."""
        faults: list[BadField] = []
        low, high = WEIGHT_RANGE
        if weight is not None and not low <= weight <= high:
            faults.append(BadField("/weight", f"weight is {weight:g}; expected a number from {low:g} to {high:g}"))
        for document, check in ((quota, self._defaults.quota_with), (retention, self._defaults.retention_with)):
            try:
                check(document)
            except BadRequest as error:
                faults += error.errors
        if faults:
            raise BadRequest("the tenant is not usable", errors=tuple(faults))
        given = {
            "weight": weight,
            "quota": None if quota is None else dict(quota),
            "retention": None if retention is None else dict(retention),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _admit(self, connection: Connection, tenant: str) -> Quota:
        """What the tenant may have. Nothing is accepted any more for who is being deleted, or is gone; whoever deletes waits for this
        transaction's end. Raises Suspended."""
        row = connection.execute(_state(), {"of_id": tenant}).one_or_none()
        gone = row.state == TenantState.DELETING.value if row else connection.execute(_erased(), {"of_id": tenant}).one_or_none()
        if gone:
            raise Suspended("the tenant is being deleted")
        return self._defaults.quota_with(row.quota if row else None)

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
        known = key_from_row(row, prefix="key_")
        if not known.live(now=self._clock()):
            return None
        return Caller(tenant=self._tenant(row), key=known, secret=secret_from(row.first_salt))

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


def find_tenant(connection: Connection, which: str, *, lock: bool = False) -> Row[Any]:
    """By id or name; a name never begins as an id does. Raises NotFound."""
    query = select(TENANTS).where((TENANTS.c.id if which.startswith("ten_") else TENANTS.c.name) == which)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound("there is no such tenant")
    return row


def _merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """As RFC 7396 merges: null takes away."""
    merged = dict(old or {})
    for name, value in new.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value) if isinstance(value, dict) else value
    return merged


_KEY_COLUMNS = ("prefix", "tenant", "name", "scopes", "created_at", "expires_at", "revoked_at", "used_at", "replaced_by")


def key_from_row(stored: Row[Any], *, prefix: str = "") -> Key:
    values = {name: stored._mapping[prefix + name] for name in _KEY_COLUMNS}
    return Key(**(values | {"scopes": read_scopes(values["scopes"])}))


@cache
def _owner_of_key() -> Select[Any]:
    """Built once (see fumehood.moves)."""
    of_key = [API_KEYS.c[name].label(f"key_{name}") for name in _KEY_COLUMNS]
    # That of the first key, which stays for as long as the tenant does: random, and never shown.
    first = API_KEYS.alias("first")
    salt = select(first.c.salt).where(first.c.tenant == TENANTS.c.id).order_by(first.c.created_at, first.c.prefix).limit(1)
    secret = salt.scalar_subquery().label("first_salt")
    owner = select(TENANTS, API_KEYS.c.salt, API_KEYS.c.digest, secret, *of_key).join(API_KEYS, API_KEYS.c.tenant == TENANTS.c.id)
    return owner.where(API_KEYS.c.prefix == bindparam("of_prefix"))


@cache
def _state() -> Select[Any]:
    # PostgreSQL: held until the transaction ends, against a deletion and nothing else.
    return select(TENANTS.c.state, TENANTS.c.quota).where(TENANTS.c.id == bindparam("of_id")).with_for_update(read=True, key_share=True)


@cache
def _erased() -> Select[Any]:
    return select(TENANT_ERASURES.c.tenant).where(TENANT_ERASURES.c.tenant == bindparam("of_id"))
