"""/v1/admin/tenants: the operator makes, lists, changes, suspends and deletes tenants, and their keys."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from api import bodies, documents
from api.admin_schemas import (
    KEY_EXAMPLE,
    TENANT_EXAMPLE,
    KeyDocument,
    KeyList,
    KeyRecord,
    NewKey,
    RotateDocument,
    TenantChange,
    TenantDocument,
    TenantPage,
    TenantReceipt,
    TenantRecord,
)
from api.answers import PAGE_DEFAULT, Cursor, Limit, headers, link_next, problems
from api.auth import CallerDep, known_parameters
from api.desk import Desk, DeskDep
from api.drafts import Document, shape_of
from api.names import showable
from api.problems import UnknownMediaType
from fumehood.errors import BadField, BadRequest, Conflict
from fumehood.tenant import Key, Scope, Tenant, TenantState
from fumehood.text import timestamp

router = APIRouter(prefix="/v1/admin/tenants", tags=["admin"], dependencies=[Depends(known_parameters)])

JSON = "application/json"
DAY_SECONDS = 86_400
Which = Annotated[str, Path(description="A tenant's `id`, or its name.", examples=["ten_00000000000000000000000000000000"])]
Prefix = Annotated[str, Path(description="A key's `prefix`.", examples=["000000000000"])]
BODY = (400, 408, 413, 415)


def _body(model: str, example: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"requestBody": {"required": required, "content": {JSON: {"schema": schema, "example": example}}}}


async def _read(request: Request, desk: Desk, model: type[Document]) -> Document:
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise UnknownMediaType(f"the Content-Type is {kind[:80]!r}; expected {JSON}", available=[JSON])
    body = await bodies.whole(request, limit_bytes=64 * 1024, idle_seconds=desk.settings.body_idle_seconds)
    return shape_of(model, documents.parse_object(body or b"{}"), refused="the document cannot be used", inner={})


@router.post(
    "", status_code=201, summary="Make a tenant", response_model=TenantRecord, openapi_extra=_body("TenantDocument", TENANT_EXAMPLE),
    responses={201: {"description": "Its record.", "headers": headers("Location")}, **problems(409, *BODY)},
)  # fmt: skip
async def create_tenant(request: Request, response: Response, desk: DeskDep, caller: CallerDep) -> TenantRecord:
    """It has no key yet."""
    document = await _read(request, desk, TenantDocument)
    tenant = await desk.ask(
        desk.store.create_tenant,
        document.name,
        weight=1.0 if document.weight is None else document.weight,
        quota=document.quota,
        retention=document.retention,
    )
    response.headers["Location"] = f"/v1/admin/tenants/{tenant.id}"
    return tenant_record(tenant)


@router.get(
    "",
    summary="List tenants",
    response_model=TenantPage,
    responses={200: {"description": "A page.", "headers": headers("Link")}, **problems()},
)
async def list_tenants(
    response: Response, desk: DeskDep, caller: CallerDep, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> TenantPage:
    """By name."""
    tenants, following = await desk.ask(desk.store.list_tenants, after=cursor, limit=limit)
    link_next(response, "/v1/admin/tenants", following, {"limit": limit})
    return TenantPage(items=[tenant_record(tenant) for tenant in tenants], next=following)


@router.get("/{tenant}", summary="A tenant's record", response_model=TenantRecord, responses=problems(404))
async def read_tenant(tenant: Which, desk: DeskDep, caller: CallerDep) -> TenantRecord:
    """With the quota and the lifetimes that hold for it."""
    return tenant_record(await desk.ask(desk.store.get_tenant, tenant))


@router.patch(
    "/{tenant}", summary="Change a tenant", response_model=TenantRecord, responses=problems(404, 409, *BODY),
    openapi_extra=_body("TenantChange", {"weight": 2, "quota": {"running_jobs": 8, "queued_jobs": None}}),
)  # fmt: skip
async def change_tenant(tenant: Which, request: Request, desk: DeskDep, caller: CallerDep) -> TenantRecord:
    """Weight, quota, lifetimes: what is named. It holds from now on."""
    document = await _read(request, desk, TenantChange)
    changed = await desk.ask(desk.store.change_tenant, tenant, weight=document.weight, quota=document.quota, retention=document.retention)
    return tenant_record(changed)


@router.post("/{tenant}/suspend", summary="Suspend a tenant", response_model=TenantRecord, responses=problems(404, 409))
async def suspend_tenant(tenant: Which, desk: DeskDep, caller: CallerDep) -> TenantRecord:
    """Its keys are refused (403), its queued jobs wait, and what runs ends. Not the caller's own."""
    await _require_other(desk, caller.tenant, tenant)
    return tenant_record(await desk.ask(desk.store.change_tenant, tenant, state=TenantState.SUSPENDED))


@router.post("/{tenant}/resume", summary="Resume a tenant", response_model=TenantRecord, responses=problems(404, 409))
async def resume_tenant(tenant: Which, desk: DeskDep, caller: CallerDep) -> TenantRecord:
    """Its keys are good again, and its queued jobs run."""
    return tenant_record(await desk.ask(desk.store.change_tenant, tenant, state=TenantState.ACTIVE))


@router.delete("/{tenant}", status_code=202, summary="Delete a tenant", response_model=TenantRecord, responses=problems(404, 409))
async def delete_tenant(tenant: Which, desk: DeskDep, caller: CallerDep) -> TenantRecord:
    """Everything of it: from now on nothing is accepted, what runs is cancelled, and a worker erases the rest. There is a receipt as soon
    as nothing is left. Not the caller's own."""
    await _require_other(desk, caller.tenant, tenant)
    return tenant_record(await desk.ask(desk.store.begin_erasure, tenant))


@router.get("/{tenant}/receipt", summary="The receipt of a deleted tenant", response_model=TenantReceipt, responses=problems(404, 409))
async def read_tenant_receipt(
    tenant: Annotated[str, Path(description="The `id` that the tenant had.", examples=["ten_00000000000000000000000000000000"])],
    desk: DeskDep,
    caller: CallerDep,
) -> TenantReceipt:
    """Kept when the tenant is gone. 409 as long as something is left."""
    return TenantReceipt(**await desk.ask(desk.store.tenant_receipt, tenant))


# keys --------------------------------------------------------------------------------------------------------------------
@router.post(
    "/{tenant}/keys", status_code=201, summary="Make a key", response_model=NewKey, responses=problems(404, 409, *BODY),
    openapi_extra=_body("KeyDocument", KEY_EXAMPLE),
)  # fmt: skip
async def create_key(tenant: Which, request: Request, desk: DeskDep, caller: CallerDep) -> NewKey:
    """The key is in this answer and nowhere else: the service keeps a salted hash."""
    document = await _read(request, desk, KeyDocument)
    if not showable(document.name):
        raise BadRequest("the document cannot be used", errors=(BadField("/name", "expected one line of characters"),))
    expires_at = None if document.lifetime_days is None else time.time() + document.lifetime_days * DAY_SECONDS
    key, secret = await desk.ask(
        desk.store.create_key, tenant, name=document.name, scopes=frozenset(map(Scope, document.scopes)), expires_at=expires_at
    )
    return NewKey(**_shown(key), key=secret)


@router.get("/{tenant}/keys", summary="List a tenant's keys", response_model=KeyList, responses=problems(404))
async def list_keys(tenant: Which, desk: DeskDep, caller: CallerDep) -> KeyList:
    """All that it ever had, the newest first."""
    return KeyList(items=[KeyRecord(**_shown(key)) for key in await desk.ask(desk.store.list_keys, tenant)])


@router.delete("/{tenant}/keys/{prefix}", status_code=204, summary="Revoke a key", responses=problems(404, 409))
async def revoke_key(tenant: Which, prefix: Prefix, desk: DeskDep, caller: CallerDep) -> None:
    """At once. Not the one that asks: a service whose last key of an operator is gone could not be had back by its own means."""
    if prefix == caller.key.prefix:
        raise Conflict("a key cannot revoke itself; use another one")
    await desk.ask(desk.store.revoke_key, tenant, prefix)


@router.post(
    "/{tenant}/keys/{prefix}/rotate", status_code=201, summary="Replace a key", response_model=NewKey, responses=problems(404, 409, *BODY),
    openapi_extra=_body("RotateDocument", {"overlap_seconds": 3600}, required=False),
)  # fmt: skip
async def rotate_key(tenant: Which, prefix: Prefix, request: Request, desk: DeskDep, caller: CallerDep) -> NewKey:
    """A new key with the name, the scopes and the lifetime of the old one, which still works for as long as they overlap."""
    document = await _read(request, desk, RotateDocument)
    key, secret = await desk.ask(desk.store.rotate_key, tenant, prefix, overlap_seconds=document.overlap_seconds)
    return NewKey(**_shown(key), key=secret)


async def _require_other(desk: Desk, own: Tenant, which: str) -> None:
    if (await desk.ask(desk.store.get_tenant, which)).id == own.id:
        raise Conflict("this is the tenant of the key that asks; use the key of another one")


def tenant_record(tenant: Tenant) -> TenantRecord:
    return TenantRecord(
        id=tenant.id,
        name=tenant.name,
        state=tenant.state,
        weight=tenant.weight,
        quota=tenant.quota.as_dict(),
        retention=tenant.retention.as_dict(),
        created_at=timestamp(tenant.created_at) or "",
    )


def _shown(key: Key) -> dict[str, Any]:
    times = {name: timestamp(getattr(key, name)) for name in ("created_at", "expires_at", "revoked_at", "used_at")}
    who = {"prefix": key.prefix, "tenant": key.tenant, "name": key.name, "scopes": sorted(key.scopes), "live": key.live(now=time.time())}
    return who | times | {"replaced_by": key.replaced_by}
