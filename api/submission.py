"""Submission: from a request to a queued job. Nothing is stored until everything is valid; the row comes last."""

from __future__ import annotations

import hashlib
import keyword
import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from api import documents
from api.answers import require_id
from api.desk import Desk
from api.errands import check_space
from api.multipart import Arrived, Form
from api.names import showable
from api.problems import IdempotencyBusy
from api.schemas import JobDocument, JobOutput
from fumehood.dataset import FORMATS
from fumehood.errors import BadField, BadRequest, NotFound
from fumehood.job import Input, Job, Kind, State
from fumehood.job_store import Idempotency, Submitted
from fumehood.limits import Limits, check_parameters_size, requested
from fumehood.tenant import Tenant

LABELS_MAX = 16
LABEL_VALUE_CHARACTERS = 128
LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_PYDANTIC_SENTENCES: dict[str, str] = {
    "string_type": "expected a string",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "literal_error": "expected one of result, result2",
}


@dataclass(slots=True)
class Draft:
    """A job in the making: its inputs as far as they are known, and every fault found so far."""

    inputs: dict[str, Input] = field(default_factory=dict)
    faults: list[BadField] = field(default_factory=list)

    def fault(self, pointer: str, detail: str) -> None:
        self.faults.append(BadField(pointer, detail))


async def submit(desk: Desk, tenant: Tenant, raw: dict[str, Any], form: Form, key: str | None, *, job_id: str) -> Submitted:
    """Check everything, store the blobs, then the row, then send a ticket. A refused request leaves nothing behind. `job_id` is
    the new job's, where one is made.

    Raises:
        BadRequest: names every fault, also those of the script.
        IdempotencyReuse, IdempotencyBusy: the key stands for another request, or for one that is still being handled.
        DiskFull: there is no room for a run.
    """
    idempotency = _idempotency(raw, form, key)
    if idempotency is None:
        return await _submit(desk, tenant, raw, form, None, job_id)
    place = (tenant.id, idempotency.key)
    if place in desk.in_flight:
        raise IdempotencyBusy("the first request with this idempotency key is still being handled; try again in a moment")
    desk.in_flight.add(place)
    try:
        # Before all checks: the first answer is given again also when its inputs have been deleted since.
        known = await desk.ask(desk.store.find_idempotent, tenant.id, idempotency)
        return Submitted(known, replayed=True) if known else await _submit(desk, tenant, raw, form, idempotency, job_id)
    finally:
        desk.in_flight.discard(place)


async def _submit(desk: Desk, tenant: Tenant, raw: dict[str, Any], form: Form, idempotency: Idempotency | None, job_id: str) -> Submitted:
    document = _shape(raw)
    draft = Draft()
    source = _script(draft, document, form, desk.settings.script_bytes)
    await _connect(desk, tenant, draft, document, form, job_id)
    _labels(draft, document.labels)
    _parameters(draft, document.parameters)
    limits = _limits(draft, document.limits, desk)
    if source is not None and not draft.faults:
        tables = sum(port in draft.inputs for port in ("dataset1", "dataset2"))
        finding = await desk.check(source.decode("utf-8"), datasets=tables, bundle="bundle" in draft.inputs)
        draft.faults += [finding] if finding else []
    if draft.faults or source is None or limits is None:
        raise BadRequest("the job cannot be taken", errors=tuple(draft.faults))
    job = Job(
        id=job_id,
        tenant=tenant.id,
        kind=Kind.SCRIPT,
        inputs={"script": Input(blob=f"jobs/{job_id}/script.py", format="python", bytes=len(source)), **draft.inputs},
        parameters=document.parameters,
        limits=limits,
        labels=document.labels,
        attempts_max=desk.settings.attempts_max,
    )
    return await desk.file(_store, desk, job, source, form.files, idempotency)


def _store(desk: Desk, job: Job, source: bytes, files: dict[str, Arrived], idempotency: Idempotency | None) -> Submitted:
    """Blobs first, then the row, then its ticket. One blocking call: a request that is cancelled half-way cannot part the row from
    its blobs, and each way to a thread and back is a part of what the caller waits for."""
    check_space(desk, job.reserved_bytes + len(source))
    submitted: Submitted | None = None
    try:
        with desk.blobs.incoming(floor_bytes=desk.settings.disk_floor_bytes) as incoming:
            incoming.write(source)
            arrived = {port: file.incoming for port, file in files.items()} | {"script": incoming}
            desk.blobs.keep_all(job.tenant, {job.inputs[port].blob: file for port, file in arrived.items()})
        submitted = desk.store.submit(job, idempotency=idempotency)
    finally:
        if submitted is None or submitted.replayed:
            desk.blobs.delete(job.tenant, job.blob_prefix)
    if not submitted.replayed:
        desk.queue.send_ticket(job.kind.lane)
    return submitted


# checks --------------------------------------------------------------------------------------------------------------------


def _idempotency(raw: dict[str, Any], form: Form, key: str | None) -> Idempotency | None:
    """The request in one spelling: it matters what was sent, not in which parts, in which order, or with which boundary."""
    if key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        fault = BadField("/header/idempotency-key", "expected 1 to 255 printable ASCII characters")
        raise BadRequest("the Idempotency-Key cannot be used", errors=(fault,))
    files = {port: [arrived.incoming.sha256, arrived.format] for port, arrived in form.files.items()}
    source = form.script
    if source is None and isinstance(raw.get("script"), str):
        source, raw = raw["script"].encode(), {name: value for name, value in raw.items() if name != "script"}
    if source is not None:
        files["script"] = [hashlib.sha256(source).hexdigest(), "python"]
    return Idempotency(key, documents.digest({"document": raw, "files": files}))


def _shape(raw: dict[str, Any]) -> JobDocument:
    try:
        return JobDocument.model_validate(raw)
    except ValidationError as error:
        raise BadRequest("the job cannot be taken", errors=tuple(_bad_field(entry) for entry in error.errors())) from None


def _bad_field(entry: Any) -> BadField:
    steps = [str(step) for step in entry["loc"] if not str(step).startswith("<")]
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)[:200]
    if entry["type"] == "extra_forbidden":
        known = JobDocument.model_fields if len(steps) == 1 else JobOutput.model_fields
        return BadField(pointer, f"there is no field {steps[-1][:80]!r}; the fields are {', '.join(known)}")
    if entry["type"] == "missing":
        return BadField(pointer, "is missing")
    return BadField(pointer, f"{_PYDANTIC_SENTENCES.get(entry['type'], entry['msg'])}; got {documents.kind_of(entry['input'])}")


def _script(draft: Draft, document: JobDocument, form: Form, limit_bytes: int) -> bytes | None:
    if document.script is not None and form.script is not None:
        draft.fault("/script", "stands in the document and as a part; expected one of them")
        return None
    source = form.script if form.script is not None else document.script.encode() if document.script is not None else None
    if source is None:
        draft.fault("/script", "is missing; expected Python source that defines azureml_main")
    elif len(source) > limit_bytes:
        draft.fault("/script", f"is {len(source):,} bytes; the limit is {limit_bytes:,}")
    elif b"\0" in source:
        draft.fault("/script", f"holds a zero byte at {source.index(0):,}; expected Python source")
    else:
        try:
            source.decode("utf-8")
        except UnicodeDecodeError as error:
            draft.fault("/script", f"is not UTF-8: byte {error.start:,} does not fit")
    return source


async def _connect(desk: Desk, tenant: Tenant, draft: Draft, document: JobDocument, form: Form, job_id: str) -> None:
    for port in ("dataset1", "dataset2", "bundle"):
        reference, arrived = getattr(document, port), form.files.get(port)
        if reference is not None and arrived is not None:
            draft.fault(f"/{port}", "stands in the document and as a part; expected one of them")
        elif arrived is not None:
            draft.inputs[port] = Input(blob=f"jobs/{job_id}/{port}", format=arrived.format, bytes=arrived.incoming.bytes)
        elif isinstance(reference, JobOutput):
            await _connect_output(desk, tenant, draft, port, reference)
        elif reference is not None:
            await _connect_dataset(desk, tenant, draft, port, reference)


async def _connect_dataset(desk: Desk, tenant: Tenant, draft: Draft, port: str, dataset_id: str) -> None:
    try:
        dataset = await desk.ask(desk.store.get_dataset, tenant.id, require_id(dataset_id, "dataset"))
    except NotFound:
        draft.fault(f"/{port}", f"there is no dataset {dataset_id[:80]!r}")
        return
    if port == "bundle":
        if dataset.format != "zip":
            draft.fault("/bundle", f"dataset {dataset.id} has the format {dataset.format}; expected zip")
        else:
            draft.inputs[port] = Input(blob=dataset.blob, format="zip", bytes=dataset.bytes, dataset=dataset.id)
    elif dataset.table_blob is None:
        tables = ", ".join(name for name in FORMATS if name != "zip")
        draft.fault(f"/{port}", f"dataset {dataset.id} has the format {dataset.format}; expected a table ({tables})")
    else:
        draft.inputs[port] = Input(blob=dataset.table_blob, format="arrow", bytes=dataset.table_bytes or 0, dataset=dataset.id)


async def _connect_output(desk: Desk, tenant: Tenant, draft: Draft, port: str, reference: JobOutput) -> None:
    try:
        job = await desk.ask(desk.store.get_job, tenant.id, require_id(reference.job, "job"))
    except NotFound:
        job = None
    if job is None or job.kind is not Kind.SCRIPT:
        draft.fault(f"/{port}/job", f"there is no job {reference.job[:80]!r}")
    elif not job.state.final:
        draft.fault(f"/{port}/job", f"job {job.id} is {job.state}; expected one that has succeeded")
    elif job.state is not State.SUCCEEDED or job.outcome is None or reference.output not in job.outcome.outputs:
        draft.fault(f"/{port}/output", f"job {job.id} has {job.state} without an output {reference.output}")
    else:
        size = job.outcome.outputs[reference.output]
        source = {"job": job.id, "output": reference.output}
        draft.inputs[port] = Input(blob=job.output_blob(reference.output), format="arrow", bytes=size, source=source)


def _labels(draft: Draft, labels: dict[str, str]) -> None:
    if len(labels) > LABELS_MAX:
        draft.fault("/labels", f"there are {len(labels)} labels; the limit is {LABELS_MAX}")
    for name, value in labels.items():
        fault = label_fault(name, value)
        if fault is not None:
            draft.fault(f"/labels/{name}" if LABEL_KEY.fullmatch(name) else "/labels", fault)


def label_fault(name: str, value: str) -> str | None:
    """What is wrong with a label; None where nothing is."""
    if not LABEL_KEY.fullmatch(name):
        return f"the name {name[:80]!r} cannot be used; expected 1 to 63 letters, digits, '.', '_' or '-', a letter or digit first"
    if len(value) > LABEL_VALUE_CHARACTERS:
        return f"has {len(value):,} characters; the limit is {LABEL_VALUE_CHARACTERS}"
    if not showable(value):
        return "holds a control character or one that is no character"
    return None


def _parameters(draft: Draft, parameters: dict[str, Any]) -> None:
    if (too_many := check_parameters_size(parameters)) is not None:
        draft.faults.append(too_many)
    for name in parameters:
        if not name.isidentifier() or keyword.iskeyword(name):
            draft.fault("/parameters", f"the name {name[:80]!r} is no Python identifier")


def _limits(draft: Draft, values: dict[str, Any], desk: Desk) -> Limits | None:
    try:
        return requested(values, default=desk.settings.limits, ceiling=desk.settings.ceiling)
    except BadRequest as error:
        draft.faults += error.errors
        return None
