"""/v1/scripts/{script}/openapi.json and /help: a script's own description, for programs and for people."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from api.answers import Responses, problems
from api.auth import CredentialsDep, TenantDep, caller_of, known_parameters
from api.content import accept_of
from api.desk import Desk, DeskDep
from api.script_help import DOOR, DOOR_HEADERS, PAGE_HEADERS, help_page
from api.script_names import ScriptName, asked_for_script, no_alias, no_script
from api.script_openapi import Sample, script_document
from api.script_records import script_record, version_record, version_summary
from api.script_samples import asked
from api.scripts import find_version
from fumehood.errors import BadField, BadRequest, Conflict, NotFound
from fumehood.script import LATEST, Alias, Script, Version, VersionState
from fumehood.tenant import Tenant

router = APIRouter(prefix="/v1/scripts/{script}", tags=["scripts"], dependencies=[Depends(known_parameters)])

HTML = "text/html"
VERSIONS_SHOWN = 20
ChosenVersion = Annotated[int | None, Query(description="Number of the version; the latest where neither it nor `alias` is said.")]
ChosenAlias = Annotated[str | None, Query(description="An alias; of several versions that it stands for, the one with the greatest share.")]
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_OPENAPI: Responses = {200: {"description": "An OpenAPI document (3.1), of this script's calls alone.", "model": dict[str, Any]}}
_HELP: Responses = {200: {"description": "The page. It has no script in it.", "content": {HTML: {"schema": {"type": "string"}}}}}


def _with_a_door(described: Responses) -> Responses:
    described[401]["content"][HTML] = {"schema": {"type": "string"}}
    described[401]["description"] += "; to a browser, a page that asks for one"
    return described


@router.get("/openapi.json", summary="A script's own OpenAPI document", responses={**_OPENAPI, **problems(404, 409)})
async def read_script_openapi(
    script: ScriptName, request: Request, desk: DeskDep, tenant: TenantDep, version: ChosenVersion = None, alias: ChosenAlias = None
) -> Response:
    """Its calls with the columns and parameters that the check recorded, to make a client of."""
    _, _, chosen = await _chosen(desk, tenant, script, version, alias)
    given = chosen.inputs.get("dataset1")
    address = f"{_origin(request)}/v1/scripts/{script}/versions/{chosen.number}/sample"
    sample = Sample(address=address, format=given.format) if given is not None else None
    whole = request.app.openapi()
    return await desk.parse(lambda: JSONResponse(script_document(version_record(chosen), _said(version, alias), whole, sample)))


async def reader_of(request: Request, desk: DeskDep, credentials: CredentialsDep) -> Tenant | None:
    """None where a browser comes without a key: it has no way to send one with the first request. Raises as `caller_of`."""
    if credentials is None and "authorization" not in request.headers and HTML in (accept_of(request) or ""):
        return None
    return (await caller_of(request, desk, credentials)).tenant


@router.get(
    "/help",
    summary="A script's help page",
    response_class=HTMLResponse,
    responses={**_HELP, **_with_a_door(problems(404, 409))},
)
async def read_script_help(
    script: ScriptName,
    request: Request,
    desk: DeskDep,
    tenant: Annotated[Tenant | None, Depends(reader_of)],
    version: ChosenVersion = None,
    alias: ChosenAlias = None,
) -> Response:
    """For people: its columns, parameters and limits, sample calls for curl, Python and R, and a form to try it. Opened in a browser, it
    asks for a key first."""
    if tenant is None:
        return HTMLResponse(DOOR, 401, {**DOOR_HEADERS, "WWW-Authenticate": 'Bearer realm="fumehood"'})
    found, aliases, chosen = await _chosen(desk, tenant, script, version, alias)
    recent, _ = await desk.ask(desk.store.list_versions, tenant.id, script, limit=VERSIONS_SHOWN)
    said, address = _said(version, alias), f"{_origin(request)}/v1/scripts/{script}/score"

    def page() -> str:
        record, summaries = version_record(chosen), [version_summary(one) for one in recent]
        return help_page(
            script_record(found, aliases), record, summaries, asked(record, address, said), f"?{urlencode(said)}" if said else ""
        )

    return HTMLResponse(await desk.parse(page), headers=PAGE_HEADERS)


def _said(version: int | None, alias: str | None) -> dict[str, str]:
    given = {"version": None if version is None else str(version), "alias": alias}
    return {name: value for name, value in given.items() if value is not None}


async def _chosen(desk: Desk, tenant: Tenant, script: str, version: int | None, alias: str | None) -> tuple[Script, list[Alias], Version]:
    """The script, its aliases, and the version that is meant.

    Raises:
        NotFound; Conflict: it is not ready.
        BadRequest: both a version and an alias are said.
    """
    asked_for_script(script)
    if version is not None and alias is not None:
        fault = BadField("/query/alias", "stands beside version; expected one of them")
        raise BadRequest("a parameter of the request cannot be used", errors=(fault,))
    try:
        found = await desk.ask(desk.store.get_script, tenant.id, script)
        aliases = await desk.ask(desk.store.list_aliases, tenant.id, script)
    except NotFound:
        raise no_script() from None
    chosen = await find_version(desk, tenant, script, _number(aliases, alias or LATEST) if version is None else version)
    if chosen.state is not VersionState.READY:
        raise Conflict(f"version {chosen.number} is {chosen.state}; expected one that is ready")
    return found, aliases, chosen


def _number(aliases: list[Alias], name: str) -> int:
    """Raises NotFound; Conflict where it is the latest, and none is ready."""
    targets = next((one.targets for one in aliases if one.name == name), None)
    if targets is None:
        raise Conflict("no version of the script is ready") if name == LATEST else no_alias()
    return max(targets, key=lambda target: target.share).number


def _origin(request: Request) -> str:
    """Where the caller found us, as far as that can be an address."""
    host = request.headers.get("host", "")
    return f"{request.scope['scheme']}://{host if _HOST.fullmatch(host) else 'localhost'}"
