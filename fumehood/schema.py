"""Tables of the job store, as the newest revision in `fumehood/migrations` leaves them (a test compares the two).

    tenants ── api_keys
       │
       ├── jobs ──┬── job_labels     one row per label, so that a page of one label is read from an index
       │          ├── job_needs      what a job that is not final still reads: a dataset, or another job's output
       │          └── idempotency    a caller's key, and the job or the batch it made
       ├── batches ── batch_items    one row per item, which names the job that runs it
       └── datasets
    shares                           of each tenant and lane: who waits, and what its jobs have held so far (fumehood.fair_share)
    lanes                            how far each lane has come
    usage                            what a tenant has used, by label and day; jobs that are deleted stay counted
    tombstones                       what expired, and when; forgotten in turn
    workers                          who is there; nothing refers to it
    receipt_keys                     public keys that workers have signed receipts with; never forgotten
    images                           what scripts have run in, by digest; kept for the records that name it

Times are seconds since the epoch (floats); documents are JSON. `job_needs` has rows only while its job is queued or
running, so its foreign keys *are* the rule that nothing is deleted which a job still needs.
"""

from __future__ import annotations

import re

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

METADATA = MetaData(
    # Named, because SQLite and Alembic can only change a constraint that has a name.
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in a column that is called exactly INTEGER.
_Sequence = BigInteger().with_variant(Integer, "sqlite")
_Document = JSON(none_as_null=True)

# NUL, which PostgreSQL's text cannot hold, and half a surrogate pair, which UTF-8 cannot.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def _index_where(name: str, condition: str, *columns: str) -> Index:
    """An index of some rows. A statement uses it where it says the condition in the same words."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


def _due(table: str) -> Index:
    """What of a tenant is to be looked at next for what has expired; without the many rows where nothing will be."""
    return _index_where(f"ix_{table}_due", "expires_at IS NOT NULL", "tenant", "expires_at")


class _Text(TypeDecorator[str]):
    """Text of every origin, the same in every database: what none can hold is written, and looked for, as U+FFFD. Documents
    hold their text with escapes, and need no such thing."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _UNSTORABLE.sub("\ufffd", value)


TENANTS = Table(
    "tenants",
    METADATA,
    Column("id", _Text, primary_key=True),
    Column("name", _Text, nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("state", _Text, nullable=False, server_default="active"),
    Column("weight", Float, nullable=False, server_default="1"),
    # Each says only where it differs from the defaults, which are settings.
    Column("quota", _Document),
    Column("retention", _Document),
)

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("prefix", _Text, primary_key=True),
    Column("tenant", _Text, ForeignKey("tenants.id"), nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("name", _Text, nullable=False, server_default=""),
    # Words; a key that none was given may do nothing.
    Column("scopes", _Text, nullable=False, server_default=""),
    Column("expires_at", Float),
    # A revoked key stays until its tenant goes, so that its prefix still tells which it was.
    Column("revoked_at", Float),
    Column("used_at", Float),
    Index(None, "tenant", "created_at"),
)

JOBS = Table(
    "jobs",
    METADATA,
    # The order of the queue. A job that is handed back keeps it, hence stands at the front again.
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", _Text, nullable=False, unique=True),
    Column("tenant", _Text, nullable=False),
    Column("kind", _Text, nullable=False),
    Column("lane", _Text, nullable=False),
    Column("state", _Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempts_max", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("worker", _Text),
    Column("sandbox", _Text),
    Column("scratch", _Text),
    Column("cancel_requested", Boolean(create_constraint=False), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("target_format", _Text),
    # Without a foreign key: SQLite could add one only by writing the whole table anew. The store deletes both together.
    Column("batch", _Text),
    Column("item", Integer),
    # The order within a tenant's queue: the rank (less is sooner), then the place that it was given when it was accepted. The jobs of
    # a batch have one place, whenever they are made.
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("place", BigInteger, nullable=False, server_default="0"),
    # The seconds that its tenant was charged with when it was started.
    Column("charged", Float),
    # The span that submitted it, as W3C trace context writes one; null where nobody traces.
    Column("traceparent", _Text),
    # What the result cache finds it by, where it was asked for; and the job whose result it has, where it never ran.
    Column("cache_key", _Text),
    Column("cached_from", _Document),
    # A copy of Job.reserved_bytes, for the claim's condition.
    Column("reserved_bytes", BigInteger, nullable=False),
    Column("limits", _Document, nullable=False),
    Column("inputs", _Document, nullable=False),
    Column("parameters", _Document, nullable=False),
    Column("labels", _Document, nullable=False),
    Column("outcome", _Document),
    Column("erasure", _Document),
    Column("retention", _Document),  # of its tenant when it was submitted; null of what was stored before there was any, which stays
    Column("expires_at", Float),  # when something of it is to be taken away next; null where nothing is
    Column("log_gone_at", Float),
    Column("results_gone_at", Float),
    Index(None, "lane", "state", "seq"),  # running; forgotten errands
    _index_where("ix_jobs_queue", "state = 'queued'", "tenant", "lane", "rank", "place", "seq"),  # claim, queue position
    Index(None, "tenant", "lane", "seq"),  # pages
    Index(None, "tenant", "lane", "state", "seq"),  # pages of one state
    Index(None, "batch", "state"),  # what is left of a batch
    Index(None, "cache_key", "state", "seq", sqlite_where=text("cache_key IS NOT NULL"), postgresql_where=text("cache_key IS NOT NULL")),
    _due("jobs"),
    sqlite_autoincrement=True,
)

SHARES = Table(
    "shares",
    METADATA,
    Column("tenant", _Text, primary_key=True),
    Column("lane", _Text, primary_key=True),
    Column("queued", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    # False for who has come back: its next job goes before those of all who stand in line.
    Column("in_line", Boolean(create_constraint=False), nullable=False),
    Column("virtual_time", Float, nullable=False),
    # Of two at the same time: where it began to wait, among the jobs.
    Column("place", BigInteger, nullable=False),
    Column("mean_seconds", Float, nullable=False),
    _index_where("ix_shares_waiting", "queued > 0", "lane", "in_line", "virtual_time", "place"),
    _index_where("ix_shares_running", "running > 0", "lane"),
)

LANES = Table(
    "lanes",
    METADATA,
    Column("lane", _Text, primary_key=True),
    Column("virtual_time", Float, nullable=False),
)

JOB_LABELS = Table(
    "job_labels",
    METADATA,
    Column("tenant", _Text, primary_key=True),
    Column("key", _Text, primary_key=True),
    Column("value", _Text, primary_key=True),
    Column("job_seq", _Sequence, ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True, index=True),
)

DATASETS = Table(
    "datasets",
    METADATA,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", _Text, nullable=False, unique=True),
    Column("tenant", _Text, nullable=False),
    Column("name", _Text, nullable=False),
    Column("format", _Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", _Text, nullable=False),
    Column("blob", _Text, nullable=False),
    Column("table_blob", _Text),
    Column("table_bytes", BigInteger),
    Column("rows", BigInteger, nullable=False),
    Column("columns", _Document, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("kept_seconds", Float),  # after its last use; null of what was stored before there were lifetimes
    Column("expires_at", Float),  # null where it is pinned, too
    Column("pinned", Boolean(create_constraint=False), nullable=False, server_default=false()),
    UniqueConstraint("tenant", "sha256", "format"),
    Index(None, "tenant", "seq"),  # pages
    Index(None, "tenant", "name", "seq"),  # pages of one name
    _due("datasets"),
    sqlite_autoincrement=True,
)

JOB_NEEDS = Table(
    "job_needs",
    METADATA,
    Column("job_id", _Text, ForeignKey("jobs.id"), primary_key=True),
    Column("port", _Text, primary_key=True),
    Column("dataset", _Text, ForeignKey("datasets.id"), index=True),
    Column("source_job", _Text, ForeignKey("jobs.id"), index=True),
)

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("tenant", _Text, primary_key=True),
    Column("key", _Text, primary_key=True),
    Column("request_sha256", _Text, nullable=False),
    # No foreign key: the row is written before its job, because it decides whether there will be one.
    Column("job_id", _Text, nullable=False, index=True),
    Column("created_at", Float, nullable=False, index=True),
)

BATCHES = Table(
    "batches",
    METADATA,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", _Text, nullable=False, unique=True),
    Column("tenant", _Text, nullable=False),
    Column("isolation", _Text, nullable=False),
    Column("items", Integer, nullable=False),
    Column("inputs", _Document, nullable=False),
    Column("parameters", _Document, nullable=False),
    Column("limits", _Document, nullable=False),
    Column("labels", _Document, nullable=False),
    Column("cancel_requested", Boolean(create_constraint=False), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("retention", _Document),
    Column("expires_at", Float),  # when to look whether it has ended for long enough
    Column("gone_at", Float),  # it is being taken away, row by row, and nobody finds it any more
    Index(None, "tenant", "seq"),  # pages
    _due("batches"),
    sqlite_autoincrement=True,
)

BATCH_ITEMS = Table(
    "batch_items",
    METADATA,
    Column("batch", _Text, ForeignKey("batches.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", _Text, nullable=False),
    # A job of a batch goes with its batch only.
    Column("job", _Text, ForeignKey("jobs.id"), nullable=False, index=True),
    # What a chunk needs to know; of an item that is a job of its own they stand there.
    Column("inputs", _Document),
    Column("parameters", _Document),
    # Null as long as the item ends as its job does.
    Column("state", _Text),
    Column("ending", _Document),
)

USAGE = Table(
    "usage",
    METADATA,
    Column("tenant", _Text, primary_key=True),
    # Both empty in the row that counts all jobs of the day, whatever their labels.
    Column("label_name", _Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("label_value", _Text, primary_key=True),
    Column("work", _Text, primary_key=True),
    # How many labels of the day have a row; in the row that counts all.
    Column("labels", Integer, nullable=False),
    Column("succeeded", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    Column("cpu_seconds", Float, nullable=False),
    Column("gb_seconds", Float, nullable=False),
    Column("wall_seconds", Float, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Index(None, "tenant", "day"),  # what is past its time
)

TOMBSTONES = Table(
    "tombstones",
    METADATA,
    Column("tenant", _Text, primary_key=True),
    # Of a job, a batch or a dataset that expired; of what its tenant deleted there is none.
    Column("id", _Text, primary_key=True),
    Column("gone_at", Float, nullable=False, index=True),
)

WORKERS = Table(
    "workers",
    METADATA,
    Column("id", _Text, primary_key=True),
    Column("facts", _Document, nullable=False),
    # What it has counted since it began (fumehood.metrics.Document).
    Column("tally", _Document),
    Column("seen_at", Float, nullable=False),
)

IMAGES = Table(
    "images",
    METADATA,
    Column("digest", _Text, primary_key=True),
    Column("python", _Text),
    # Name → version; null where the image does not say what is in it.
    Column("packages", _Document),
    Column("seen_at", Float, nullable=False),
)

RECEIPT_KEYS = Table(
    "receipt_keys",
    METADATA,
    Column("id", _Text, primary_key=True),
    Column("public", _Text, nullable=False),
    Column("since", Float, nullable=False),
)
