"""Tables of tenants: who they are, what they used, whose turn it is, and who did what (see fumehood.schema)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, Table

from fumehood.columns import METADATA, Document, Sequence, Text, index_where

TENANTS = Table(
    "tenants",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("state", Text, nullable=False, server_default="active"),
    Column("weight", Float, nullable=False, server_default="1"),
    # Each says only where it differs from the defaults, which are settings.
    Column("quota", Document),
    Column("retention", Document),
)


API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("prefix", Text, primary_key=True),
    Column("tenant", Text, ForeignKey("tenants.id"), nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    # Words; a key that none was given may do nothing.
    Column("scopes", Text, nullable=False, server_default=""),
    Column("expires_at", Float),
    # A revoked key stays until its tenant goes, so that its prefix still tells which it was.
    Column("revoked_at", Float),
    Column("used_at", Float),
    # The prefix of the one that was made in its place.
    Column("replaced_by", Text),
    Index(None, "tenant", "created_at"),
)


SHARES = Table(
    "shares",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("queued", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    # False for who has come back: its next job goes before those of all who stand in line.
    Column("in_line", Boolean(create_constraint=False), nullable=False),
    Column("virtual_time", Float, nullable=False),
    # Of two at the same time: where it began to wait, among the jobs.
    Column("place", BigInteger, nullable=False),
    Column("mean_seconds", Float, nullable=False),
    index_where("ix_shares_waiting", "queued > 0", "lane", "in_line", "virtual_time", "place"),
    index_where("ix_shares_running", "running > 0", "lane"),
)


LANES = Table(
    "lanes",
    METADATA,
    Column("lane", Text, primary_key=True),
    Column("virtual_time", Float, nullable=False),
)


USAGE = Table(
    "usage",
    METADATA,
    Column("tenant", Text, primary_key=True),
    # Both empty in the row that counts all jobs of the day, whatever their labels.
    Column("label_name", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("label_value", Text, primary_key=True),
    Column("work", Text, primary_key=True),
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


# What the blobs of a tenant's jobs, batches and datasets come to. Triggers keep it (revision 0011): no way of storing or deleting a row
# can forget it.
HOLDINGS = Table(
    "holdings",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)


AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("by_tenant", Text),
    Column("by_key", Text),
    Column("address", Text),
    Column("action", Text, nullable=False),
    # No foreign keys: what is told of may be gone.
    Column("tenant", Text),
    Column("target", Text),
    Column("result", Text, nullable=False),
    Index(None, "tenant", "seq"),  # pages
    sqlite_autoincrement=True,
)


AUDIT_HORIZON = Table(
    "audit_horizon",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("before", Float, nullable=False),
)


TENANT_ERASURES = Table(
    "tenant_erasures",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("requested_at", Float, nullable=False),
    # What is gone already: table → rows, and `files` and `bytes`.
    Column("erased", Document, nullable=False),
    # Null until nothing of the tenant is left.
    Column("receipt", Document),
)
