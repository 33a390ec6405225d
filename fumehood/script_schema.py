"""Tables of hosted scripts (see fumehood.schema)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Table, UniqueConstraint, false

from fumehood.columns import METADATA, Document, Sequence, Text

SCRIPTS = Table(
    "scripts",
    METADATA,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("numbers", Integer, nullable=False),  # the highest that a version of it was given
    UniqueConstraint("tenant", "name"),
    Index(None, "tenant", "seq"),  # pages
    sqlite_autoincrement=True,
)

SCRIPT_VERSIONS = Table(
    "script_versions",
    METADATA,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("script", Sequence, ForeignKey("scripts.seq"), nullable=False),
    Column("number", BigInteger, nullable=False),  # pages go by it
    Column("state", Text, nullable=False),
    Column("inputs", Document, nullable=False),
    Column("digests", Document, nullable=False),
    Column("parameters", Document),
    Column("limits", Document, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("description", Text, nullable=False),
    # Its check. Without a foreign key: a job that has ended goes when its time is over, what it found stays.
    Column("job", Text, nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    # What the check found.
    Column("decided_at", Float),
    Column("schemas", Document),
    Column("has_init", Boolean(create_constraint=False), nullable=False, server_default=false()),
    Column("image", Text),
    Column("reason", Text),
    Column("message", Text, nullable=False, server_default=""),
    Column("error", Document),
    UniqueConstraint("script", "number"),  # pages, too
    Index(None, "script", "state", "number"),  # the newest that is ready
    Index(None, "tenant"),
    sqlite_autoincrement=True,
)

SCRIPT_ALIASES = Table(
    "script_aliases",
    METADATA,
    Column("script", Sequence, ForeignKey("scripts.seq"), primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    # Numbers with their shares, and those before. No foreign keys: whoever moves an alias or deletes a version has the script's row.
    Column("targets", Document, nullable=False),
    Column("previous", Document, nullable=False),
    Column("changed_at", Float, nullable=False),
)

PREPARED = Table(
    "prepared",
    METADATA,
    Column("sandbox", Text, primary_key=True),
    Column("worker", Text, nullable=False, index=True),
    Column("tenant", Text, nullable=False, index=True),
    # Without a foreign key: a version can be deleted, and its sandboxes go after it.
    Column("version", Text, nullable=False, index=True),
)
