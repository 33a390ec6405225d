"""Drafts: what a request says, held against everything that is known of it, fault by fault. Jobs, batches and scripts share the rules."""

from __future__ import annotations

import hashlib
import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from pydantic import ValidationError

from api import documents
from api.answers import require_id
from api.desk import Desk
from api.multipart import Arrived, Form
from api.names import showable
from api.problems import FIELDS_MAX
from api.schemas import JobOutput, Request
from fumehood.batch import ITEMS_MAX
from fumehood.callback import target_of
from fumehood.dataset import FORMATS, TABLE_FORMATS
from fumehood.errors import BadField, BadRequest, NotFound
from fumehood.job import PRIORITIES, Input, State
from fumehood.job_store import Idempotency, JobStore
from fumehood.limits import Limits, at_most, check_parameters_size, requested
from fumehood.script import Version
from fumehood.tenant import Tenant
from fumehood.text import timestamp

Document = TypeVar("Document", bound=Request)
Reference = str | JobOutput

LABELS_MAX = 16
LABEL_VALUE_CHARACTERS = 128
WIDTH_MAX = 64  # fields of an object whose names are ours, wrong ones included
POINTER_CHARACTERS = 200
LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_PYDANTIC_SENTENCES: dict[str, str] = {
    "string_type": "expected a string",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "list_type": "expected an array",
    "int_type": "expected a whole number",
}


@dataclass(slots=True)
class Draft:
    """A job in the making: its inputs as far as they are known, and every fault found so far."""

    inputs: dict[str, Input] = field(default_factory=dict)
    faults: list[BadField] = field(default_factory=list)

    def fault(self, pointer: str, detail: str) -> None:
        """No more are kept than anybody is shown: of one document there may be a million."""
        if not self.is_full:
            self.faults.append(BadField(pointer, detail))

    @property
    def is_full(self) -> bool:
        """Whoever looks for more may stop."""
        return len(self.faults) >= FIELDS_MAX


def idempotency_of(raw: dict[str, Any], form: Form, key: str | None) -> Idempotency | None:
    """The request in one spelling: it matters what was sent, not in which parts, in which order, or with which boundary."""
    if key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        fault = BadField("/header/idempotency-key", "expected 1 to 255 printable ASCII characters")
        raise BadRequest("the Idempotency-Key cannot be used", errors=(fault,))
    files: dict[str, Any] = {port: [arrived.incoming.sha256, arrived.format] for port, arrived in form.files.items()}
    if form.pack is not None:
        files["items"] = [form.pack.sha256, [[item.name, item.format, item.bytes] for item in form.items]]
    source = form.script
    if source is None and isinstance(raw.get("script"), str):
        source, raw = raw["script"].encode(), {name: value for name, value in raw.items() if name != "script"}
    if source is not None:
        files["script"] = [hashlib.sha256(source).hexdigest(), "python"]
    return Idempotency(key, documents.digest({"document": raw, "files": files}))


def shape_of(model: type[Document], raw: dict[str, Any], *, refused: str, inner: Mapping[str, type[Request]]) -> Document:
    """`inner` says which models the entries of a list, or of an object, are of. What is wrong is looked for until there are as many
    faults as are told: a hundred thousand of them would hold up everybody for seconds.

    Raises:
        BadRequest: with the sentence `refused`.
    """
    faults = list(islice(_too_wide(raw, ""), FIELDS_MAX))
    if faults:
        raise BadRequest(refused, errors=tuple(faults))
    lists: dict[str, list[Request]] = {name: [] for name in inner if isinstance(raw.get(name), list)}
    try:
        document = model.model_validate(raw | {name: [] for name in lists})
    except ValidationError as error:
        faults += _bad_fields(error, model, inner)
    for name, made in lists.items():
        for number, entry in enumerate(raw[name]):
            try:
                made.append(inner[name].model_validate(entry))
            except ValidationError as error:
                faults += _bad_fields(error, model, inner, name, number)
                if len(faults) >= FIELDS_MAX:
                    break
    if faults:
        raise BadRequest(refused, errors=tuple(faults))
    for name, made in lists.items():
        setattr(document, name, made)
    return document


def _too_wide(value: Any, pointer: str) -> Iterator[BadField]:
    """Objects and arrays that no right request has. Parameters may be anything; their size is limited."""
    if isinstance(value, dict | list) and len(value) > (WIDTH_MAX if isinstance(value, dict) else ITEMS_MAX):
        most = f"{WIDTH_MAX} fields" if isinstance(value, dict) else f"{ITEMS_MAX:,} entries"
        yield BadField(pointer, f"is of {len(value):,}; the limit is {most}")
    elif isinstance(value, dict):
        for name, inside in value.items():
            if name != "parameters":
                yield from _too_wide(inside, f"{pointer}/{_escaped(name)}"[:POINTER_CHARACTERS])
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _too_wide(inside, f"{pointer}/{number}"[:POINTER_CHARACTERS])


def _bad_fields(error: ValidationError, model: type[Request], inner: Mapping[str, type[Request]], *place: str | int) -> list[BadField]:
    entries = error.errors(include_url=False)[:FIELDS_MAX]
    return [_bad_field({**entry, "loc": (*place, *entry["loc"])}, model, inner) for entry in entries]


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _bad_field(entry: Any, model: type[Request], inner: Mapping[str, type[Request]]) -> BadField:
    steps = [str(step) for step in entry["loc"] if not str(step).startswith("<")]
    pointer = "".join("/" + _escaped(step) for step in steps)[:POINTER_CHARACTERS]
    if entry["type"] == "extra_forbidden":
        known = _model_at(steps[:-1], model, inner).model_fields
        return BadField(pointer, f"there is no field {steps[-1][:80]!r}; the fields are {', '.join(known)}")
    if entry["type"] == "missing":
        return BadField(pointer, "is missing")
    if entry["type"] == "literal_error":
        return BadField(pointer, f"expected {entry['ctx']['expected']}; got {documents.kind_of(entry['input'])}")
    return BadField(pointer, f"{_PYDANTIC_SENTENCES.get(entry['type'], entry['msg'])}; got {documents.kind_of(entry['input'])}")


def _model_at(steps: list[str], model: type[Request], inner: Mapping[str, type[Request]]) -> type[Request]:
    """What stands there: an entry of a list or of an object that `inner` names, or a reference."""
    return next((inner[step] for step in steps[-2:][::-1] if step in inner), JobOutput) if steps else model


def script_of(draft: Draft, text: str | None, form: Form, limit_bytes: int) -> bytes | None:
    if text is not None and form.script is not None:
        draft.fault("/script", "stands in the document and as a part; expected one of them")
        return None
    source = form.script if form.script is not None else text.encode() if text is not None else None
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


def refuse_own(draft: Draft, document: Any) -> None:
    """Script and bundle of a run of a script's version are the version's."""
    for name in ("script", "bundle"):
        if getattr(document, name) is not None:
            draft.fault(f"/{name}", "is the version's own; leave it out")


async def connect(
    desk: Desk, tenant: str, draft: Draft, references: Mapping[str, Reference | None], files: Mapping[str, Arrived], *, prefix: str
) -> None:
    """The ports: a file that came along is going to lie below `prefix`, a reference must be of something that is there."""
    for port, reference in references.items():
        arrived = files.get(port)
        if reference is not None and arrived is not None:
            draft.fault(f"/{port}", "stands in the document and as a part; expected one of them")
        elif arrived is not None:
            draft.inputs[port] = Input(blob=f"{prefix}/{port}", format=arrived.format, bytes=arrived.incoming.bytes)
        elif reference is not None:
            found = await desk.ask(resolve, desk.store, tenant, port, reference)
            if isinstance(found, BadField):
                draft.fault(f"/{port}{found.pointer}", found.detail)
            else:
                draft.inputs[port] = found


def resolve(store: JobStore, tenant: str, port: str, reference: Reference) -> Input | BadField:
    """The input that a reference stands for, or its fault, with a pointer below the reference. Blocks on the store."""
    if isinstance(reference, JobOutput):
        return _output(store, tenant, reference)
    try:
        dataset = store.get_dataset(tenant, require_id(reference, "dataset"))
    except NotFound:
        return BadField("", f"there is no dataset {reference[:80]!r}{_expired(store.expired_at(tenant, reference))}")
    if port == "bundle":
        if dataset.format != "zip":
            return BadField("", f"dataset {dataset.id} has the format {dataset.format}; expected zip")
        return Input(blob=dataset.blob, format="zip", bytes=dataset.bytes, dataset=dataset.id)
    if dataset.table_blob is None:
        tables = ", ".join(name for name in FORMATS if name != "zip")
        return BadField("", f"dataset {dataset.id} has the format {dataset.format}; expected a table ({tables})")
    return Input(blob=dataset.table_blob, format="arrow", bytes=dataset.table_bytes or 0, dataset=dataset.id)


def _expired(expired_at: float | None) -> str:
    return f": it expired at {timestamp(expired_at)}" if expired_at is not None else ""


def _output(store: JobStore, tenant: str, reference: JobOutput) -> Input | BadField:
    try:
        job = store.get_job(tenant, require_id(reference.job, "job"))
    except NotFound:
        job = None
    if job is None or not job.kind.shown:
        return BadField("/job", f"there is no job {reference.job[:80]!r}{_expired(store.expired_at(tenant, reference.job))}")
    if not job.state.final:
        return BadField("/job", f"job {job.id} is {job.state}; expected one that has succeeded")
    if job.state is not State.SUCCEEDED or job.outcome is None or reference.output not in job.outcome.outputs:
        return BadField("/output", f"job {job.id} has {job.state} without an output {reference.output}")
    if job.results_gone_at is not None:
        return BadField("/output", f"job {job.id} has no results any more{_expired(job.results_gone_at)}")
    if (form := job.output_format(reference.output)) not in TABLE_FORMATS:
        return BadField("/output", f"job {job.id} has left an answer in the form {form}; expected a table ({', '.join(TABLE_FORMATS)})")
    size = job.outcome.outputs[reference.output]
    source = {"job": job.id, "output": reference.output}
    return Input(blob=job.output_blob(reference.output), format=form, bytes=size, source=source)


def check_labels(draft: Draft, labels: dict[str, str]) -> None:
    if len(labels) > LABELS_MAX:
        draft.fault("/labels", f"there are {len(labels)} labels; the limit is {LABELS_MAX}")
        return
    for name, value in labels.items():
        fault = label_fault(name, value)
        if fault is not None:
            draft.fault(f"/labels/{name}" if LABEL_KEY.fullmatch(name) else "/labels", fault)


def check_callback(draft: Draft, url: str | None, desk: Desk) -> None:
    """As far as it can be said without asking for a name, which the courier does each time that it sends."""
    try:
        if url is not None:
            target_of(url, desk.settings.webhook_allowed)
    except ValueError as error:
        draft.fault("/callback_url", str(error))


def label_fault(name: str, value: str) -> str | None:
    """What is wrong with a label; None where nothing is."""
    if not LABEL_KEY.fullmatch(name):
        return f"the name {name[:80]!r} cannot be used; expected 1 to 63 letters, digits, '.', '_' or '-', a letter or digit first"
    if len(value) > LABEL_VALUE_CHARACTERS:
        return f"has {len(value):,} characters; the limit is {LABEL_VALUE_CHARACTERS}"
    if not showable(value):
        return "holds a control character or one that is no character"
    return None


def check_priority(draft: Draft, priority: int) -> None:
    if priority not in PRIORITIES:
        draft.fault("/priority", f"is {priority}; expected a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}")


def check_parameters(draft: Draft, parameters: dict[str, Any], *, at: str = "") -> None:
    if (too_many := check_parameters_size(parameters)) is not None:
        draft.fault(f"{at}{too_many.pointer}", too_many.detail)
        return
    for name in parameters:
        if not name.isidentifier() or keyword.iskeyword(name):
            draft.fault(f"{at}/parameters", f"the name {name[:80]!r} is no Python identifier")


def limits_of(draft: Draft, values: dict[str, Any], desk: Desk, tenant: Tenant, version: Version | None = None) -> Limits | None:
    """Within the tenant's own ceiling, which is never above the service's; of a run of a script's version, within the version's too."""
    ceiling = tenant.quota.ceiling if version is None else at_most(version.limits, tenant.quota.ceiling)
    try:
        return requested(values, default=at_most(desk.settings.limits if version is None else ceiling, ceiling), ceiling=ceiling)
    except BadRequest as error:
        draft.faults += error.errors
        return None
