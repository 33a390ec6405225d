"""Schemas: the JSON that goes in and out, as the OpenAPI document shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from api.cache_schemas import CachedFrom
from api.expiry_schemas import Expires
from api.webhook_schemas import CALLBACK
from fumehood.job import QUEUE_COUNTED, State
from fumehood.limits import FLOOR, REQUESTABLE
from fumehood.outcome import Blame, Reason

# requests ----------------------------------------------------------------------------------------------------------------


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class JobOutput(Request):
    """An output of an earlier job, used as it lies in the store."""

    job: str = Field(description="Id of a job that succeeded.", examples=["job_00000000000000000000000000000000"])
    output: Literal["result", "result2"]


def _reference_kind(value: Any) -> str:
    return "<output>" if isinstance(value, dict | JobOutput) else "<id>"


TableReference = Annotated[Annotated[str, Tag("<id>")] | Annotated[JobOutput, Tag("<output>")], Discriminator(_reference_kind)]

_FRACTIONS = ("wall_seconds", "cpus")
LIMITS_SCHEMA: dict[str, Any] = {
    "properties": {name: {"type": "number" if name in _FRACTIONS else "integer", "minimum": FLOOR[name]} for name in REQUESTABLE},
    "additionalProperties": False,
}


class JobDocument(Request):
    """A job. In a multipart request the part `job` is this document, and files may stand in parts of their own instead."""

    script: str | None = Field(None, description="Python source that defines `azureml_main`.")
    dataset1: TableReference | None = Field(None, description="Id of a dataset, or an output of another job.")
    dataset2: TableReference | None = Field(None, description="Id of a dataset, or an output of another job.")
    bundle: str | None = Field(None, description="Id of a dataset of format `zip`.")
    parameters: dict[str, Any] = Field({}, description="Keyword parameters of `azureml_main`, 64 KiB at most.")
    limits: dict[str, Any] = Field({}, description="Bounds of the run; the others keep their defaults.", json_schema_extra=LIMITS_SCHEMA)
    labels: dict[str, str] = Field(
        {}, description="Up to 16 labels; names of letters, digits, `.`, `_`, `-`; values of 128 characters at most."
    )
    callback_url: str | None = Field(None, description=CALLBACK, examples=["https://example.com/hook"])
    priority: int = Field(0, strict=True, description="Among the tenant's own jobs that wait, from -10 to 10: the highest goes first.")
    cache: bool = Field(False, description="Whether the result of an earlier job may be taken that is the same and asked for this, too.")


# answers -----------------------------------------------------------------------------------------------------------------


class Column(BaseModel):
    name: str
    type: str
    nullable: bool


class DatasetRecord(BaseModel):
    """A stored dataset. `rows` and `columns` were found by a sandbox; for a zip, `rows` counts its entries."""

    id: str
    name: str
    format: str
    bytes: int
    sha256: str
    rows: int
    columns: list[Column]
    created_at: str
    pinned: bool = Field(description="Whether it stays until it is deleted.")
    expires_at: str | None = Field(description="Until when it stays; a job that uses it puts that off. Null where it is pinned.")
    links: dict[str, str]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "ds_00000000000000000000000000000000",
                    "name": "numbers.csv",
                    "format": "csv",
                    "bytes": 12,
                    "sha256": "0000000000000000000000000000000000000000000000000000000000000000",
                    "rows": 2,
                    "columns": [{"name": "a", "type": "int64", "nullable": True}],
                    "created_at": "2025-01-01T00:00:00.000Z",
                    "pinned": False,
                    "expires_at": "2025-04-01T00:00:00.000Z",
                    "links": {
                        "self": "/v1/datasets/ds_00000000000000000000000000000000",
                        "content": "/v1/datasets/ds_00000000000000000000000000000000/content",
                        "preview": "/v1/datasets/ds_00000000000000000000000000000000/preview",
                    },
                }
            ]
        }
    )


class DatasetPage(BaseModel):
    items: list[DatasetRecord]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class JobSummary(BaseModel):
    """What a list shows of a job."""

    id: str
    state: State
    reason: Reason | None = Field(description="How it ended; null as long as it has not.")
    blame: Blame | None = Field(description="Whose doing that was.")
    message: str = Field(description="One sentence about the end.")
    labels: dict[str, str]
    created_at: str
    started_at: str | None
    finished_at: str | None
    attempt: int
    links: dict[str, str]


class JobPage(BaseModel):
    items: list[JobSummary]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class UsageRecord(BaseModel):
    """Counted by the engine and the service's own clock."""

    wall_seconds: float
    cpu_seconds: float
    memory_peak_bytes: int
    bytes_in: int
    bytes_out: int


class ErasureRecord(BaseModel):
    """The receipt: container and files of the run were looked for after their removal and are gone. As it stands here, it is what
    was signed, but for the signature."""

    version: str = Field(description="What the fields mean.", examples=["fumehood.erasure/1"])
    job: str
    attempt: int
    fence: int = Field(description="Counts claims and hand-backs of the job: no two attempts have the same.")
    worker: str | None = Field(description="Who removed it and looked; null where the job never ran.")
    container: str | None = Field(description="Name of the container; null where there was none to remove.")
    container_id: str | None = Field(description="Its full id at the container engine.")
    began_at: str | None = Field(description="When the container was made.")
    files: int
    bytes: int
    erased_at: str
    key: str | None = Field(description="Fingerprint of the key that signed, as `/v1/receipts/keys` lists it; null where nobody signed.")
    signature: str | None = Field(description="Ed25519, 128 hexadecimal digits, of the other fields as canonical JSON.")


class ReceiptKey(BaseModel):
    """The public half of a key that signs receipts."""

    id: str = Field(description="Its fingerprint: SHA-256 of the key's 32 bytes.")
    algorithm: Literal["Ed25519"]
    public: str = Field(description="The key, 64 hexadecimal digits.")
    since: str = Field(description="When a worker first started with it.")


class ReceiptKeyList(BaseModel):
    items: list[ReceiptKey]


class OutputTable(BaseModel):
    """A result table; rows and columns are the runner's word."""

    bytes: int
    rows: int | None
    columns: list[Column]


class JobRecord(JobSummary):
    """A job, whole. A failed job is not an error of the API: its record says what happened."""

    queue_position: int | None = Field(
        description=f"The tenant's own jobs ahead of this one, while it waits; counted to {QUEUE_COUNTED:,}: that many or more."
    )
    estimated_start_at: str | None = Field(description="When it may start, while it waits, by what jobs took lately; null where unknown.")
    priority: int
    attempts_max: int
    cancel_requested: bool
    milliseconds: dict[str, float] = Field(description="Time spent in each room of the journey.")
    usage: UsageRecord | None
    image: str | None = Field(description="Digest of the image that ran the script.")
    start: Literal["prepared", "warm", "cold"] | None = Field(
        description="`warm` where the sandbox was ready before the job came, `prepared` where the script was open in it, too; `cold` where "
        "the job waited for its start."
    )
    start_reason: str | None = Field(description="Why it was not warm.")
    error: dict[str, Any] | None = Field(
        description="The script's exception: `type`, `message`, `traceback`, `file`, `line`, `source`, `frames`."
    )
    notes: list[Any] = Field(description="What the runner changed or ignored: renames, dtype changes, warnings.")
    result: OutputTable | None
    result2: OutputTable | None
    figures: int = Field(description="How many figures there are.")
    artifacts: int = Field(description="How many artifacts there are.")
    outputs: dict[str, int] = Field(description="Stored outputs and their sizes in bytes.")
    log: dict[str, Any] = Field(description="`bytes` and `truncated` of the log, once it is stored.")
    inputs: dict[str, dict[str, Any]] = Field(
        description="By port: `format`, `bytes`, and `dataset`, `version` of a script, or `job` and `output`."
    )
    parameters: dict[str, Any]
    limits: dict[str, int | float]
    batch: str | None = Field(description="Id of the batch that it belongs to; `item` is its number there.")
    item: int | None
    callback_url: str | None = Field(description="Who is told of its end.")
    cached_from: CachedFrom | None = Field(description="Where the result came from; null where the job ran, or was to run.")
    erasure: ErasureRecord | None
    expires: Expires | None = Field(description="When which part of it goes; null as long as it has not ended.")


class InputRecord(BaseModel):
    """What one port was given. At most one of `dataset` and `source` is set; neither is where the bytes came with the job."""

    port: str
    name: str = Field(description="A name for a file that holds it.")
    media_type: str
    format: str
    bytes: int
    dataset: str | None
    source: JobOutput | None
    href: str


class InputList(BaseModel):
    items: list[InputRecord]


class FileRecord(BaseModel):
    name: str
    media_type: str
    bytes: int
    href: str


class FigureRecord(FileRecord):
    n: int


class FigureList(BaseModel):
    items: list[FigureRecord]


class ArtifactList(BaseModel):
    items: list[FileRecord]


Cell = str | int | float | bool | None


class Histogram(BaseModel):
    edges: list[float | str] = Field(description="One more than there are counts; dates and timestamps are text.")
    counts: list[int] = Field(description="Values from each edge up to the next; the last one's include it.")


class ColumnProfile(BaseModel):
    """What one column holds. Bounds that no JSON value can hold are text."""

    name: str
    type: str = Field(description="The Arrow type.")
    count: int = Field(description="Cells that hold a value.")
    nulls: int = Field(description="Cells that hold none, or NaN.")
    distinct: int | None = Field(description="Different values; null where there are more than are counted.")
    distinct_exact: bool = Field(description="Whether `distinct` was counted to the end.")
    min: Cell
    max: Cell
    mean: float | None = Field(None, description="Of numbers only, as is `std`.")
    std: float | None = Field(None, description="The sample's standard deviation.")
    histogram: Histogram | None = Field(description="Of numbers, dates and timestamps.")
    top: list[tuple[Cell, int]] | None = Field(
        description="The most frequent texts, truth values or categories, and how often each is there."
    )


class Head(BaseModel):
    columns: list[str]
    rows: list[list[Cell]] = Field(description="The first rows; long cells are cut.")


class Preview(BaseModel):
    """A table's profile, in the words of the sandbox that made it."""

    rows: int
    columns: list[ColumnProfile]
    head: Head


class ImageRecord(BaseModel):
    """A pinned environment. `python` and `packages` are null where the image does not say what is in it."""

    digest: str
    python: str | None
    packages: int | None = Field(description="How many there are.")
    current: bool = Field(description="Whether a worker runs it now.")


class ImageList(BaseModel):
    items: list[ImageRecord]


class Package(BaseModel):
    name: str
    version: str


class PackageList(BaseModel):
    items: list[Package]


class ProblemField(BaseModel):
    pointer: str = Field(description="JSON pointer into the request.")
    detail: str
    line: int | None = None
    column: int | None = None
    caret: str | None = Field(None, description="The source line, and a caret below the column.")


class Problem(BaseModel):
    """RFC 9457. `type` is stable; `errors` names every offending field."""

    type: str = Field(examples=["urn:fumehood:problem:not-found"])
    title: str
    status: int
    detail: str
    errors: list[ProblemField] | None = None
    quota: str | None = Field(None, description="Which quota is used up, with 429.", examples=["queued_jobs"])
    limit: float | None = Field(None, description="The limit in bytes with 413, that of the quota with 429.")
    value: float | None = Field(None, description="What was sent, with 413; what is used now, with 429.")
    available: list[str] | None = Field(None, description="What there is, with 406 and 415.")
    expired_at: str | None = Field(None, description="When it expired, with 410.")
    job: str | None = Field(None, description="Of a call of a script: the job that it was.")
    reason: Reason | None = Field(None, description="How that ended.")
    error: dict[str, Any] | None = Field(None, description="The script's exception, as in a job's record.")
