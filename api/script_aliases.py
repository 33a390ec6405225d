"""/v1/scripts/{script}/aliases: names that stand for a version, or for several with shares of the calls."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from api import bodies, documents
from api.answers import problems
from api.auth import TenantDep, known_parameters
from api.desk import DeskDep
from api.drafts import shape_of
from api.reading import JSON
from api.script_names import AliasName, ScriptName, asked_for_script, new_name, no_alias, no_script
from api.script_records import alias_record
from api.script_schemas import AliasDocument, AliasList, AliasRecord, TargetDocument
from fumehood.errors import BadField, BadRequest, Conflict, NotFound
from fumehood.script import LATEST, NUMBER_MAX, SHARES_MAX, Target

router = APIRouter(prefix="/v1/scripts/{script}/aliases", tags=["scripts"], dependencies=[Depends(known_parameters)])

DOCUMENT_BYTES = 64 * 1024
REFUSED = "the alias cannot stand for that"
_SET_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {"$ref": "#/components/schemas/AliasDocument"},
                "examples": {"one": {"summary": "All calls to one version", "value": {"versions": [{"number": 1}]}}},
            }
        },
    }
}


@router.get("", summary="List a script's aliases", response_model=AliasList, responses=problems(404))
async def list_aliases(script: ScriptName, desk: DeskDep, tenant: TenantDep) -> AliasList:
    """By name; `latest` comes first where a version is ready."""
    asked_for_script(script)
    try:
        found = await desk.ask(desk.store.list_aliases, tenant.id, script)
    except NotFound:
        raise no_script() from None
    return AliasList(items=[alias_record(script, alias) for alias in found])


@router.get("/{alias}", summary="An alias", response_model=AliasRecord, responses=problems(404))
async def read_alias(script: ScriptName, alias: AliasName, desk: DeskDep, tenant: TenantDep) -> AliasRecord:
    """What it stands for."""
    asked_for_script(script, alias)
    for one in (await list_aliases(script, desk, tenant)).items:
        if one.name == alias:
            return one
    raise no_alias()


@router.put(
    "/{alias}",
    summary="Set an alias",
    response_model=AliasRecord,
    responses=problems(400, 404, 408, 409, 413),
    openapi_extra=_SET_BODY,
)
async def set_alias(script: ScriptName, alias: AliasName, request: Request, desk: DeskDep, tenant: TenantDep) -> AliasRecord:
    """It stands for these versions from now on, which have to be ready. What it stood for is kept for `rollback`."""
    asked_for_script(script, alias)
    try:
        await desk.ask(desk.store.get_script, tenant.id, script)
    except NotFound:
        raise no_script() from None
    if new_name(alias, "alias") == LATEST:
        detail = f"{LATEST} always is the newest version that is ready; choose another name"
        raise BadRequest("the name cannot be used", errors=(BadField("/path/alias", detail),))
    body = await bodies.whole(request, limit_bytes=DOCUMENT_BYTES, idle_seconds=desk.settings.body_idle_seconds)
    document = shape_of(AliasDocument, documents.parse_object(body or b"{}"), refused=REFUSED, inner={"versions": TargetDocument})
    targets = _targets(document)
    try:
        made = await desk.ask(desk.store.set_alias, tenant.id, script, alias, targets)
    except NotFound:
        raise no_script() from None
    return alias_record(script, made)


@router.post("/{alias}/rollback", summary="Roll an alias back", response_model=AliasRecord, responses=problems(404, 409))
async def roll_back_alias(script: ScriptName, alias: AliasName, desk: DeskDep, tenant: TenantDep) -> AliasRecord:
    """It stands for what it stood for before; asked again, it is as it was. Refused (409) where there is nothing to go back to."""
    _require_own(await read_alias(script, alias, desk, tenant))
    return alias_record(script, await desk.ask(desk.store.roll_back, tenant.id, script, alias))


@router.delete("/{alias}", status_code=204, summary="Delete an alias", responses=problems(404, 409))
async def delete_alias(script: ScriptName, alias: AliasName, desk: DeskDep, tenant: TenantDep) -> None:
    """The versions stay."""
    _require_own(await read_alias(script, alias, desk, tenant))
    await desk.ask(desk.store.delete_alias, tenant.id, script, alias)


def _require_own(alias: AliasRecord) -> None:
    """Raises Conflict."""
    if alias.name == LATEST:
        raise Conflict(f"{LATEST} always is the newest version that is ready; it cannot be moved or deleted")


def _targets(document: AliasDocument) -> tuple[Target, ...]:
    """Raises BadRequest naming every fault."""
    said, faults = document.versions, []
    if not 1 <= len(said) <= SHARES_MAX:
        raise BadRequest(REFUSED, errors=(BadField("/versions", f"there are {len(said)}; expected 1 to {SHARES_MAX}"),))
    shares = [100 if one.share is None and len(said) == 1 else one.share for one in said]
    for place, (one, share) in enumerate(zip(said, shares, strict=True)):
        if not 1 <= one.number <= NUMBER_MAX:
            faults.append(BadField(f"/versions/{place}/number", f"there is no version {one.number}"))
        if [other.number for other in said].index(one.number) != place:
            faults.append(BadField(f"/versions/{place}/number", f"version {one.number} stands there twice"))
        if share is None or not 1 <= share <= 100:
            found = "is missing" if share is None else f"is {share}"
            faults.append(BadField(f"/versions/{place}/share", f"{found}; expected a whole number from 1 to 100"))
    total = sum(share or 0 for share in shares)
    if not faults and total != 100:
        faults.append(BadField("/versions", f"the shares are {total} together; expected 100"))
    if faults:
        raise BadRequest(REFUSED, errors=tuple(faults))
    return tuple(Target(one.number, share or 0) for one, share in zip(said, shares, strict=True))
