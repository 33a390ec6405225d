"""Batches and their items; the batch that a job belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_DOCUMENT = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("batch", sa.String))
    op.add_column("jobs", sa.Column("item", sa.Integer))
    op.create_index("ix_jobs_batch_state", "jobs", ["batch", "state"])
    op.create_table(
        "batches",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("isolation", sa.String, nullable=False),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("inputs", _DOCUMENT, nullable=False),
        sa.Column("parameters", _DOCUMENT, nullable=False),
        sa.Column("limits", _DOCUMENT, nullable=False),
        sa.Column("labels", _DOCUMENT, nullable=False),
        sa.Column("cancel_requested", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_batches"),
        sa.UniqueConstraint("id", name="uq_batches_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_batches_tenant_seq", "batches", ["tenant", "seq"])
    op.create_table(
        "batch_items",
        sa.Column("batch", sa.String, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("inputs", _DOCUMENT),
        sa.Column("parameters", _DOCUMENT),
        sa.Column("state", sa.String),
        sa.Column("ending", _DOCUMENT),
        sa.PrimaryKeyConstraint("batch", "number", name="pk_batch_items"),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"], name="fk_batch_items_batch"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_batch_items_job"),
    )
    op.create_index("ix_batch_items_job", "batch_items", ["job"])


def downgrade() -> None:
    op.drop_table("batch_items")
    op.drop_table("batches")
    # A job of a batch means nothing to an older version: its blobs lie where that one does not look.
    of_batches = "(SELECT id FROM jobs WHERE batch IS NOT NULL)"
    op.execute(f"DELETE FROM job_needs WHERE job_id IN {of_batches} OR source_job IN {of_batches}")
    op.execute("DELETE FROM jobs WHERE batch IS NOT NULL")
    op.drop_index("ix_jobs_batch_state", "jobs")
    op.drop_column("jobs", "item")
    op.drop_column("jobs", "batch")
