"""/v1/jobs/{id}/inputs: what a job was given, as it came: to look at it again, and to run it again elsewhere."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from api.answers import RANGES, JobId, binary, problems, stored_bytes
from api.auth import TenantDep, known_parameters
from api.content import SANDBOXED, attachment, send_blob
from api.desk import DeskDep
from api.jobs import find_job
from api.records import input_record
from api.schemas import InputList
from fumehood.dataset import FORMATS
from fumehood.errors import NotFound
from fumehood.job import PORTS

router = APIRouter(prefix="/v1/jobs/{job_id}/inputs", tags=["jobs"], dependencies=[Depends(known_parameters)])

PortName = Annotated[str, Path(description=f"One of {', '.join(PORTS)}.", examples=["script"])]
SCRIPT_TYPE = "text/x-python"
_CONTENT = binary(SCRIPT_TYPE, *(media_types[0] for media_types, _ in FORMATS.values()))


@router.get("", summary="List a job's inputs", response_model=InputList, responses=problems(404, 410))
async def list_inputs(job_id: JobId, desk: DeskDep, tenant: TenantDep) -> InputList:
    """The script, and what was connected to the ports."""
    job = await find_job(desk, tenant, job_id)
    return InputList(items=[input_record(job, port) for port in PORTS if port in job.inputs])


@router.get(
    "/{port}",
    summary="An input's bytes",
    response_class=Response,
    responses={**stored_bytes("The input.", _CONTENT), **problems(404, 410)},
    openapi_extra=RANGES,
)
async def read_input(job_id: JobId, port: PortName, request: Request, desk: DeskDep, tenant: TenantDep) -> Response:
    """The bytes that the sandbox was given: files sent with the job as they came, stored datasets in their Arrow form. Those of
    a dataset or another job are gone when that was deleted."""
    job = await find_job(desk, tenant, job_id)
    if port not in job.inputs:
        raise NotFound(f"the job has no such input; it has {', '.join(name for name in PORTS if name in job.inputs)}")
    given, record = job.inputs[port], input_record(job, port)
    try:
        blob = await desk.file(desk.blobs.open, tenant.id, given.blob)
    except NotFound:
        raise NotFound(f"the bytes of {port} were deleted since") from None
    fields = {**SANDBOXED, "Content-Disposition": attachment(record.name)}
    begin, length = (0, None) if given.offset is None else (given.offset, given.bytes)
    identity = f"{tenant.id}/{given.blob}/{begin}"
    return await send_blob(
        request, desk, blob, media_type=record.media_type, identity=identity, offset=begin, length=length, headers=fields
    )
