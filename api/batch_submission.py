"""Submission of a batch: as that of a job, with every fault of every item named, and all inline tables in one file."""

from __future__ import annotations

from functools import partial
from typing import Any

from api.batch_schemas import BatchDocument, BatchItemDocument
from api.call_parameters import check_given, check_typed, missing
from api.call_tables import missing_table
from api.calls import Asked
from api.desk import Desk
from api.drafts import (
    Draft,
    Reference,
    check_callback,
    check_labels,
    check_parameters,
    connect,
    idempotency_of,
    limits_of,
    refuse_own,
    resolve,
    script_of,
    shape_of,
)
from api.errands import check_space
from api.health import workers_seen
from api.multipart import ArrivedItem, Form
from api.names import showable
from api.schemas import JobOutput
from fumehood import notices
from fumehood.batch import ITEMS_MAX, JOBS_PARAMETERS_BYTES, Batch, Isolation, Item, OnFailure, Terms
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.errors import BadField, BadRequest, StoreUnavailable
from fumehood.job import Input, Lane, new_id
from fumehood.job_store import Idempotency
from fumehood.limits import PARAMETERS_BYTES, parameters_bytes
from fumehood.script import Version, called_with
from fumehood.tenant import Tenant

REFUSED = "the batch cannot be taken"
NAME_CHARACTERS = 200
TWICE = "stands in the document and as a part"
# Each ticket wakes a slot, which then claims until nothing is left.
TICKETS = 8


async def submit(
    desk: Desk, tenant: Tenant, raw: dict[str, Any], form: Form, key: str | None, *, of: Asked | None = None
) -> tuple[Batch, bool]:
    """Check everything, store the blobs, then all rows, then send tickets. A refused request leaves nothing behind. The flag is
    True where the idempotency key was known: the batch is then the first one. `of`: as for a job.

    Raises:
        BadRequest: names every fault, as far as 50.
        IdempotencyReuse, IdempotencyBusy: the key stands for another request, or for one that is still being handled.
        DiskFull: there is no room for a run.
    """
    idempotency = idempotency_of(raw if of is None else of.beside(raw), form, key)
    if idempotency is None:
        return await _submit(desk, tenant, raw, form, None, of)
    with desk.handling(tenant.id, idempotency.key):
        known = await desk.ask(desk.store.find_idempotent_batch, tenant.id, idempotency.key, idempotency.request_sha256)
        return (known, True) if known else await _submit(desk, tenant, raw, form, idempotency, of)


async def _submit(
    desk: Desk, tenant: Tenant, raw: dict[str, Any], form: Form, idempotency: Idempotency | None, of: Asked | None
) -> tuple[Batch, bool]:
    version = of.version if of is not None else None
    # Ten thousand items take longer than the way to a thread and back.
    document = await desk.parse(partial(shape_of, BatchDocument, raw, refused=REFUSED, inner={"items": BatchItemDocument}))
    draft, batch_id = Draft(), new_id("bat")
    prefix = f"batches/{batch_id}"
    if version is None:
        source = script_of(draft, document.script, form, desk.settings.script_bytes)
    else:
        source = None
        refuse_own(draft, document)
        check_typed(draft, version, document.parameters)
        document.parameters = called_with(version, document.parameters)
    await connect(desk, tenant.id, draft, {"dataset2": document.dataset2, "bundle": document.bundle}, form.files, prefix=prefix)
    check_labels(draft, document.labels)
    check_callback(draft, document.callback_url, desk)
    check_parameters(draft, document.parameters)
    limits = limits_of(draft, document.limits, desk, tenant, version)
    items = await desk.ask(_items, desk, tenant.id, draft, document, form, prefix, version)
    if source is not None and not draft.faults:
        ports = {*draft.inputs, *items[0].inputs}
        finding = await desk.check(source.decode("utf-8"), datasets=sum(port in ports for port in TABLES), bundle="bundle" in ports)
        draft.faults += [finding] if finding else []
    if draft.faults or limits is None:
        raise BadRequest(REFUSED, errors=tuple(draft.faults))
    script = Input(blob=f"{prefix}/script.py", format="python", bytes=len(source or b""))
    own = {"script": script} if version is None else version.called
    batch = Batch(
        id=batch_id,
        tenant=tenant.id,
        isolation=Isolation(document.isolation),
        items=len(items),
        inputs={**draft.inputs, **own},
        parameters=document.parameters,
        limits=limits,
        labels=document.labels,
        callback_url=document.callback_url,
        on_failure=OnFailure(document.on_failure),
        retention=tenant.retention,
    )
    return await desk.file(_store, desk, batch, items, await terms_of(desk, tenant), source, form, idempotency)


async def terms_of(desk: Desk, tenant: Tenant) -> Terms:
    """What jobs of batches are made with now."""
    slots = sum(int(facts.get("jobs_slots", 0)) for facts in await workers_seen(desk))
    return Terms(attempts_max=desk.settings.attempts_max, ceiling_seconds=tenant.quota.ceiling.wall_seconds, slots=slots)


def send_tickets(desk: Desk, jobs: int) -> None:
    """For so many jobs that wait now."""
    for _ in range(min(TICKETS, jobs)):
        desk.queue.send_ticket(Lane.JOBS)


def _store(
    desk: Desk, batch: Batch, items: list[Item], terms: Terms, source: bytes | None, form: Form, idempotency: Idempotency | None
) -> tuple[Batch, bool]:
    """As for a job: blobs first, then the rows, then the tickets, in one blocking call."""
    check_space(desk, batch.limits.reserved_bytes + len(source or b""))
    with desk.blobs.unsettled(batch.tenant, batch.blob_prefix):
        try:
            with desk.blobs.incoming(floor_bytes=desk.settings.disk_floor_bytes) as incoming:
                arrived = {batch.inputs[port].blob: file.incoming for port, file in form.files.items()}
                if source is not None:
                    incoming.write(source)
                    arrived[batch.inputs["script"].blob] = incoming
                arrived |= {f"{batch.blob_prefix}/pack": form.pack} if form.pack else {}
                desk.blobs.keep_all(batch.tenant, arrived)
            key = {} if idempotency is None else {"key": idempotency.key, "request_sha256": idempotency.request_sha256}
            stored = desk.store.submit_batch(batch, items, terms, **key)
        except StoreUnavailable:
            raise  # As for a job: a worker looks whether the rows are there.
        except BaseException:
            desk.blobs.delete(batch.tenant, batch.blob_prefix)
            raise
        if stored[1]:
            desk.blobs.delete(batch.tenant, batch.blob_prefix)
    if not stored[1]:
        desk.events.notify(notices.of_new_batch(batch.tenant, batch.id))
        send_tickets(desk, len(items))
    return stored


# items -------------------------------------------------------------------------------------------------------------------

TABLES = ("dataset1", "dataset2")


def _items(desk: Desk, tenant: str, draft: Draft, document: BatchDocument, form: Form, prefix: str, version: Version | None) -> list[Item]:
    """Every item, from the document, from the form, or from both; faults go to `draft`, at least one where there is no item. Blocks on
    the store."""
    count = len(form.items) if document.items is None else len(document.items)
    if not 1 <= count <= ITEMS_MAX:
        draft.fault("/items", f"there are {count:,}; expected 1 to {ITEMS_MAX:,}")
        return []
    if form.items and len(form.items) != count:
        draft.fault("/items", f"there are {count:,} in the document and {len(form.items):,} parts; expected as many, or one of them")
        return []
    known: dict[tuple[str, str], Input | BadField] = {}

    def found(port: str, reference: Reference) -> Input | BadField:
        """The same table may stand at many items; it is looked up once."""
        place = (port, reference.model_dump_json() if isinstance(reference, JobOutput) else reference)
        if place not in known:
            known[place] = resolve(desk.store, tenant, port, reference)
        return known[place]

    items, shared_bytes, all_bytes = [], parameters_bytes(document.parameters), 0
    no_table = missing_table(version) if version is not None else None
    not_shared = missing(version, document.parameters) if version is not None else {}
    for number, given in enumerate(document.items or [BatchItemDocument()] * count):
        at, inputs = f"/items/{number}", {}
        arrived = form.items[number] if form.items else None
        for port, reference in (("dataset1", given.dataset1), ("dataset2", given.dataset2)):
            resolved = found(port, reference) if reference is not None else None
            if arrived is not None and port == "dataset1":
                resolved = _arrived(arrived, prefix) if reference is None else BadField("", f"{TWICE}; expected one of them")
            if isinstance(resolved, BadField):
                draft.fault(f"{at}/{port}{resolved.pointer}", resolved.detail)
            elif resolved is not None:
                inputs[port] = resolved
            elif port == "dataset1" and no_table is not None:
                draft.fault(f"{at}/dataset1", no_table)
        both_bytes = shared_bytes + (parameters_bytes(given.parameters) if given.parameters else 0)
        all_bytes += both_bytes
        if given.parameters:
            # Together only where that may be too long: the shared ones were looked at once.
            together = {**document.parameters, **given.parameters} if both_bytes > PARAMETERS_BYTES else given.parameters
            check_parameters(draft, together, at=at)
            if version is not None:
                check_typed(draft, version, given.parameters, at=at)
        if not_shared:
            check_given(draft, {name: text for name, text in not_shared.items() if name not in given.parameters}, at=at)
        name = given.name if given.name is not None else arrived.name if arrived is not None else ""
        _check_name(draft, at, name)
        items.append(Item(number=number, name=name, inputs=inputs, parameters=given.parameters))
    if Isolation(document.isolation) is Isolation.ITEM and all_bytes > JOBS_PARAMETERS_BYTES:
        detail = f"are {all_bytes:,} bytes in the jobs of all items; the limit is {JOBS_PARAMETERS_BYTES:,}, or take isolation batch"
        draft.fault("/parameters", detail)
    return items


def _arrived(item: ArrivedItem, prefix: str) -> Input | BadField:
    if item.format is None:
        expected = ", ".join(media for name in TABLE_FORMATS for media in FORMATS[name][0])
        return BadField("", f"neither its media type nor its file name says a format that can be read; expected {expected}")
    return Input(blob=f"{prefix}/pack", format=item.format, bytes=item.bytes, offset=item.offset)


def _check_name(draft: Draft, at: str, name: str) -> None:
    if len(name) > NAME_CHARACTERS or not showable(name):
        draft.fault(f"{at}/name", f"expected one line of at most {NAME_CHARACTERS} characters")
