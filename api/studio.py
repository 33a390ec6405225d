"""/compat/studio: a script is called as a web service of Azure Machine Learning Studio (classic) was, by clients written for those.

The request holds the table and the parameters in one document, which goes into the sandbox as it came; nothing of it is read here. The
sandbox writes the table of the answer, and all that is added is what stands around it there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api import bodies
from api.answers import headers
from api.auth import TenantDep, known_parameters
from api.calls import Asked, asked
from api.content import CHUNK_BYTES, Streamed
from api.desk import Desk, DeskDep
from api.multipart import Arrived
from api.scoring import open_answer, score, told_of
from api.studio_errors import Retelling, refusals
from fumehood.dataset import STUDIO
from fumehood.errors import BadRequest, NotFound
from fumehood.job import Job
from fumehood.script import Version
from fumehood.tenant import Tenant

PREFIX = "/compat/studio/workspaces/{workspace}/services/{service}"
JSON = "application/json"
router = APIRouter(prefix=PREFIX, tags=["studio"], dependencies=[Depends(known_parameters)], route_class=Retelling)

Workspace = Annotated[str, Path(description="Any word: it says nothing here.", examples=["mine"])]
Service = Annotated[
    str, Path(description="A script's name, or with a version or an alias `score@3`, `score@prod`; else `latest`.", examples=["score"])
]
ApiVersion = Annotated[Literal["2.0"], Query(alias="api-version", description="There is one.")]
Details = Annotated[bool, Query(description="Whether the answer says the columns' types, too.")]
Format = Annotated[Literal["swagger"] | None, Query(description="`swagger`: the answer is an array of records.")]

NUMBER_CHARACTERS = 20
# What stands around the table of an answer.
_TABLE = (b'{"Results":{"output1":{"type":"table","value":', b"}}}")
_RECORDS = (b'{"Results":{"output1":', b"}}")
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": '`{"Inputs": {"input1": {"ColumnNames": ["a"], "Values": [["1"]]}}, "GlobalParameters": {"factor": "2"}}`; an input '
        "may also be an array of records.",
        "content": {JSON: {}},
    }
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": '`{"Results": {"output1": {"type": "table", "value": {"ColumnNames": ["a"], "Values": [["1"]]}}}}`; with `details` '
        "there are `ColumnTypes` beside the names. Every cell is a text or null.",
        "content": {JSON: {}},
        "headers": headers("Fumehood-Job", "Fumehood-Script", "Vary"),
    },
    **refusals(400, 404, 408, 409, 413, 504),
}


@router.post("/execute", summary="Call a script as Studio's clients do", response_class=Response, responses=_ANSWER, openapi_extra=_BODY)
async def execute_studio_service(
    workspace: Workspace,
    service: Service,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    api_version: ApiVersion = "2.0",
    details: Details = False,
    format: Format = None,
) -> Response:
    """As `POST /v1/scripts/{script}/score`, in the words of the Request-Response Service: a client needs another address and key."""
    return await _call(request, desk, tenant, service, details=details, format=format)


@router.post("/score", summary="The same, by its older name", response_class=Response, responses=_ANSWER, openapi_extra=_BODY)
async def score_studio_service(
    workspace: Workspace,
    service: Service,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    api_version: ApiVersion = "2.0",
    details: Details = False,
    format: Format = None,
) -> Response:
    """As `execute`."""
    return await _call(request, desk, tenant, service, details=details, format=format)


async def asked_service(desk: Desk, tenant: Tenant, service: str) -> Asked:
    """The version that a service stands for. Raises NotFound, and Conflict where it is not ready."""
    name, at, which = service.partition("@")
    number = int(which[:NUMBER_CHARACTERS]) if which.isascii() and which.isdecimal() else None
    alias = which if at and number is None else None
    return await asked(desk, tenant, name, number, alias)


# -------------------------------------------------------------------------------------------------------------------------
async def _call(request: Request, desk: Desk, tenant: Tenant, service: str, *, details: bool, format: str | None) -> Response:
    version = (await asked_service(desk, tenant, service)).version
    answer = f"{STUDIO}-records" if format else f"{STUDIO}-types" if details else STUDIO
    with ExitStack() as stack:
        table = await _receive(request, desk, tenant, stack)
        job = await score(desk, tenant, version, table=table, parameters={}, answer=answer, gone=request.is_disconnected)
    return await _send(desk, version, job, _RECORDS if format else _TABLE)


async def _receive(request: Request, desk: Desk, tenant: Tenant, stack: ExitStack) -> Arrived:
    """The whole request as it comes, on disk. Whatever its media type: there is one form. Raises as `bodies.consume`."""
    incoming = stack.enter_context(await desk.file(desk.blobs.incoming, floor_bytes=desk.settings.disk_floor_bytes))
    limit_bytes = min(desk.settings.dataset_bytes, tenant.quota.dataset_bytes)
    idle_seconds = desk.settings.body_idle_seconds
    await bodies.consume(request, lambda piece: desk.file(incoming.write, piece), limit_bytes=limit_bytes, idle_seconds=idle_seconds)
    if incoming.bytes == 0:
        raise BadRequest("the body is empty; expected an object of Inputs and GlobalParameters")
    return Arrived(incoming, STUDIO)


async def _send(desk: Desk, version: Version, job: Job, around: tuple[bytes, bytes]) -> Response:
    blob = await open_answer(desk, job)
    if blob is None:
        raise NotFound("the answer of the call is not there any more")
    size = job.outcome.outputs["result"] if job.outcome else 0
    fields = {**told_of(version, job), "Content-Type": JSON, "Content-Length": str(size + len(b"".join(around)))}
    return Streamed(_framed(desk, blob, size, around), headers=fields, blob=blob)


async def _framed(desk: Desk, blob: BinaryIO, size: int, around: tuple[bytes, bytes]) -> AsyncIterator[bytes]:
    before, after = around
    yield before
    while size > 0:
        piece = await desk.file(blob.read, min(CHUNK_BYTES, size))
        if not piece:
            raise OSError(f"a blob ends {size:,} bytes early")
        size -= len(piece)
        yield piece
    yield after
