"""/v1/scripts/{script}/score: a script is called with a table, and what it makes of it is the answer.

A call is a job like any other, with a sandbox of its own. Its caller waits; the answer is written in the sandbox, in the format that
the caller takes, and is sent as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext, suppress
from typing import Any, BinaryIO

import structlog
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from api import bodies
from api.answers import binary, headers, problems
from api.auth import TenantDep
from api.call_parameters import from_query
from api.call_tables import missing_table
from api.calls import AskedAlias, AskedVersion, asked_version
from api.content import SANDBOXED, Representation, accept_of, choose, send_blob
from api.desk import Desk, DeskDep
from api.documents import presentable
from api.errands import check_space
from api.jobs import call_off
from api.multipart import Arrived
from api.problems import CallCancelled, CallFailed, CallLost, CallRefused, CallUnfinished, UnknownMediaType
from api.records import report_of
from api.script_names import ScriptName
from api.waiting import wait_final
from fumehood import notices
from fumehood.blob_files import Incoming
from fumehood.dataset import FORMATS, TABLE_FORMATS, format_of
from fumehood.errors import BadField, BadRequest, Conflict, NotFound, StoreUnavailable
from fumehood.job import Input, Job, Kind, State, new_id
from fumehood.limits import at_most
from fumehood.outcome import Blame, Outcome, Reason
from fumehood.script import Version, called_with
from fumehood.tenant import Tenant

router = APIRouter(prefix="/v1/scripts", tags=["scripts"])

SCORE_SECONDS = 60.0
"""So long a caller waits at most."""
ANSWERS = ("json", *(name for name in TABLE_FORMATS if name != "json"))
"""The formats of an answer; the first where the caller does not mind."""
REFUSED = (Reason.BAD_INPUT, Reason.BAD_PARAMETERS)
"""The endings that are about what the caller sent, before anything of the script ran."""
_MEDIA_TYPES = [media for name in TABLE_FORMATS for media in FORMATS[name][0]]
_EXAMPLES: dict[str, Any] = {
    "application/json": {"columns": ["a", "b"], "values": [[1, 2], [3, None]]},
    "application/x-ndjson": '{"a": 1, "b": 2}\n{"a": 3, "b": null}\n',
    "text/csv": "a,b\n1,2\n3,4\n",
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "The table, in the format that its media type says. In JSON: records, columns, or names of columns with rows.",
        "content": {
            media: described | ({"example": _EXAMPLES[media]} if media in _EXAMPLES else {})
            for media, described in binary(*_MEDIA_TYPES).items()
        },
    }
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The result.",
        "content": binary(*(FORMATS[name][0][0] for name in ANSWERS)),
        "headers": headers("Fumehood-Job", "Fumehood-Script", "Vary"),
    },
    **problems(400, 404, 406, 408, 409, 413, 415, 504),
}


@router.post("/{script}/score", summary="Call a script", response_class=Response, responses=_ANSWER, openapi_extra=_BODY)
async def score_script(
    script: ScriptName, request: Request, desk: DeskDep, tenant: TenantDep, version: AskedVersion = None, alias: AskedAlias = None
) -> Response:
    """Runs a version on the table of the body, in a sandbox of its own, and answers with its result in the format that `Accept` chooses,
    JSON records where it does not. Whatever else stands in the query is a parameter of the script. A table that has not the columns of
    the sample is refused (422), the script's own error is told (400). A call that takes longer than 60 seconds is cancelled."""
    found = await asked_version(desk, tenant, script, version, alias)
    parameters = from_query(found, request.query_params.multi_items())
    answer = choose(accept_of(request), [Representation(format=name) for name in ANSWERS]).format
    with ExitStack() as stack:
        table = await receive(request, desk, tenant, stack)
        if table is None and (missing := missing_table(found)) is not None:
            raise BadRequest("the body is empty", errors=(BadField("/body", missing),))
        job = await score(desk, tenant, found, table=table, parameters=parameters, answer=answer, gone=request.is_disconnected)
    return await send_answer(request, desk, found, job)


async def receive(request: Request, desk: Desk, tenant: Tenant, stack: ExitStack) -> Arrived | None:
    """The table that a body is, on disk; None where the body is empty. `stack` removes what was not kept.

    Raises:
        UnsupportedFormat: no reader knows its media type.
        TooLarge, BodyStalled, …: as `bodies.consume` does.
    """
    media_type = request.headers.get("content-type", "")
    format = format_of(media_type, None)
    arrived: Arrived | None = None

    def write(piece: bytes) -> None:
        nonlocal arrived
        if format not in TABLE_FORMATS:
            expected = ", ".join(_MEDIA_TYPES)
            raise UnknownMediaType(f"the Content-Type is {media_type[:80]!r}; expected one of {expected}", available=_MEDIA_TYPES)
        if arrived is None:
            incoming: Incoming = stack.enter_context(desk.blobs.incoming(floor_bytes=desk.settings.disk_floor_bytes))
            arrived = Arrived(incoming, format)
        arrived.incoming.write(piece)

    limit_bytes = min(desk.settings.dataset_bytes, tenant.quota.dataset_bytes)
    idle_seconds = desk.settings.body_idle_seconds
    await bodies.consume(
        request, lambda piece: desk.file(write, piece), limit_bytes=limit_bytes, idle_seconds=idle_seconds, what="the table"
    )
    return arrived


async def score(
    desk: Desk,
    tenant: Tenant,
    version: Version,
    *,
    table: Arrived | None,
    parameters: dict[str, Any],
    answer: str,
    gone: Callable[[], Awaitable[bool]],
) -> Job:
    """Call a version that is ready, and wait. The job has succeeded; its `result` is in the format `answer`.

    `parameters`: those that the caller said; the version's defaults are added. `gone` says that nobody waits any more: the job is then
    cancelled, as it is when the time is over.

    Raises:
        TooManyCalls: as many calls of the version as may have not ended.
        QuotaExceeded, DiskFull: as for any job.
        NotFound: the version was deleted just now, or the job while it was waited for.
        CallFailed: its family says how the job ended without an answer.
    """
    job = _job(desk, tenant, version, table=table, parameters=parameters, answer=answer)
    with desk.events.listen(job.id, kind="end") as bell:
        job = await desk.file(_store, desk, job, table)
        structlog.contextvars.bind_contextvars(job=job.id)
        try:
            job = await wait_final(desk, job, SCORE_SECONDS, gone, bell=bell)
        except BaseException:
            desk.later(_abandon(desk, job))
            raise
    if not job.state.final:
        nobody = await gone()
        ended = await _ended_meanwhile(desk, job)
        if nobody:
            raise ClientDisconnect
        if ended is None:
            detail = f"the call had not ended within {SCORE_SECONDS:g} seconds, and was cancelled; a job of the script may run longer"
            raise CallUnfinished(detail, job=job.id, reason=None)
        job = ended
    _require_success(job)
    return job


async def send_answer(request: Request, desk: Desk, version: Version, job: Job, *, media_type: str | None = None) -> Response:
    """The result of a job of `score` as it is. `media_type` is said where its format is no table's of ours."""
    told = told_of(version, job)
    media_type = media_type or FORMATS[job.output_format("result")][0][0]
    blob = await open_answer(desk, job)
    if blob is None:
        return Response(b"", 200, told, media_type)
    return await send_blob(request, desk, blob, media_type=media_type, identity=None, headers=told)


async def open_answer(desk: Desk, job: Job) -> BinaryIO | None:
    """The bytes of the result; None where it has none: a table without columns is no text."""
    if job.outcome is None or "result" not in job.outcome.outputs:
        return None
    return await desk.file(desk.blobs.open, job.tenant, job.output_blob("result"))


def told_of(version: Version, job: Job) -> dict[str, str]:
    """The headers of an answer."""
    return {
        **SANDBOXED,
        "Fumehood-Job": job.id,
        "Fumehood-Script": f"{version.script}/{version.number}",
        "Vary": "Accept",
        "Cache-Control": "no-store",
    }


# -------------------------------------------------------------------------------------------------------------------------
def _job(desk: Desk, tenant: Tenant, version: Version, *, table: Arrived | None, parameters: dict[str, Any], answer: str) -> Job:
    job_id = new_id("job")
    inputs = version.called
    if table is not None:
        inputs["dataset1"] = Input(blob=f"jobs/{job_id}/dataset1", format=table.format, bytes=table.incoming.bytes)
    return Job(
        id=job_id,
        tenant=tenant.id,
        kind=Kind.SCORE,
        inputs=inputs,
        parameters=called_with(version, parameters),
        limits=at_most(version.limits, tenant.quota.ceiling),
        target_format=answer,
        attempts_max=desk.settings.attempts_max,
        retention=tenant.retention,
    )


def _store(desk: Desk, job: Job, table: Arrived | None) -> Job:
    """As for a job: its blob first, then the row, then the ticket, in one blocking call."""
    check_space(desk, job.reserved_bytes)
    with desk.blobs.unsettled(job.tenant, job.blob_prefix) if table is not None else nullcontext():
        try:
            if table is not None:
                desk.blobs.keep(table.incoming, job.tenant, job.inputs["dataset1"].blob)
            job = desk.store.submit(job).job
        except StoreUnavailable:
            raise  # As for a job: a worker looks whether the row is there.
        except BaseException:
            desk.blobs.delete(job.tenant, job.blob_prefix)
            raise
    desk.events.notify(notices.of_job(job))
    desk.queue.send_ticket(job.kind.lane)
    return job


async def _abandon(desk: Desk, job: Job) -> None:
    """Nobody will take its answer."""
    with suppress(Conflict, NotFound):
        await call_off(desk, job.tenant, job.id)


async def _ended_meanwhile(desk: Desk, job: Job) -> Job | None:
    """Cancel it; the job where it has just ended by itself."""
    with suppress(Conflict):
        await call_off(desk, job.tenant, job.id)
        return None
    return await desk.ask(desk.store.get_job, job.tenant, job.id)


def _require_success(job: Job) -> None:
    """Raises one of the family of CallFailed."""
    outcome = job.outcome
    assert outcome is not None
    if job.state is State.SUCCEEDED:
        return
    reason, said = outcome.reason, presentable(outcome.message) or f"the call ended as {outcome.reason}"
    if reason.blame is Blame.SERVICE:
        raise CallLost(f"the sandbox failed ({reason}); try again", job=job.id, reason=reason.value)
    if reason is Reason.CANCELLED:
        raise CallCancelled("the call was cancelled before it had ended", job=job.id, reason=reason.value)
    if reason in REFUSED:
        refused = CallRefused(said, job=job.id, reason=reason.value, error=presentable(outcome.error))
        refused.errors = _columns(outcome)
        raise refused
    raise CallFailed(said, job=job.id, reason=reason.value, error=presentable(outcome.error))


def _columns(outcome: Outcome) -> tuple[BadField, ...]:
    """What the runner noted, column by column, of a table that is not as the version's sample was."""
    notes = report_of(outcome).get("notes")
    noted = [note for note in notes if isinstance(note, dict)] if isinstance(notes, list) else []
    return tuple(
        BadField(f"/body/{_step(note.get('column'))}", str(presentable(str(note.get("text", "")))))
        for note in noted
        if note.get("kind") == "unexpected_column"
    )


def _step(name: Any) -> str:
    """Of a JSON pointer."""
    return str(presentable(str(name))).replace("~", "~0").replace("/", "~1")
