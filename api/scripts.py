"""/v1/scripts: a script under a name: publish versions, list, read, compare and delete them."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Annotated, Any

import anyio
import structlog
from fastapi import APIRouter, Depends, Header, Path, Request, Response

from api.answers import PAGE_DEFAULT, RANGES, Cursor, Limit, binary, headers, link_next, problems, stored_bytes
from api.auth import TenantDep, known_parameters
from api.content import SANDBOXED, attachment, send_blob
from api.cursors import CursorsDep
from api.desk import Desk, DeskDep
from api.multipart import OF_VERSION
from api.publishing import publish
from api.reading import JSON, MULTIPART, read_request, single
from api.script_names import ScriptName, VersionNumber, asked_for_script, is_number, new_name, no_script, no_version
from api.script_records import comparison, script_record, script_summary, version_record, version_summary
from api.script_schemas import Comparison, ScriptPage, ScriptRecord, VersionPage, VersionRecord
from api.waiting import preferred_wait, wait_final
from fumehood.dataset import FORMATS
from fumehood.errors import NotFound
from fumehood.job import Input, new_id
from fumehood.script import Version, blob_prefix_of
from fumehood.tenant import Tenant

LEAVING_SECONDS, LOOK_SECONDS = 10.0, 0.25
"""So long a deletion waits for sandboxes to go, and so often it looks."""

router = APIRouter(prefix="/v1/scripts", tags=["scripts"], dependencies=[Depends(known_parameters)])

KEY_DESCRIPTION = "As for a job: the same request again gives the same version, for {idempotency_hours:g} hours."
SCRIPT_TYPE = "text/x-python"
_FILE = {"type": "string", "format": "binary"}
_DOCUMENT = {"$ref": "#/components/schemas/VersionDocument"}
_EXAMPLE = {
    "script": "def azureml_main(frame, *, factor: float = 2.0):\n    return frame.assign(b=frame.a * factor)\n",
    "sample": "ds_00000000000000000000000000000000",
    "parameters": {"factor": {"type": "float", "default": 2.0, "description": "What a is multiplied with."}},
    "description": "Stretches a.",
}
_PUBLISH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": _DOCUMENT, "examples": {"stored": {"summary": "A stored table as the sample", "value": _EXAMPLE}}},
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "version": _DOCUMENT,
                        "script": {**_FILE, "description": "Instead of `script` in the document."},
                        "bundle": {**_FILE, "description": "A zip."},
                        "sample": {**_FILE, "description": "The part's media type says the format, else its file name."},
                    },
                },
                "encoding": {"version": {"contentType": JSON}},
            },
        },
    }
}
_ABOUT_PUBLISH = headers("Location", "Idempotency-Replayed", "Preference-Applied")
_PUBLISHED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Its record; the version is on disk, and its check waits.",
        "headers": {**_ABOUT_PUBLISH, **headers("Retry-After")},
    },
    201: {
        "description": "Its record once it is ready or refused: the check ended in the time of `Prefer`.",
        "model": VersionRecord,
        "headers": _ABOUT_PUBLISH,
    },
}
_PAGE: dict[int | str, dict[str, Any]] = {200: {"description": "A page.", "headers": headers("Link")}}


@router.put(
    "/{script}",
    status_code=202,
    summary="Publish a version of a script",
    response_model=VersionRecord,
    responses={**_PUBLISHED, **problems(400, 408, 409, 413, 415)},
    openapi_extra=_PUBLISH_BODY,
)
async def publish_version(
    script: ScriptName,
    request: Request,
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    idempotency_key: Annotated[str | None, Header(description=KEY_DESCRIPTION)] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=n`: 201 with the record if the check ends within n seconds, 60 at most.")
    ] = None,
) -> VersionRecord:
    """Makes the next version under this name, which never changes, and has a sandbox run it once on the sample. What that finds decides
    whether the version is ready. The script is made with its first version."""
    single(request, "idempotency-key")
    new_name(script, "script")
    structlog.contextvars.bind_contextvars(script=script)
    seconds = preferred_wait(request.headers.getlist("prefer"))
    job_id = new_id("job")
    with desk.events.listen(job_id, kind="end") if seconds is not None else nullcontext() as bell:
        with ExitStack() as stack:
            raw, form = await read_request(request, desk, tenant, stack, OF_VERSION)
            version, replayed = await publish(desk, tenant, script, raw, form, idempotency_key, job_id=job_id)
        response.headers["Location"] = f"/v1/scripts/{script}/versions/{version.number}"
        if replayed:
            response.headers["Idempotency-Replayed"] = "true"
        if seconds is not None:
            response.headers["Preference-Applied"] = f"wait={seconds:g}"
            if version.decided_at is None:
                job = await desk.ask(desk.store.get_job, tenant.id, version.job)
                await wait_final(desk, job, seconds, request.is_disconnected, bell=None if replayed else bell)
                version = await find_version(desk, tenant, script, version.number)
            if version.decided_at is not None:
                response.status_code = 201
                return version_record(version)
    response.headers["Retry-After"] = "1"
    return version_record(version)


@router.get("", summary="List scripts", response_model=ScriptPage, responses={**_PAGE, **problems()})
async def list_scripts(
    response: Response, desk: DeskDep, tenant: TenantDep, cursors: CursorsDep, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> ScriptPage:
    """Newest first."""
    scripts, following = await desk.ask(desk.store.list_scripts, tenant.id, before=cursors.open(cursor), limit=limit)
    following = cursors.seal(following)
    link_next(response, "/v1/scripts", following, {"limit": limit})
    return ScriptPage(items=[script_summary(one) for one in scripts], next=following)


@router.get("/{script}", summary="A script's record", response_model=ScriptRecord, responses=problems(404))
async def read_script(script: ScriptName, desk: DeskDep, tenant: TenantDep) -> ScriptRecord:
    """How many versions it has, and what its aliases stand for."""
    asked_for_script(script)
    try:
        found = await desk.ask(desk.store.get_script, tenant.id, script)
        return script_record(found, await desk.ask(desk.store.list_aliases, tenant.id, script))
    except NotFound:
        raise no_script() from None


@router.delete("/{script}", status_code=204, summary="Delete a script", responses=problems(404, 409))
async def delete_script(script: ScriptName, desk: DeskDep, tenant: TenantDep) -> None:
    """With all its versions and aliases. Refused while a job that has not ended needs one of them. Answers when no sandbox waits with
    one of them any more, or after ten seconds."""
    asked_for_script(script)
    try:
        versions = await desk.file(_forget_all, desk, tenant.id, script)
    except NotFound:
        raise no_script() from None
    await _until_nothing_waits(desk, versions)


@router.get("/{script}/versions", summary="List a script's versions", response_model=VersionPage, responses={**_PAGE, **problems(404)})
async def list_versions(
    script: ScriptName,
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    cursors: CursorsDep,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> VersionPage:
    """Newest first."""
    asked_for_script(script)
    before = cursors.open(cursor)
    try:
        versions, following = await desk.ask(desk.store.list_versions, tenant.id, script, before=before, limit=limit)
    except NotFound:
        raise no_script() from None
    following = cursors.seal(following)
    link_next(response, f"/v1/scripts/{script}/versions", following, {"limit": limit})
    return VersionPage(items=[version_summary(version) for version in versions], next=following)


@router.get("/{script}/versions/{number}", summary="A version's record", response_model=VersionRecord, responses=problems(404))
async def read_version(script: ScriptName, number: VersionNumber, desk: DeskDep, tenant: TenantDep) -> VersionRecord:
    """What was published, and what its check found."""
    return version_record(await find_version(desk, tenant, script, number))


@router.get(
    "/{script}/versions/{number}/source",
    summary="A version's source",
    response_class=Response,
    responses={**stored_bytes("The script.", binary(SCRIPT_TYPE)), **problems(404)},
    openapi_extra=RANGES,
)
async def read_version_source(script: ScriptName, number: VersionNumber, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """The script as it was published."""
    version = await find_version(desk, tenant, script, number)
    return await _send_part(request, desk, tenant, version.inputs["script"], SCRIPT_TYPE, f"{script}-{number}.py")


@router.get(
    "/{script}/versions/{number}/sample",
    summary="A version's sample",
    response_class=Response,
    responses={**stored_bytes("The table.", binary(*(media[0] for media, _ in FORMATS.values()))), **problems(404)},
    openapi_extra=RANGES,
)
async def read_version_sample(script: ScriptName, number: VersionNumber, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """The table that the check ran on, in the format that the version keeps."""
    version = await find_version(desk, tenant, script, number)
    given = version.inputs.get("dataset1")
    if given is None:
        raise NotFound("the version has no sample")
    name = f"{script}-{number}{FORMATS[given.format][1][0]}"
    return await _send_part(request, desk, tenant, given, FORMATS[given.format][0][0], name)


@router.get(
    "/{script}/versions/{number}/compare/{other}", summary="Compare two versions", response_model=Comparison, responses=problems(404)
)
async def compare_versions(
    script: ScriptName,
    number: VersionNumber,
    other: Annotated[int, Path(description="Number of the version that it is compared with.", examples=[2])],
    desk: DeskDep,
    tenant: TenantDep,
) -> Comparison:
    """Field by field: schemas, parameters, limits, and whether the files are the same bytes. Their text is at `source`."""
    before = await find_version(desk, tenant, script, number)
    return await desk.parse(comparison, before, await find_version(desk, tenant, script, other))


@router.delete("/{script}/versions/{number}", status_code=204, summary="Delete a version", responses=problems(404, 409))
async def delete_version(script: ScriptName, number: VersionNumber, desk: DeskDep, tenant: TenantDep) -> None:
    """Refused while an alias names it, or while a job that has not ended needs it. Its number is given to no other. Answers when no
    sandbox waits with it any more, or after ten seconds."""
    version = await find_version(desk, tenant, script, number)
    await desk.forget(tenant.id, version.blob_prefix, partial(desk.store.delete_version, tenant.id, script, number))
    await _until_nothing_waits(desk, [version.id])


async def _send_part(request: Request, desk: Desk, tenant: Tenant, given: Input, media_type: str, file_name: str) -> Response:
    """A file of a version's own, unread."""
    try:
        blob = await desk.file(desk.blobs.open, tenant.id, given.blob)
    except NotFound:
        raise no_version() from None  # It was deleted at this moment.
    fields = {**SANDBOXED, "Content-Disposition": attachment(file_name)}
    return await send_blob(request, desk, blob, media_type=media_type, identity=f"{tenant.id}/{given.blob}", headers=fields)


def _forget_all(desk: Desk, tenant: str, name: str) -> list[str]:
    """The rows, then the blobs, as `Desk.forget` does it for one thing; the ids. Of a thousand places it is not noted before which of
    them go: a worker removes what has no row when it comes by."""
    versions = desk.store.delete_script(tenant, name)
    for version in versions:
        desk.blobs.delete(tenant, blob_prefix_of(version))
    return versions


async def _until_nothing_waits(desk: Desk, versions: list[str]) -> None:
    """Their workers throw away what waits with a version that is gone. One that does not answer may be dead; whoever buries it does
    the same."""
    with anyio.move_on_after(LEAVING_SECONDS):
        while await desk.ask(desk.store.prepared_with, versions):
            await anyio.sleep(LOOK_SECONDS)


async def find_version(desk: Desk, tenant: Tenant, script: str, number: int) -> Version:
    """Raises NotFound."""
    asked_for_script(script, number)
    try:
        if not is_number(number):
            await desk.ask(desk.store.get_script, tenant.id, script)
            raise no_version()
        return await desk.ask(desk.store.get_version, tenant.id, script, number)
    except NotFound as error:
        raise (no_version() if "no version" in str(error) else no_script()) from None
