"""/v1/admin/audit: who did what. Written by the service, changed by nobody."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.admin_schemas import AuditEntry, AuditPage
from api.answers import PAGE_DEFAULT, Cursor, Limit, headers, link_next, problems
from api.auth import CallerDep, known_parameters
from api.desk import DeskDep
from fumehood.text import timestamp

router = APIRouter(prefix="/v1/admin/audit", tags=["admin"], dependencies=[Depends(known_parameters)])


@router.get(
    "",
    summary="Read the audit log",
    response_model=AuditPage,
    responses={200: {"description": "A page.", "headers": headers("Link")}, **problems()},
)
async def read_audit(
    response: Response,
    desk: DeskDep,
    caller: CallerDep,
    tenant: Annotated[str | None, Query(max_length=100, description="Only entries on things of the tenant with this `id`.")] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> AuditPage:
    """Newest first: every call that changed something, or was to, and every refused key. Refusals are written up to a number a minute."""
    entries, following = await desk.ask(desk.store.list_audit, tenant=tenant, before=cursor, limit=limit)
    link_next(response, "/v1/admin/audit", following, {"limit": limit, "tenant": tenant})
    shown = ("by_tenant", "by_key", "address", "action", "tenant", "target", "result")
    items = [AuditEntry(at=timestamp(entry.at) or "", **{name: getattr(entry, name) for name in shown}) for entry in entries]
    return AuditPage(items=items, next=following)
