"""/compat/studio/…/jobs: the Batch Execution Service of Azure Machine Learning Studio (classic), as far as it can be without its storage.

A job's table is a dataset of the service, or what another job left; nothing is fetched from anywhere, and what a client says to open its
own storage with is neither read nor kept.
"""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Path, Request, Response

from api import bodies, documents
from api.answers import JobId, binary, headers, is_id
from api.auth import TenantDep, known_parameters
from api.call_parameters import from_texts
from api.content import Representation
from api.desk import Desk, DeskDep
from api.documents import presentable
from api.drafts import Draft
from api.gone import require_results
from api.jobs import call_off, find_job
from api.multipart import Form
from api.studio import JSON, PREFIX, ApiVersion, Service, Workspace, asked_service
from api.studio_errors import Retelling, refusals
from api.studio_schemas import StudioJob
from api.submission import submit
from api.tables import table_content
from fumehood.errors import BadField, BadRequest, Conflict, NotFinished, NotFound
from fumehood.job import Input, Job, Kind, State, new_id
from fumehood.script import Version
from fumehood.tenant import Tenant
from fumehood.text import timestamp

router = APIRouter(prefix=f"{PREFIX}/jobs", tags=["studio"], dependencies=[Depends(known_parameters)], route_class=Retelling)

REFUSED = "the job cannot be taken"
CSV = "text/csv"
MEMBERS = ("Input", "Inputs", "Output", "Outputs", "GlobalParameters")
PLACE = ("ConnectionString", "RelativeLocation", "BaseLocation", "SasBlobToken")
EXPECTED = "expected an object whose RelativeLocation is the id of a dataset, or a job's id and output"
PORTS = {"input1": "dataset1", "input2": "dataset2"}
POINTERS = {"/dataset1": "/Inputs/input1", "/dataset2": "/Inputs/input2", "/parameters": "/GlobalParameters"}
OUTPUTS = {"output1": "result", "output2": "result2"}
# As they are numbered there: 0 not started, 1 running, 2 failed, 3 cancelled, 4 finished.
STATUS_CODES = {State.QUEUED: 0, State.RUNNING: 1, State.FAILED: 2, State.CANCELLED: 3, State.SUCCEEDED: 4}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": '`{"Inputs": {"input1": {"RelativeLocation": "ds_00000000000000000000000000000000"}}, "GlobalParameters": {}}`: '
        "where a blob's place stood, there is a dataset's `id`.",
        "content": {JSON: {}},
    }
}
OutputName = Annotated[str, Path(description="`output1`, or `output2` where the function returned a second table.", examples=["output1"])]


@router.post(
    "",
    summary="Submit a job as Studio's clients do",
    response_class=Response,
    responses={
        200: {"description": "Its id.", "content": {JSON: {"schema": {"type": "string"}}}, "headers": headers("Location")},
        **refusals(400, 404, 408, 409, 413),
    },
    openapi_extra=_BODY,
)
async def submit_studio_job(
    workspace: Workspace, service: Service, request: Request, desk: DeskDep, tenant: TenantDep, api_version: ApiVersion = "2.0"
) -> Response:
    """It waits for a sandbox from now on; `start` need not be called, and may be."""
    asked = await asked_service(desk, tenant, service)
    idle_seconds = desk.settings.body_idle_seconds
    body = await bodies.whole(request, limit_bytes=desk.settings.document_bytes, idle_seconds=idle_seconds)
    raw = _document(asked.version, await desk.parse(documents.parse_object, body))
    try:
        submitted = await submit(desk, tenant, raw, Form(), None, job_id=new_id("job"), of=asked)
    except BadRequest as error:
        raise _in_their_words(error) from None
    structlog.contextvars.bind_contextvars(job=submitted.job.id)
    return Response(f'"{submitted.job.id}"', 200, {"Location": f"/v1/jobs/{submitted.job.id}"}, JSON)


@router.post("/{job_id}/start", status_code=204, summary="Start a job", responses=refusals(404))
async def start_studio_job(
    workspace: Workspace, service: Service, job_id: JobId, desk: DeskDep, tenant: TenantDep, api_version: ApiVersion = "2.0"
) -> None:
    """Changes nothing: a job starts by itself when there is a sandbox for it."""
    await _find(desk, tenant, service, job_id)


@router.get("/{job_id}", summary="How a job stands", response_model=StudioJob, responses=refusals(404))
async def read_studio_job(
    workspace: Workspace,
    service: Service,
    job_id: JobId,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    api_version: ApiVersion = "2.0",
) -> StudioJob:
    """Where its tables can be had, once it has finished."""
    job = await _find(desk, tenant, service, job_id)
    left = job.outcome.outputs if job.outcome is not None and job.results_gone_at is None else {}
    base = str(request.url.replace(query="")).removesuffix(job.id)
    results = {
        output: {"BaseLocation": base, "RelativeLocation": f"{job.id}/outputs/{output}", "SasBlobToken": ""}
        for output, port in OUTPUTS.items()
        if port in left
    }
    return StudioJob(
        StatusCode=STATUS_CODES[job.state],
        Results=results or None,
        Details=presentable(job.outcome.message) if job.outcome is not None and job.state is not State.SUCCEEDED else None,
        CreatedAt=timestamp(job.created_at),
        StartTime=timestamp(job.started_at),
        EndTime=timestamp(job.finished_at),
    )


@router.delete("/{job_id}", status_code=204, summary="Cancel a job", responses=refusals(404))
async def cancel_studio_job(
    workspace: Workspace, service: Service, job_id: JobId, desk: DeskDep, tenant: TenantDep, api_version: ApiVersion = "2.0"
) -> None:
    """One that has ended stays as it is."""
    job = await _find(desk, tenant, service, job_id)
    try:
        await call_off(desk, tenant.id, job.id)
    except Conflict:
        return


@router.get(
    "/{job_id}/outputs/{output}",
    summary="A table of a job, as CSV",
    response_class=Response,
    responses={
        200: {"description": "The table.", "content": binary(CSV), "headers": headers("Content-Disposition", "Vary")},
        **refusals(400, 404, 409),
    },
)
async def read_studio_output(
    workspace: Workspace,
    service: Service,
    job_id: JobId,
    output: OutputName,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
) -> Response:
    """Made in a sandbox for this answer. In other formats the job's `result` has it."""
    job = await _find(desk, tenant, service, job_id)
    if not job.state.final:
        raise NotFinished(f"the job is {job.state}; expected one that has ended")
    require_results(job)
    port = OUTPUTS.get(output, "")
    size = job.outcome.outputs.get(port) if job.outcome is not None else None
    if size is None:
        raise NotFound(f"the job ended as {job.state} without an output of this name")
    table = Input(blob=job.output_blob(port), format=job.output_format(port), bytes=size, source={"job": job.id, "output": port})
    stored = Representation(format=table.format, key=table.blob)
    return await table_content(request, desk, tenant, stored=stored, table=table, file_name=f"{job.id}-{output}", accept=CSV)


# -------------------------------------------------------------------------------------------------------------------------
async def _find(desk: Desk, tenant: Tenant, service: str, job_id: str) -> Job:
    """A job of the service. Raises NotFound, Gone."""
    job = await find_job(desk, tenant, job_id)
    version = job.inputs["script"].version
    absent = NotFound("there is no job with this id")
    if job.kind is not Kind.SCRIPT or version is None:
        raise absent
    try:
        found = await desk.ask(desk.store.get_version_by_id, tenant.id, version)
    except NotFound:
        raise absent from None
    if found.script != service.partition("@")[0]:
        raise absent
    return job


def _document(version: Version, document: dict[str, Any]) -> dict[str, Any]:
    """The document of a job of ours that says the same. Raises BadRequest: names every fault."""
    draft = Draft()
    for name in sorted(document.keys() - set(MEMBERS)):
        draft.fault(f"/{name[:80]}", f"there is no member of this name; the members are {', '.join(MEMBERS)}")
    given = document.get("GlobalParameters")
    if given is not None and not isinstance(given, dict):
        draft.fault("/GlobalParameters", f"is {documents.kind_of(given)}; expected an object")
    places = _places(draft, document)
    if draft.faults:
        raise BadRequest(REFUSED, errors=tuple(draft.faults))
    return {**places, "parameters": from_texts(version, given or {})}


def _places(draft: Draft, document: dict[str, Any]) -> dict[str, Any]:
    """What each port is connected to, by a dataset's id or a job's output."""
    inputs = document.get("Inputs")
    if (one := document.get("Input")) is not None:
        if inputs is not None:
            draft.fault("/Input", "stands beside Inputs; say one of them")
            return {}
        inputs = {"input1": one}
    if inputs is None:
        return {}
    if not isinstance(inputs, dict) or len(inputs) > len(PORTS):
        draft.fault("/Inputs", f"is {documents.kind_of(inputs)}; expected an object of at most {len(PORTS)} inputs")
        return {}
    ports = PORTS if inputs.keys() <= PORTS.keys() else dict(zip(inputs, PORTS.values(), strict=False))
    places = {ports[name]: _place(draft, f"/Inputs/{name[:80]}", given) for name, given in inputs.items() if given is not None}
    return {port: place for port, place in places.items() if place is not None}


def _place(draft: Draft, at: str, given: Any) -> str | dict[str, str] | None:
    if not isinstance(given, dict) or not given.keys() <= set(PLACE):
        draft.fault(at, f"is {documents.kind_of(given)}; {EXPECTED}. A table itself goes to `execute`")
        return None
    where = given.get("RelativeLocation")
    steps = where.split("/") if isinstance(where, str) else []
    ids = [step for step in steps if is_id(step)]
    if len(ids) == 1 and ids[0].startswith("ds_"):
        return ids[0]
    if len(ids) == 1 and ids[0].startswith("job_") and (output := OUTPUTS.get("output1" if steps[-1] == ids[0] else steps[-1])):
        return {"job": ids[0], "output": output}
    # Where else it leads is not repeated: beside it stands what opens it.
    draft.fault(f"{at}/RelativeLocation", f"leads out of this service, which fetches nothing; {EXPECTED}")
    return None


def _in_their_words(error: BadRequest) -> BadRequest:
    """The same faults, where they stand in the client's document."""
    told = []
    for field in error.errors:
        theirs = [pointer + field.pointer.removeprefix(ours) for ours, pointer in POINTERS.items() if field.pointer.startswith(ours)]
        told.append(BadField(theirs[0], field.detail) if theirs else field)
    return BadRequest(error.detail, errors=tuple(told))
