"""/v1/scripts/{script}/jobs and /batches: runs of a version of a script that nobody waits for."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from api import batches, jobs
from api.answers import problems
from api.auth import TenantDep, known_parameters
from api.batch_schemas import BatchRecord
from api.calls import AskedAlias, AskedVersion, asked
from api.desk import DeskDep
from api.multipart import OF_SCRIPT_BATCH, OF_SCRIPT_JOB
from api.reading import JSON, MULTIPART
from api.schemas import JobRecord
from api.script_names import ScriptName

router = APIRouter(prefix="/v1/scripts/{script}", tags=["scripts"], dependencies=[Depends(known_parameters)])

_FILE = {"type": "string", "format": "binary"}
_TABLE = {**_FILE, "description": "The part's media type says the format, else its file name."}
_ITEMS = {"type": "array", "items": _FILE, "description": "One part for each item's `dataset1`, as for any batch."}
_DATASET = "ds_00000000000000000000000000000000"


def _body(part: str, schema: str, example: dict[str, Any], **files: dict[str, Any]) -> dict[str, Any]:
    document = {"$ref": f"#/components/schemas/{schema}"}
    form = {"schema": {"type": "object", "properties": {part: document, **files}}, "encoding": {part: {"contentType": JSON}}}
    stored = {"summary": "A stored table", "value": example}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": document, "examples": {"stored": stored}}, MULTIPART: form}}}


@router.post(
    "/jobs",
    status_code=202,
    summary="Submit a job of a script",
    response_model=JobRecord,
    responses={**jobs.SUBMITTED, **problems(400, 404, 408, 409, 413, 415)},
    openapi_extra=_body("job", "ScriptJobDocument", {"dataset1": _DATASET}, dataset1=_TABLE, dataset2=_FILE),
)
async def submit_script_job(
    script: ScriptName,
    request: Request,
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    version: AskedVersion = None,
    alias: AskedAlias = None,
    idempotency_key: jobs.Key = None,
    prefer: jobs.Prefer = None,
) -> JobRecord:
    """A job as any other, whose script, bundle, defaults and highest limits are those of a version. Its `dataset1` is held against the
    columns of the sample, as that of a call is. It does not count among the calls at once."""
    of = await asked(desk, tenant, script, version, alias, again=idempotency_key is not None)
    return await jobs.take_in(request, response, desk, tenant, idempotency_key, OF_SCRIPT_JOB, of)


@router.post(
    "/batches",
    status_code=202,
    summary="Submit a batch of a script",
    response_model=BatchRecord,
    responses={**batches.SUBMITTED, **problems(400, 404, 408, 409, 413, 415)},
    openapi_extra=_body("batch", "ScriptBatchDocument", {"items": [{"dataset1": _DATASET}]}, item=_ITEMS, dataset2=_FILE),
)
async def submit_script_batch(
    script: ScriptName,
    request: Request,
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    version: AskedVersion = None,
    alias: AskedAlias = None,
    idempotency_key: batches.Key = None,
) -> BatchRecord:
    """A batch as any other, of a version as a job is: one version for all of its items, also where an alias shares its calls."""
    of = await asked(desk, tenant, script, version, alias, again=idempotency_key is not None)
    return await batches.take_in(request, response, desk, tenant, idempotency_key, OF_SCRIPT_BATCH, of)
