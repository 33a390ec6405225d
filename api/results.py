"""/v1/jobs/{id}/…: log, result tables, figures and artifacts. Bytes of a tenant's, told so that no browser runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from api.answers import problems
from api.auth import TenantDep, known_parameters
from api.content import Representation, Streamed, attachment, choose_media, send_blob
from api.datasets import table_content
from api.desk import Desk, DeskDep
from api.jobs import find_job
from api.live_log import live_events, stored_text, text_so_far
from api.records import StoredFile, file_href, files_of
from api.schemas import ArtifactList, FigureList, FigureRecord, FileRecord
from fumehood.dataset import FORMATS
from fumehood.errors import NotFinished, NotFound
from fumehood.job import Input, Job
from fumehood.tenant import Tenant

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[Depends(known_parameters)])

TEXT, EVENTS = "text/plain", "text/event-stream"
# A page made by a script must not run as one of ours.
SANDBOXED = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_STRING = {"schema": {"type": "string"}}
_TABLE = {
    200: {"description": "The table.", "content": {FORMATS[name][0][0]: _BINARY for name in ("arrow", "csv")}},
    **problems(404, 406, 409, 416, 503),
}


@router.get(
    "/log",
    summary="A job's log",
    response_class=Response,
    responses={200: {"description": "The log, or its events.", "content": {TEXT: _STRING, EVENTS: _STRING}}, **problems(404, 406, 503)},
)
async def read_log(
    job_id: str,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    last_event_id: Annotated[str | None, Header(description="With events: go on behind this one.")] = None,
) -> Response:
    """As text: the stored log of a final job, or what a running one has said so far.

    With `Accept: text/event-stream` the events `state`, `attempt`, `log` and `end` as they happen, each `data` one JSON
    document; a final job's log is told again, then its end."""
    job = await find_job(desk, tenant, job_id)
    headers = {"Vary": "Accept", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if choose_media(request.headers.get("accept"), [TEXT, EVENTS]) == EVENTS:
        return Streamed(live_events(desk, job, last_event_id), headers={**headers, "Content-Type": EVENTS, "X-Accel-Buffering": "no"})
    headers |= {**SANDBOXED, "Content-Type": f"{TEXT}; charset=utf-8"}
    return Streamed(_text(desk, job), headers=headers)


@router.get("/result", summary="The result table", response_class=Response, responses=_TABLE)
async def read_result(job_id: str, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """An Arrow file as it is stored, with ETag and `Range`; or CSV, made in a sandbox."""
    return await _result(request, desk, tenant, job_id, "result")


@router.get("/result2", summary="The second result table", response_class=Response, responses=_TABLE)
async def read_result2(job_id: str, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """As `result`; there is one where the function returned a second table."""
    return await _result(request, desk, tenant, job_id, "result2")


@router.get("/figures", summary="List figures", response_model=FigureList, responses=problems(404, 409, 503))
async def list_figures(job_id: str, desk: DeskDep, tenant: TenantDep) -> FigureList:
    """In the order of their making. Failed jobs keep theirs."""
    job = await _ended(desk, tenant, job_id)
    return FigureList(
        items=[FigureRecord(n=n, **_listed(file), href=f"/v1/jobs/{job.id}/figures/{n}") for n, file in enumerate(files_of(job, "figure"))]
    )


@router.get("/figures/{n}", summary="A figure's bytes", response_class=Response, responses=problems(404, 409, 416, 503))
async def read_figure(job_id: str, n: int, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """PNG is shown inline; SVG and HTML are attachments, and sandboxed."""
    job = await _ended(desk, tenant, job_id)
    figures = files_of(job, "figure")
    if not 0 <= n < len(figures):
        raise NotFound(f"the job has no figure with this number; it has {len(figures)}")
    return await _send(request, desk, job, figures[n])


@router.get("/artifacts", summary="List artifacts", response_model=ArtifactList, responses=problems(404, 409, 503))
async def list_artifacts(job_id: str, desk: DeskDep, tenant: TenantDep) -> ArtifactList:
    """The files that the script left below `./outputs/`. Failed jobs keep theirs."""
    job = await _ended(desk, tenant, job_id)
    return ArtifactList(items=[FileRecord(**_listed(file), href=file_href(job, file)) for file in files_of(job, "artifact")])


@router.get("/artifacts/{name:path}", summary="An artifact's bytes", response_class=Response, responses=problems(404, 409, 416, 503))
async def read_artifact(job_id: str, name: str, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """The name as it is listed; it may hold `/`."""
    job = await _ended(desk, tenant, job_id)
    file = next((file for file in files_of(job, "artifact") if file.name == name), None)
    if file is None:
        raise NotFound("the job has no artifact of this name")
    return await _send(request, desk, job, file)


async def _text(desk: Desk, job: Job) -> AsyncIterator[bytes]:
    if not job.state.final:
        async for text in text_so_far(desk, job):
            yield text.encode("utf-8", "replace")
        return
    async for text, _, _ in stored_text(desk, job):
        yield text.encode()


async def _result(request: Request, desk: Desk, tenant: Tenant, job_id: str, output: str) -> Response:
    job = await _ended(desk, tenant, job_id)
    size = job.outcome.outputs.get(output) if job.outcome else None
    if size is None:
        raise NotFound(f"the job ended as {job.state} without a {output}")
    key = job.output_blob(output)
    table = Input(blob=key, format="arrow", bytes=size, source={"job": job.id, "output": output})
    return await table_content(
        request, desk, tenant, stored=[Representation(format="arrow", key=key)], table=table, file_name=f"{job.id}-{output}"
    )


async def _ended(desk: Desk, tenant: Tenant, job_id: str) -> Job:
    job = await find_job(desk, tenant, job_id)
    if not job.state.final:
        raise NotFinished(f"the job is {job.state}; expected one that has ended")
    return job


async def _send(request: Request, desk: Desk, job: Job, file: StoredFile) -> Response:
    key = job.output_blob("files")
    blob = await desk.file(desk.blobs.open, job.tenant, key)
    inline = file.media_type == "image/png"
    headers = {**SANDBOXED, "Content-Disposition": attachment(file.name.rsplit("/", 1)[-1], inline=inline)}
    identity = f"{job.tenant}/{key}/{file.offset}"
    return await send_blob(
        request, desk, blob, media_type=file.media_type, identity=identity, offset=file.offset, length=file.bytes, headers=headers
    )


def _listed(file: StoredFile) -> dict[str, str | int]:
    return {"name": file.name, "media_type": file.media_type, "bytes": file.bytes}
