"""Schemas of the operator's calls: tenants, keys, the audit log."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas import Request
from fumehood.tenant import WEIGHT_RANGE, Scope, TenantState

TENANT_EXAMPLE = {"name": "chemistry", "weight": 2, "quota": {"running_jobs": 8, "ceiling": {"wall_seconds": 600}}}
KEY_EXAMPLE = {"name": "nightly run", "scopes": ["submit", "read"], "lifetime_days": 90}

_QUOTA = "What differs from the operator's quota, by name; null is the operator's again."
_RETENTION = "What differs from the operator's lifetimes, by name; null is the operator's again."


class TenantChange(Request):
    """What is not named stays."""

    weight: float | None = Field(
        None, ge=WEIGHT_RANGE[0], le=WEIGHT_RANGE[1], description="Share of the slots, against the weights of others that want some."
    )
    quota: dict[str, Any] | None = Field(None, description=_QUOTA)
    retention: dict[str, Any] | None = Field(None, description=_RETENTION)


class TenantDocument(TenantChange):
    name: str = Field(
        description="1 to 63 of a-z, 0-9, `.`, `_` and `-`; no `ten_` in front.",
        json_schema_extra={"pattern": "^(?!ten_)[a-z0-9][a-z0-9._-]{0,62}$"},
    )


class TenantRecord(BaseModel):
    """A tenant, and what holds for it: its own where it has some, else the operator's."""

    id: str
    name: str
    state: TenantState
    weight: float
    quota: dict[str, Any]
    retention: dict[str, float]
    created_at: str


class TenantPage(BaseModel):
    items: list[TenantRecord]
    next: str | None = Field(description="`cursor` of the next page; null on the last one.")


class TenantReceipt(BaseModel):
    """That nothing of a tenant is left: looked for, and signed by the worker that did."""

    version: str
    tenant: str
    name: str
    worker: str
    requested_at: str
    erased_at: str
    jobs: int
    batches: int
    datasets: int
    keys: int
    rows: int = Field(description="All others.")
    files: int
    bytes: int
    key: str | None
    signature: str | None


class KeyDocument(Request):
    name: str = Field("", max_length=128, description="For people.")
    scopes: list[Literal["submit", "read", "admin"]] = Field(
        default=["submit", "read"], description="What it may be used for; one does not mean another."
    )
    lifetime_days: float | None = Field(None, gt=0, le=36500, description="For ever where none is given.")


class RotateDocument(Request):
    overlap_seconds: float = Field(86400, ge=0, le=31_536_000, description="How long the old key still works.")


class KeyRecord(BaseModel):
    prefix: str = Field(description="The public part, between the underscores.")
    tenant: str
    name: str
    scopes: list[Scope]
    live: bool
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    used_at: str | None = Field(description="Last use, within about a minute.")
    replaced_by: str | None = Field(description="Prefix of the key that was made in its place.")


class NewKey(KeyRecord):
    key: str = Field(description="The key itself. It is shown here once, and kept nowhere.")


class KeyList(BaseModel):
    items: list[KeyRecord]


class AuditEntry(BaseModel):
    at: str
    by_tenant: str | None
    by_key: str | None = Field(description="Prefix of the key that was shown.")
    address: str | None = Field(description="Where the connection came from.")
    action: str = Field(description="The operation's name in this document.")
    tenant: str | None = Field(description="Whose thing it is.")
    target: str | None
    result: str = Field(description="`ok`, or the status of the refusal.")


class AuditPage(BaseModel):
    items: list[AuditEntry]
    next: str | None = Field(description="`cursor` of the next page; null on the last one.")
