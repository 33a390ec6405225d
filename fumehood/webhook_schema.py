"""Tables of the job store for webhooks; beside `fumehood.schema`, which has the rest and says how they hang together."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, Table

from fumehood.columns import METADATA, Document, Sequence, Text

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("event", Text, nullable=False),
    # A job or a batch; without a foreign key, because the log of what was sent may outlive it.
    Column("about", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("payload", Document),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("tries", Document, nullable=False),
    Index(None, "state", "tenant", "due_at"),  # what is due, by tenant; leases that ran out
    Index(None, "tenant", "seq"),  # pages
    Index(None, "tenant", "state", "seq"),  # pages of one state; how many wait
    Index(None, "tenant", "about", "seq"),  # pages of one job
    Index(None, "ended_at"),  # old ones
    sqlite_autoincrement=True,
)

WEBHOOK_SECRETS = Table(
    "webhook_secrets",
    METADATA,
    Column("tenant", Text, primary_key=True),
    # Rises with each change, so that of two that make one at the same moment both get the same.
    Column("number", Integer, primary_key=True, autoincrement=False),
    # As it is: whoever signs must know it.
    Column("secret", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    # When it stops being signed with; null of the newest.
    Column("ends_at", Float),
)
