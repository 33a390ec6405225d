"""Tables of the job store, as the newest revision in `fumehood/migrations` leaves them (a test compares the two).

    tenants ── api_keys
       │
       ├── jobs ──┬── job_labels     one row per label, so that a page of one label is read from an index
       │          ├── job_needs      what a job that is not final still reads: a dataset, another job's output, or a script's version
       │          └── idempotency    a caller's key, and the job or the batch it made
       ├── batches ──┬── batch_items one row per item, which names the job that runs it, once there is one (fumehood.unfolding)
       │             └── batch_needs what the items read that have no job yet
       ├── deliveries                messages to the tenant's own server, and what came of them
       ├── webhook_secrets           what they are signed with (both in fumehood.webhook_schema)
       ├── scripts ──┬── script_versions
       │             └── script_aliases
       ├── prepared                  sandboxes that wait with a version's script open (these four in fumehood.script_schema)
       └── datasets
    shares                           of each tenant and lane: who waits, and what its jobs have held so far (fumehood.fair_share)
    lanes                            how far each lane has come
    holdings                         the bytes that a tenant's things hold; kept by triggers (fumehood.holdings)
    usage                            what a tenant has used, by label and day; jobs that are deleted stay counted
    audit                            who did what; rows are added, and forgotten by age alone (triggers, fumehood.audit_store)
    audit_horizon                    one row: how far the audit log may be forgotten
    tenant_erasures                  what was erased of tenants that are gone, or are going
    tombstones                       what expired, and when; forgotten in turn
    workers                          who is there; nothing refers to it
    receipt_keys                     public keys that workers have signed receipts with; never forgotten
    images                           what scripts have run in, by digest; kept for the records that name it

Times are seconds since the epoch (floats); documents are JSON. `job_needs` has rows only while its job is queued or
running, so its foreign keys *are* the rule that nothing is deleted which a job still needs; `batch_needs` is the same for jobs to come.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Table, UniqueConstraint, false, text

from fumehood.columns import METADATA as METADATA
from fumehood.columns import Document, Sequence, Text, due, index_where
from fumehood.script_schema import PREPARED as PREPARED
from fumehood.script_schema import SCRIPT_ALIASES as SCRIPT_ALIASES
from fumehood.script_schema import SCRIPT_VERSIONS as SCRIPT_VERSIONS
from fumehood.script_schema import SCRIPTS as SCRIPTS
from fumehood.tenant_schema import API_KEYS as API_KEYS
from fumehood.tenant_schema import AUDIT as AUDIT
from fumehood.tenant_schema import AUDIT_HORIZON as AUDIT_HORIZON
from fumehood.tenant_schema import HOLDINGS as HOLDINGS
from fumehood.tenant_schema import LANES as LANES
from fumehood.tenant_schema import SHARES as SHARES
from fumehood.tenant_schema import TENANT_ERASURES as TENANT_ERASURES
from fumehood.tenant_schema import TENANTS as TENANTS
from fumehood.tenant_schema import USAGE as USAGE

JOBS = Table(
    "jobs",
    METADATA,
    # The order of the queue. A job that is handed back keeps it, hence stands at the front again.
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempts_max", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("worker", Text),
    Column("sandbox", Text),
    Column("scratch", Text),
    Column("cancel_requested", Boolean(create_constraint=False), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("target_format", Text),
    # Without a foreign key: SQLite could add one only by writing the whole table anew. The store deletes both together.
    Column("batch", Text),
    Column("item", Integer),
    # The order within a tenant's queue: the rank (less is sooner), then the place that it was given when it was accepted. The jobs of
    # a batch have one place, whenever they are made.
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("place", BigInteger, nullable=False, server_default="0"),
    # The last of its batch that there is yet: when it leaves the queue, the next ones are made. Null of every other.
    Column("unfolds", Boolean(create_constraint=False)),
    # The seconds that its tenant was charged with when it was started.
    Column("charged", Float),
    Column("callback_url", Text),
    # The span that submitted it, as W3C trace context writes one; null where nobody traces.
    Column("traceparent", Text),
    # What the result cache finds it by, where it was asked for; and the job whose result it has, where it never ran.
    Column("cache_key", Text),
    Column("cached_from", Document),
    # A copy of Job.reserved_bytes, for the claim's condition.
    Column("reserved_bytes", BigInteger, nullable=False),
    Column("limits", Document, nullable=False),
    Column("inputs", Document, nullable=False),
    Column("parameters", Document, nullable=False),
    Column("labels", Document, nullable=False),
    Column("outcome", Document),
    Column("erasure", Document),
    Column("retention", Document),  # of its tenant when it was submitted; null of what was stored before there was any, which stays
    Column("expires_at", Float),  # when something of it is to be taken away next; null where nothing is
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),  # what its blobs hold; nothing of an errand's, which go at once
    Column("log_gone_at", Float),
    Column("results_gone_at", Float),
    Index(None, "lane", "state", "seq"),  # running; forgotten errands
    index_where("ix_jobs_queue", "state = 'queued'", "tenant", "lane", "rank", "place", "seq"),  # claim, queue position
    Index(None, "tenant", "lane", "seq"),  # pages
    Index(None, "tenant", "lane", "state", "seq"),  # pages of one state
    Index(None, "batch", "state"),  # what is left of a batch
    Index(None, "cache_key", "state", "seq", sqlite_where=text("cache_key IS NOT NULL"), postgresql_where=text("cache_key IS NOT NULL")),
    due("jobs"),
    sqlite_autoincrement=True,
)

JOB_LABELS = Table(
    "job_labels",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("job_seq", Sequence, ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True, index=True),
)

DATASETS = Table(
    "datasets",
    METADATA,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("blob", Text, nullable=False),
    Column("table_blob", Text),
    Column("table_bytes", BigInteger),
    Column("rows", BigInteger, nullable=False),
    Column("columns", Document, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("kept_seconds", Float),  # after its last use; null of what was stored before there were lifetimes
    Column("expires_at", Float),  # null where it is pinned, too
    Column("pinned", Boolean(create_constraint=False), nullable=False, server_default=false()),
    UniqueConstraint("tenant", "sha256", "format"),
    Index(None, "tenant", "seq"),  # pages
    Index(None, "tenant", "name", "seq"),  # pages of one name
    due("datasets"),
    sqlite_autoincrement=True,
)

JOB_NEEDS = Table(
    "job_needs",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("port", Text, primary_key=True),
    Column("dataset", Text, ForeignKey("datasets.id"), index=True),
    Column("source_job", Text, ForeignKey("jobs.id"), index=True),
    Column("version", Text, ForeignKey("script_versions.id")),
    Index(None, "version", "port"),  # what needs a version; its calls that have not ended
)

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_sha256", Text, nullable=False),
    # No foreign key: the row is written before its job, because it decides whether there will be one.
    Column("job_id", Text, nullable=False, index=True),
    Column("created_at", Float, nullable=False, index=True),
)

BATCHES = Table(
    "batches",
    METADATA,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("isolation", Text, nullable=False),
    Column("items", Integer, nullable=False),
    Column("inputs", Document, nullable=False),
    Column("parameters", Document, nullable=False),
    Column("limits", Document, nullable=False),
    Column("labels", Document, nullable=False),
    Column("cancel_requested", Boolean(create_constraint=False), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("callback_url", Text),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    Column("retention", Document),
    Column("expires_at", Float),  # when to look whether it has ended for long enough
    Column("gone_at", Float),  # it is being taken away, row by row, and nobody finds it any more
    Column("on_failure", Text, nullable=False, server_default="continue"),
    Column("stopped_by", Integer),  # number of the item whose failure ended it
    Column("attempts_max", Integer, nullable=False, server_default="3"),  # of each of its jobs
    Column("place", BigInteger, nullable=False, server_default="0"),  # of its jobs in the queue
    Column("joined_bytes", BigInteger, nullable=False, server_default="0"),  # of `stored_bytes`, the joined table's
    Column("unmade", Integer, nullable=False, server_default="0"),  # items that wait and have no job yet
    Index(None, "tenant", "seq"),  # pages
    index_where("ix_batches_unmade", "unmade > 0", "tenant"),  # what waits of a tenant without a row in the queue
    due("batches"),
    sqlite_autoincrement=True,
)

BATCH_ITEMS = Table(
    "batch_items",
    METADATA,
    Column("batch", Text, ForeignKey("batches.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    # The one that runs it now, or ran it last; null before there is one. A job of a batch goes with its batch only.
    Column("job", Text, ForeignKey("jobs.id"), index=True),
    # Its own; null of an item of before jobs were made late, which has them in its job.
    Column("inputs", Document),
    Column("parameters", Document),
    # Null as long as the item ends as its job does.
    Column("state", Text),
    Column("ending", Document),
    Column("retries", Integer, nullable=False, server_default="0"),  # how often its tenant had it run again
    index_where("ix_batch_items_unmade", "job IS NULL AND state IS NULL", "batch", "number"),  # the next ones that get a job
)

BATCH_NEEDS = Table(
    "batch_needs",
    METADATA,
    Column("batch", Text, ForeignKey("batches.id"), primary_key=True),
    # Of the item; SHARED (fumehood.unfolding) where it is for all that have no job yet.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("port", Text, primary_key=True),
    Column("dataset", Text, ForeignKey("datasets.id"), index=True),
    Column("source_job", Text, ForeignKey("jobs.id"), index=True),
    Column("version", Text, ForeignKey("script_versions.id"), index=True),
)

TOMBSTONES = Table(
    "tombstones",
    METADATA,
    Column("tenant", Text, primary_key=True),
    # Of a job, a batch or a dataset that expired; of what its tenant deleted there is none.
    Column("id", Text, primary_key=True),
    Column("gone_at", Float, nullable=False, index=True),
)

WORKERS = Table(
    "workers",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("facts", Document, nullable=False),
    # What it has counted since it began (fumehood.metrics.Document).
    Column("tally", Document),
    Column("seen_at", Float, nullable=False),
)

IMAGES = Table(
    "images",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("python", Text),
    # Name → version; null where the image does not say what is in it.
    Column("packages", Document),
    Column("seen_at", Float, nullable=False),
)

RECEIPT_KEYS = Table(
    "receipt_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("public", Text, nullable=False),
    Column("since", Float, nullable=False),
)
