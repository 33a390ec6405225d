"""Publishing: from a request to a version and the job that checks it. Whatever it was made of, a version has files of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from api.desk import Desk
from api.drafts import Draft, check_parameters, connect, idempotency_of, limits_of, script_of, shape_of
from api.errands import check_space
from api.multipart import Form
from api.names import showable
from api.script_schemas import ParameterDocument, VersionDocument
from fumehood import notices
from fumehood.errors import BadField, BadRequest, NotFound, StoreUnavailable
from fumehood.job import Input, Job, new_id
from fumehood.job_store import Idempotency
from fumehood.script import CONCURRENCY_MAX, PART_OF_PORT, SAMPLE_BYTES, Version, check_of, fits
from fumehood.tenant import Tenant

REFUSED = "the version cannot be taken"
DESCRIPTION_CHARACTERS = 1000
PARAMETERS_MAX = 100
RESERVED = frozenset({"version", "alias"})
"""What a call says of itself, where it says its parameters."""
PORT_OF_PART = {part: port for port, part in PART_OF_PORT.items()}
_HASHED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Making:
    """A version that is to be stored: what came with the request, and what lies in the store already."""

    version: Version
    check: Job
    source: bytes
    form: Form
    stored: dict[str, Input]
    """By port, where the bytes are a dataset's or a job's."""


async def publish(
    desk: Desk, tenant: Tenant, name: str, raw: dict[str, Any], form: Form, key: str | None, *, job_id: str
) -> tuple[Version, bool]:
    """Check everything, store the blobs, then version and check, then send a ticket. A refused request leaves nothing behind. The flag
    is True where the idempotency key was known: the version is then the first one.

    Raises:
        BadRequest: names every fault, also those of the script.
        IdempotencyReuse, IdempotencyBusy: the key stands for another request, or for one that is still being handled.
        DiskFull: there is no room for a run.
    """
    # The same document under another name is another request.
    idempotency = idempotency_of({**raw, "/name": name}, form, key)
    if idempotency is None:
        return await _publish(desk, tenant, name, raw, form, None, job_id)
    with desk.handling(tenant.id, idempotency.key):
        known = await desk.ask(desk.store.find_idempotent_version, tenant.id, idempotency.key, idempotency.request_sha256)
        return (known, True) if known else await _publish(desk, tenant, name, raw, form, idempotency, job_id)


async def _publish(
    desk: Desk, tenant: Tenant, name: str, raw: dict[str, Any], form: Form, idempotency: Idempotency | None, job_id: str
) -> tuple[Version, bool]:
    document = shape_of(VersionDocument, raw, refused=REFUSED, inner={"parameters": ParameterDocument})
    draft, version_id = Draft(), new_id("ver")
    prefix = f"scripts/{version_id}"
    source = script_of(draft, document.script, form, desk.settings.script_bytes)
    await connect(desk, tenant.id, draft, {"bundle": document.bundle, "sample": document.sample}, form.files, prefix=prefix)
    parameters = _parameters(draft, document)
    limits = limits_of(draft, document.limits, desk, tenant)
    _check_text(draft, "/description", document.description)
    if not 1 <= document.concurrency <= CONCURRENCY_MAX:
        draft.fault("/concurrency", f"is {document.concurrency}; expected a whole number from 1 to {CONCURRENCY_MAX}")
    sample = draft.inputs.get("sample")
    if sample is not None and sample.bytes > SAMPLE_BYTES:
        draft.fault("/sample", f"is {sample.bytes:,} bytes; the limit is {SAMPLE_BYTES:,}")
    if source is not None and not draft.faults:
        finding = await desk.check(source.decode("utf-8"), datasets=int(sample is not None), bundle="bundle" in draft.inputs)
        draft.faults += [finding] if finding else []
    if draft.faults or source is None or limits is None:
        raise BadRequest(REFUSED, errors=tuple(draft.faults))
    given = {PORT_OF_PART[part]: connected for part, connected in draft.inputs.items()}
    own = {
        port: Input(blob=f"{prefix}/{PART_OF_PORT[port]}", format=connected.format, bytes=connected.bytes, version=version_id)
        for port, connected in given.items()
    }
    script = Input(blob=f"{prefix}/script.py", format="python", bytes=len(source), version=version_id)
    version = Version(
        id=version_id,
        tenant=tenant.id,
        script=name,
        inputs={"script": script, **own},
        parameters=parameters,
        limits=limits,
        concurrency=document.concurrency,
        description=document.description,
        job=job_id,
    )
    check = check_of(version, job_id, attempts_max=desk.settings.attempts_max, retention=tenant.retention)
    stored = {port: connected for port, connected in given.items() if not connected.blob.startswith(f"{prefix}/")}
    return await desk.file(_store, desk, Making(version, check, source, form, stored), idempotency)


def _store(desk: Desk, making: Making, idempotency: Idempotency | None) -> tuple[Version, bool]:
    """As for a job: blobs first, then the rows, then the ticket, in one blocking call."""
    version, check = making.version, making.check
    check_space(desk, check.reserved_bytes + len(making.source))
    with desk.blobs.unsettled(version.tenant, version.blob_prefix):
        try:
            version = replace(version, digests=_keep(desk, making))
            key = {} if idempotency is None else {"key": idempotency.key, "request_sha256": idempotency.request_sha256}
            stored, replayed = desk.store.publish(version, check, **key)
        except StoreUnavailable:
            raise  # As for a job: a worker looks whether the rows are there.
        except BaseException:
            desk.blobs.delete(version.tenant, version.blob_prefix)
            raise
        if replayed:
            desk.blobs.delete(version.tenant, version.blob_prefix)
    if not replayed:
        desk.events.notify(notices.of_job(check))
        desk.queue.send_ticket(check.kind.lane)
    return stored, replayed


def _keep(desk: Desk, making: Making) -> dict[str, str]:
    """All files of the version, in its own place. Their digests, by port."""
    version = making.version
    with desk.blobs.incoming(floor_bytes=desk.settings.disk_floor_bytes) as incoming:
        incoming.write(making.source)
        parts = {"script": incoming} | {part: arrived.incoming for part, arrived in making.form.files.items()}
        arrived = {PORT_OF_PART[part]: file for part, file in parts.items()}
        desk.blobs.keep_all(version.tenant, {version.inputs[port].blob: file for port, file in arrived.items()})
        digests = {port: file.sha256 for port, file in arrived.items()}
    for port, given in making.stored.items():
        try:
            desk.blobs.link(version.tenant, given.blob, version.inputs[port].blob)
        except NotFound:
            raise BadRequest(REFUSED, errors=(BadField(f"/{PART_OF_PORT[port]}", "was deleted meanwhile"),)) from None
        digests[port] = _digest(desk, version.tenant, version.inputs[port].blob)
    return digests


def _digest(desk: Desk, tenant: str, key: str) -> str:
    found = hashlib.sha256()
    with desk.blobs.open(tenant, key) as blob:
        while piece := blob.read(_HASHED_BYTES):
            found.update(piece)
    return found.hexdigest()


# parameters --------------------------------------------------------------------------------------------------------------


def _parameters(draft: Draft, document: VersionDocument) -> dict[str, dict[str, Any]] | None:
    """What a document says of them, without what it leaves out."""
    if document.parameters is None:
        return None
    if len(document.parameters) > PARAMETERS_MAX:
        draft.fault("/parameters", f"there are {len(document.parameters):,}; the limit is {PARAMETERS_MAX}")
        return None
    said = {name: one.model_dump(exclude_unset=True) for name, one in document.parameters.items()}
    check_parameters(draft, said)
    for name in RESERVED & said.keys():
        draft.fault(f"/parameters/{name}", "cannot be a parameter: in the address of a call it says which version is meant")
    for name, one in said.items():
        _check_parameter(draft, f"/parameters/{name}"[:200], one)
    return said


def _check_parameter(draft: Draft, at: str, said: dict[str, Any]) -> None:
    _check_text(draft, f"{at}/description", said.get("description", ""))
    if not {"default", "example"} & said.keys():
        draft.fault(at, "has neither a default nor an example; expected one of them, as the check needs a value")
    for field in {"default", "example"} & said.keys():
        value = said[field]
        if not fits(said["type"], value) and not (field == "default" and value is None):
            draft.fault(f"{at}/{field}", f"is no {said['type']}")


def _check_text(draft: Draft, at: str, text: str) -> None:
    if len(text) > DESCRIPTION_CHARACTERS or not showable(text):
        draft.fault(at, f"expected one line of at most {DESCRIPTION_CHARACTERS:,} characters")
