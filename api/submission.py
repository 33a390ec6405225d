"""Submission: from a request to a queued job. Nothing is stored until everything is valid; the row comes last."""

from __future__ import annotations

import hashlib
from typing import Any

from api.call_parameters import check_given, check_typed, missing
from api.call_tables import missing_table
from api.calls import Asked
from api.desk import Desk
from api.drafts import (
    Draft,
    check_callback,
    check_labels,
    check_parameters,
    check_priority,
    connect,
    idempotency_of,
    limits_of,
    refuse_own,
    script_of,
    shape_of,
)
from api.errands import check_space
from api.multipart import Arrived, Form
from api.result_cache import look_up, take_over
from api.schemas import JobDocument
from fumehood import notices
from fumehood.errors import BadRequest, StoreUnavailable
from fumehood.job import Input, Job, Kind
from fumehood.job_store import Idempotency, Submitted
from fumehood.script import Version, called_with
from fumehood.tenant import Tenant

REFUSED = "the job cannot be taken"


async def submit(
    desk: Desk, tenant: Tenant, raw: dict[str, Any], form: Form, key: str | None, *, job_id: str, of: Asked | None = None
) -> Submitted:
    """Check everything, store the blobs, then the row, then send a ticket. A refused request leaves nothing behind. `job_id` is
    the new job's, where one is made; `of` the version of a script that it runs, instead of a script of its own.

    Raises:
        BadRequest: names every fault, also those of the script.
        IdempotencyReuse, IdempotencyBusy: the key stands for another request, or for one that is still being handled.
        DiskFull: there is no room for a run.
    """
    idempotency = idempotency_of(raw if of is None else of.beside(raw), form, key)
    if idempotency is None:
        return await _submit(desk, tenant, raw, form, None, job_id, of)
    with desk.handling(tenant.id, idempotency.key):
        # Before all checks: the first answer is given again also when its inputs, or its version, have been deleted since.
        known = await desk.ask(desk.store.find_idempotent, tenant.id, idempotency)
        return Submitted(known, replayed=True) if known else await _submit(desk, tenant, raw, form, idempotency, job_id, of)


async def _submit(
    desk: Desk,
    tenant: Tenant,
    raw: dict[str, Any],
    form: Form,
    idempotency: Idempotency | None,
    job_id: str,
    of: Asked | None,
) -> Submitted:
    version = of.version if of is not None else None
    document = shape_of(JobDocument, raw, refused=REFUSED, inner={})
    draft = Draft()
    if version is None:
        source = script_of(draft, document.script, form, desk.settings.script_bytes)
    else:
        source = None
        refuse_own(draft, document)
        check_typed(draft, version, document.parameters)
        check_given(draft, missing(version, document.parameters))
        if document.dataset1 is None and "dataset1" not in form.files and (no_table := missing_table(version)) is not None:
            draft.fault("/dataset1", no_table)
    ports = {"dataset1": document.dataset1, "dataset2": document.dataset2, "bundle": document.bundle}
    await connect(desk, tenant.id, draft, ports, form.files, prefix=f"jobs/{job_id}")
    check_labels(draft, document.labels)
    check_callback(draft, document.callback_url, desk)
    check_priority(draft, document.priority)
    check_parameters(draft, document.parameters)
    limits = limits_of(draft, document.limits, desk, tenant, version)
    if source is not None and not draft.faults:
        tables = sum(port in draft.inputs for port in ("dataset1", "dataset2"))
        finding = await desk.check(source.decode("utf-8"), datasets=tables, bundle="bundle" in draft.inputs)
        draft.faults += [finding] if finding else []
    if draft.faults or limits is None:
        raise BadRequest(REFUSED, errors=tuple(draft.faults))
    if version is not None:
        inputs, parameters = {**draft.inputs, **version.called}, called_with(version, document.parameters)
    else:
        assert source is not None
        script = Input(blob=f"jobs/{job_id}/script.py", format="python", bytes=len(source))
        inputs, parameters = {"script": script, **draft.inputs}, document.parameters
    job = Job(
        id=job_id,
        tenant=tenant.id,
        kind=Kind.SCRIPT,
        inputs=inputs,
        parameters=parameters,
        limits=limits,
        labels=document.labels,
        callback_url=document.callback_url,
        priority=document.priority,
        attempts_max=desk.settings.attempts_max,
        retention=tenant.retention,
    )
    job, earlier = await desk.ask(look_up, desk, job, _digests(version, source, form)) if document.cache else (job, None)
    return await desk.file(_store, desk, job, source, form.files, idempotency, earlier)


def _digests(version: Version | None, source: bytes | None, form: Form) -> dict[str, str]:
    """SHA-256 (hex), by port, of what is not a stored table or bundle."""
    arrived = {port: file.incoming.sha256 for port, file in form.files.items()}
    if version is not None:
        return arrived | {port: version.digests[port] for port in version.called}
    return arrived | {"script": hashlib.sha256(source or b"").hexdigest()}


def _store(
    desk: Desk, job: Job, source: bytes | None, files: dict[str, Arrived], idempotency: Idempotency | None, earlier: Job | None
) -> Submitted:
    """Blobs first, then the row, then its ticket. One blocking call: a request that is cancelled half-way cannot part the row from
    its blobs, and each way to a thread and back is a part of what the caller waits for."""
    check_space(desk, len(source or b"") + (job.reserved_bytes if earlier is None else 0))
    with desk.blobs.unsettled(job.tenant, job.blob_prefix):
        try:
            with desk.blobs.incoming(floor_bytes=desk.settings.disk_floor_bytes) as incoming:
                arrived = {port: file.incoming for port, file in files.items()}
                if source is not None:
                    incoming.write(source)
                    arrived["script"] = incoming
                desk.blobs.keep_all(job.tenant, {job.inputs[port].blob: file for port, file in arrived.items()})
            if earlier is not None and take_over(desk, job, earlier):
                submitted = desk.store.submit_cached(job, earlier, idempotency=idempotency)
            else:
                submitted = desk.store.submit(job, idempotency=idempotency)
        except StoreUnavailable:
            raise  # The row may be there, only the answer lost: a worker looks, and then removes the blobs or not.
        except BaseException:
            desk.blobs.delete(job.tenant, job.blob_prefix)
            raise
        if submitted.replayed:
            desk.blobs.delete(job.tenant, job.blob_prefix)
    if not submitted.replayed:
        desk.events.notify(notices.of_job(submitted.job))
    if not submitted.replayed and not submitted.job.state.final:
        desk.queue.send_ticket(job.kind.lane)
    return submitted
