"""/v1/jobs/{id}/…: log, result tables, figures and artifacts. Bytes of a tenant's, told so that no browser runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from api.answers import RANGES, JobId, binary, event_stream, headers, problems, stored_bytes
from api.auth import TenantDep, known_parameters
from api.content import SANDBOXED, Representation, Streamed, accept_of, attachment, choose_media, send_blob
from api.desk import Desk, DeskDep
from api.gone import require_log, require_results
from api.jobs import find_job
from api.live_log import live_events, stored_text, text_so_far
from api.records import ANY_BYTES, StoredFile, file_href, files_of
from api.schemas import ArtifactList, FigureList, FigureRecord, FileRecord, Preview
from api.standing import EVENTS, StandingDep
from api.tables import table_content, table_preview
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.errors import NotFinished, NotFound
from fumehood.job import Input, Job
from fumehood.tenant import Tenant

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[Depends(known_parameters)])

TEXT = "text/plain"
FigureNumber = Annotated[int, Path(description="A figure's `n`, from 0 on.", examples=[0])]
ArtifactName = Annotated[str, Path(description="An artifact's `name`.", examples=["model.pkl"])]
_STRING = {"schema": {"type": "string"}}
_EVENTS = event_stream(
    'id: 1735689600000-0\nevent: log\ndata: {"attempt": 1, "offset": 0, "text": "hello\\n"}\n\n'
    'id: 1735689601000-0\nevent: end\ndata: {"state": "succeeded", "reason": "ok"}\n\n',
    state="the job's state, and the reason of a final one",
    attempt="an attempt begins; the log does too",
    progress="how many jobs are ahead of a queued one",
    log="a piece of the log, its attempt, and its offset in bytes",
    end="the final state",
)
_TABLE = {
    **stored_bytes("The table.", binary(*(FORMATS[name][0][0] for name in TABLE_FORMATS)), negotiated=True),
    **problems(404, 406, 409, 410),
}
_PREVIEW = {**stored_bytes("The preview.", model=Preview), **problems(404, 409, 410)}
_FIGURE = {**stored_bytes("The figure.", binary("image/png", "image/svg+xml", "text/html", ANY_BYTES)), **problems(404, 409, 410)}
_ARTIFACT = {**stored_bytes("The file, in the media type that its list names.", binary("*/*")), **problems(404, 409, 410)}


@router.get(
    "/log",
    summary="A job's log",
    response_class=Response,
    responses={
        200: {"description": "The log, or its events.", "content": {TEXT: _STRING, **_EVENTS}, "headers": headers("Vary")},
        **problems(404, 406, 410),
    },
)
async def read_log(
    job_id: JobId,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    standing: StandingDep,
    last_event_id: Annotated[str | None, Header(description="With events: go on behind this one.")] = None,
) -> Response:
    """As text: the stored log of a final job, or what a running one has said so far.

    With `Accept: text/event-stream` the events `state`, `attempt`, `progress`, `log` and `end` as they happen, each `data` one
    JSON document; a final job's log is told again, then its end. `log` says its attempt and its offset in bytes, `progress`
    how many jobs are ahead of a queued one."""
    job = await find_job(desk, tenant, job_id)
    require_log(job)
    if choose_media(accept_of(request), [TEXT, EVENTS]) == EVENTS:
        return standing.stream(live_events(desk, job, last_event_id))
    fields = {"Vary": "Accept", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Streamed(_text(desk, job), headers={**fields, **SANDBOXED, "Content-Type": f"{TEXT}; charset=utf-8"})


@router.get("/result", summary="The result table", response_class=Response, responses=_TABLE, openapi_extra=RANGES)
async def read_result(job_id: JobId, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """`Accept` chooses: the Arrow file as it is stored (also for `*/*`), with ETag and `Range`; or any other format of a
    table, made in a sandbox for this answer. Of a call of a script the answer is what is stored, in its own format."""
    return await _result(request, desk, tenant, job_id, "result")


@router.get("/result2", summary="The second result table", response_class=Response, responses=_TABLE, openapi_extra=RANGES)
async def read_result2(job_id: JobId, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """As `result`; there is one where the function returned a second table."""
    return await _result(request, desk, tenant, job_id, "result2")


@router.get("/result/preview", summary="A preview of the result", response_class=Response, responses=_PREVIEW, openapi_extra=RANGES)
async def read_result_preview(job_id: JobId, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """What each column holds, and the first rows. Made in a sandbox when it is first asked for, and kept with the job."""
    return await _preview(request, desk, tenant, job_id, "result")


@router.get("/result2/preview", summary="A preview of the second result", response_class=Response, responses=_PREVIEW, openapi_extra=RANGES)
async def read_result2_preview(job_id: JobId, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """As `result/preview`."""
    return await _preview(request, desk, tenant, job_id, "result2")


@router.get("/figures", summary="List figures", response_model=FigureList, responses=problems(404, 409, 410))
async def list_figures(job_id: JobId, desk: DeskDep, tenant: TenantDep) -> FigureList:
    """In the order of their making. Failed jobs keep theirs."""
    job = await _ended(desk, tenant, job_id)
    return FigureList(
        items=[FigureRecord(n=n, **_listed(file), href=f"/v1/jobs/{job.id}/figures/{n}") for n, file in enumerate(files_of(job, "figure"))]
    )


@router.get("/figures/{n}", summary="A figure's bytes", response_class=Response, responses=_FIGURE, openapi_extra=RANGES)
async def read_figure(job_id: JobId, n: FigureNumber, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """PNG is shown inline; SVG and HTML are attachments, and sandboxed."""
    job = await _ended(desk, tenant, job_id)
    figures = files_of(job, "figure")
    if not 0 <= n < len(figures):
        raise NotFound(f"the job has no figure with this number; it has {len(figures)}")
    return await _send(request, desk, job, figures[n])


@router.get("/artifacts", summary="List artifacts", response_model=ArtifactList, responses=problems(404, 409, 410))
async def list_artifacts(job_id: JobId, desk: DeskDep, tenant: TenantDep) -> ArtifactList:
    """The files that the script left below `./outputs/`. Failed jobs keep theirs."""
    job = await _ended(desk, tenant, job_id)
    return ArtifactList(items=[FileRecord(**_listed(file), href=file_href(job, file)) for file in files_of(job, "artifact")])


@router.get("/artifacts/{name:path}", summary="An artifact's bytes", response_class=Response, responses=_ARTIFACT, openapi_extra=RANGES)
async def read_artifact(job_id: JobId, name: ArtifactName, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
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
    table = _output(job, output)
    stored, readable = Representation(format=table.format, key=table.blob), table if table.format in TABLE_FORMATS else None
    return await table_content(request, desk, tenant, stored=stored, table=readable, file_name=f"{job.id}-{output}")


async def _preview(request: Request, desk: Desk, tenant: Tenant, job_id: str, output: str) -> Response:
    job = await _ended(desk, tenant, job_id)
    table = _output(job, output)
    if table.format not in TABLE_FORMATS:
        raise NotFound(f"an answer in the form {table.format} has no preview; tables have one")
    key = f"{table.blob}.preview.json"
    return await table_preview(request, desk, tenant, table=table, key=key, owner=lambda: _ended(desk, tenant, job.id))


def _output(job: Job, output: str) -> Input:
    """The stored table, as the input of an errand. Raises NotFound."""
    size = job.outcome.outputs.get(output) if job.outcome else None
    if size is None:
        raise NotFound(f"the job ended as {job.state} without a {output}")
    return Input(blob=job.output_blob(output), format=job.output_format(output), bytes=size, source={"job": job.id, "output": output})


async def _ended(desk: Desk, tenant: Tenant, job_id: str) -> Job:
    job = await find_job(desk, tenant, job_id)
    if not job.state.final:
        raise NotFinished(f"the job is {job.state}; expected one that has ended")
    require_results(job)
    return job


async def _send(request: Request, desk: Desk, job: Job, file: StoredFile) -> Response:
    key = job.output_blob("files")
    blob = await desk.file(desk.blobs.open, job.tenant, key)
    inline = file.media_type == "image/png"
    fields = {**SANDBOXED, "Content-Disposition": attachment(file.name.rsplit("/", 1)[-1], inline=inline)}
    identity = f"{job.tenant}/{key}/{file.offset}"
    return await send_blob(
        request, desk, blob, media_type=file.media_type, identity=identity, offset=file.offset, length=file.bytes, headers=fields
    )


def _listed(file: StoredFile) -> dict[str, str | int]:
    return {"name": file.name, "media_type": file.media_type, "bytes": file.bytes}
