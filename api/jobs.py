"""/v1/jobs: submit, list, read, cancel, forget."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from api.answers import PAGE_DEFAULT, Cursor, JobId, Limit, asked_for, headers, link_next, missing, problems
from api.auth import TenantDep, known_parameters
from api.calls import Asked
from api.cursors import CursorsDep
from api.desk import Desk, DeskDep
from api.drafts import LABELS_MAX, label_fault
from api.gone import absent
from api.multipart import OF_JOB, Parts
from api.reading import JSON, MULTIPART, read_request, single
from api.records import job_record, job_summary
from api.schemas import JobPage, JobRecord
from api.submission import submit
from api.waiting import WAIT_SECONDS_MAX, preferred_wait, wait_final
from fumehood import notices
from fumehood.errors import BadField, BadRequest, Conflict, NotFound
from fumehood.job import Job, State, new_id
from fumehood.tenant import Tenant

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(known_parameters)])

# How long is a setting, filled in by `api.openapi`.
KEY_DESCRIPTION = "1 to 255 printable ASCII characters: the same request again gives the same job, for {idempotency_hours:g} hours."
_FILE = {"type": "string", "format": "binary"}
_EXAMPLES = {
    "smallest": {
        "summary": "A script alone",
        "value": {"script": "import pandas\n\ndef azureml_main():\n    return pandas.DataFrame({'a': [1, 2]}),\n"},
    },
    "everything": {
        "summary": "Parameters, limits and labels",
        "value": {
            "script": "import pandas\n\ndef azureml_main(*, rows=3):\n    return pandas.DataFrame({'n': range(rows)}),\n",
            "parameters": {"rows": 5},
            "limits": {"wall_seconds": 60, "memory_bytes": 536870912},
            "labels": {"team": "chemistry", "run": "42"},
            "callback_url": "https://example.com/hook",
        },
    },
}
_SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": "#/components/schemas/JobDocument"}, "examples": _EXAMPLES},
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "job": {"$ref": "#/components/schemas/JobDocument"},
                        "script": {**_FILE, "description": "Instead of `script` in the document."},
                        "dataset1": {**_FILE, "description": "The part's media type says the format, else its file name."},
                        "dataset2": _FILE,
                        "bundle": {**_FILE, "description": "A zip."},
                    },
                },
                "encoding": {"job": {"contentType": JSON}},
            },
        },
    }
}
Key = Annotated[str | None, Header(description=KEY_DESCRIPTION)]
Prefer = Annotated[str | None, Header(description="`wait=n`: 200 with the final record if it ends within n seconds, 60 at most.")]
_ABOUT_SUBMIT = headers("Location", "Idempotency-Replayed", "Preference-Applied")
SUBMITTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "Its record; the job is on disk.", "headers": {**_ABOUT_SUBMIT, **headers("Retry-After")}},
    200: {
        "description": "Its final record: it ended in the time of `Prefer`, or has the result of an earlier job.",
        "model": JobRecord,
        "headers": _ABOUT_SUBMIT,
    },
}


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    response_model=JobRecord,
    responses={**SUBMITTED, **problems(400, 408, 409, 413, 415)},
    openapi_extra=_SUBMIT_BODY,
)
async def submit_job(
    request: Request, response: Response, desk: DeskDep, tenant: TenantDep, idempotency_key: Key = None, prefer: Prefer = None
) -> JobRecord:
    """A job acknowledged with 202 is on disk and will end in a final state. What is certainly wrong is said at once (422). With `cache` a
    job may be final at once: with the result of an earlier job of the same script, inputs, parameters, limits and image."""
    return await take_in(request, response, desk, tenant, idempotency_key, OF_JOB)


async def take_in(
    request: Request, response: Response, desk: Desk, tenant: Tenant, idempotency_key: str | None, parts: Parts, of: Asked | None = None
) -> JobRecord:
    """Submit the job that a request is about, of a version where it is `of` one, and wait as it prefers."""
    single(request, "idempotency-key")
    seconds = preferred_wait(request.headers.getlist("prefer"))
    job_id = new_id("job")
    with desk.events.listen(job_id, kind="end") if seconds is not None else nullcontext() as bell:
        with ExitStack() as stack:
            raw, form = await read_request(request, desk, tenant, stack, parts)
            submitted = await submit(desk, tenant, raw, form, idempotency_key, job_id=job_id, of=of)
        job = submitted.job
        structlog.contextvars.bind_contextvars(job=job.id)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        if submitted.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        if seconds is not None:
            response.headers["Preference-Applied"] = f"wait={seconds:g}"
            job = await wait_final(desk, job, seconds, request.is_disconnected, bell=None if submitted.replayed else bell)
        if job.state.final and (seconds is not None or job.cached_from is not None):
            response.status_code = 200
            return job_record(job)
    response.headers["Retry-After"] = "1"
    return job_record(job)


@router.get(
    "", summary="List jobs", response_model=JobPage, responses={200: {"description": "A page.", "headers": headers("Link")}, **problems()}
)
async def list_jobs(
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    cursors: CursorsDep,
    state: Annotated[State | None, Query(description="Only jobs in this state.")] = None,
    label: Annotated[list[str], Query(description="Only jobs with this label, `key:value`; repeated: with all of them.")] = [],  # noqa: B006
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> JobPage:
    """Newest first."""
    pairs = _label_filter(label)
    jobs, following = await desk.ask(
        desk.store.list_jobs, tenant.id, state=state.value if state else None, labels=pairs, before=cursors.open(cursor), limit=limit
    )
    following = cursors.seal(following)
    link_next(response, "/v1/jobs", following, {"limit": limit, "state": state.value if state else None, "label": label})
    return JobPage(items=[job_summary(job) for job in jobs], next=following)


@router.get("/{job_id}", summary="A job's record", response_model=JobRecord, responses=problems(404, 410))
async def read_job(
    job_id: JobId,
    request: Request,
    desk: DeskDep,
    tenant: TenantDep,
    wait: Annotated[
        float, Query(ge=0, allow_inf_nan=False, description="Answer when the job is final, or after n seconds, 60 at most.")
    ] = 0,
) -> JobRecord:
    """A failed job is no error of the API: its record says what happened."""
    job = await find_job(desk, tenant, job_id)
    return job_record(await wait_final(desk, job, min(wait, WAIT_SECONDS_MAX), request.is_disconnected))


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job", response_model=JobRecord, responses=problems(404, 409, 410))
async def cancel_job(job_id: JobId, desk: DeskDep, tenant: TenantDep) -> JobRecord:
    """A queued job ends at once, a running one within seconds; asking again is fine. A final job is not changed (409)."""
    await find_job(desk, tenant, job_id)
    return job_record(await call_off(desk, tenant.id, job_id))


@router.delete("/{job_id}", status_code=204, summary="Forget a job", responses=problems(404, 409, 410))
async def delete_job(job_id: JobId, desk: DeskDep, tenant: TenantDep) -> None:
    """Record, log, live log and outputs. Refused while it has not ended, while another job reads its output, and for a
    job of a batch."""
    job = await find_job(desk, tenant, job_id)
    if job.batch is not None:
        raise Conflict(f"job {job_id} belongs to batch {job.batch}, and is forgotten together with it")
    await desk.forget(tenant.id, job.blob_prefix, partial(desk.store.delete_job, tenant.id, job_id))
    await desk.ask(desk.events.forget, job.id)


async def call_off(desk: Desk, tenant: str, job_id: str) -> Job:
    """The job with its cancel asked for; final where it waited. Raises NotFound, and Conflict where it had ended."""
    job = await desk.ask(desk.store.request_cancel, tenant, job_id)
    if job.state.final:
        desk.tally.count("fumehood_cancelled_before_start_total")
        reason = job.outcome.reason.value if job.outcome else None
        end = {"state": job.state.value, "reason": reason}
        await desk.ask(desk.events.publish_all, job.id, [("end", end)], notices.of_job(job))
    return job


def _label_filter(labels: list[str]) -> list[tuple[str, str]]:
    """Raises BadRequest where one cannot be a label of any job."""
    pairs, faults = [], []
    for label in labels:
        key, colon, value = label.partition(":")
        fault = label_fault(key, value) if colon else f"expected key:value; got {label[:80]!r}"
        if fault is not None:
            faults.append(BadField("/query/label", fault))
        pairs.append((key, value))
    if len(labels) > LABELS_MAX:
        faults = [BadField("/query/label", f"there are {len(labels)}; a job has {LABELS_MAX} labels at most")]
    if faults:
        raise BadRequest("a label cannot be used", errors=tuple(faults))
    return pairs


async def find_job(desk: Desk, tenant: Tenant, job_id: str) -> Job:
    """A tenant's own job. Errands are the service's, and nobody else's to see.

    Raises:
        NotFound: not there, not yours, or not a job of a tenant: one sentence for all.
        Gone: it was yours, and expired.
    """
    asked_for(job_id, "job")
    try:
        job = await desk.ask(desk.store.get_job, tenant.id, job_id)
    except NotFound:
        raise await absent(desk, tenant.id, job_id, "job") from None
    if not job.kind.shown:
        raise missing("job")
    return job
