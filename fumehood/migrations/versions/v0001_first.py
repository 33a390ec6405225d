"""The first schema: tenants, keys, jobs, their labels and needs, datasets, idempotency keys, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_DOCUMENT = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("prefix", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_api_keys_tenant"),
    )
    op.create_table(
        "jobs",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("lane", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("attempts_max", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
        sa.Column("worker", sa.String),
        sa.Column("sandbox", sa.String),
        sa.Column("scratch", sa.String),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("target_format", sa.String),
        sa.Column("reserved_bytes", sa.BigInteger, nullable=False),
        sa.Column("limits", _DOCUMENT, nullable=False),
        sa.Column("inputs", _DOCUMENT, nullable=False),
        sa.Column("parameters", _DOCUMENT, nullable=False),
        sa.Column("labels", _DOCUMENT, nullable=False),
        sa.Column("outcome", _DOCUMENT),
        sa.Column("erasure", _DOCUMENT),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_lane_state_seq", "jobs", ["lane", "state", "seq"])
    op.create_index("ix_jobs_tenant_lane_seq", "jobs", ["tenant", "lane", "seq"])
    op.create_index("ix_jobs_tenant_lane_state_seq", "jobs", ["tenant", "lane", "state", "seq"])
    op.create_table(
        "job_labels",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("job_seq", _SEQUENCE, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", "value", "job_seq", name="pk_job_labels"),
        sa.ForeignKeyConstraint(["job_seq"], ["jobs.seq"], name="fk_job_labels_job_seq", ondelete="CASCADE"),
    )
    op.create_index("ix_job_labels_job_seq", "job_labels", ["job_seq"])
    op.create_table(
        "datasets",
        sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("format", sa.String, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("blob", sa.String, nullable=False),
        sa.Column("table_blob", sa.String),
        sa.Column("table_bytes", sa.BigInteger),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("columns", _DOCUMENT, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_datasets"),
        sa.UniqueConstraint("id", name="uq_datasets_id"),
        sa.UniqueConstraint("tenant", "sha256", "format", name="uq_datasets_tenant_sha256_format"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_datasets_tenant_seq", "datasets", ["tenant", "seq"])
    op.create_table(
        "job_needs",
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("port", sa.String, nullable=False),
        sa.Column("dataset", sa.String),
        sa.Column("source_job", sa.String),
        sa.PrimaryKeyConstraint("job_id", "port", name="pk_job_needs"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_needs_job_id"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name="fk_job_needs_dataset"),
        sa.ForeignKeyConstraint(["source_job"], ["jobs.id"], name="fk_job_needs_source_job"),
    )
    op.create_index("ix_job_needs_dataset", "job_needs", ["dataset"])
    op.create_index("ix_job_needs_source_job", "job_needs", ["source_job"])
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("request_sha256", sa.String, nullable=False),
        sa.Column("job_id", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_job_id", "idempotency", ["job_id"])
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "workers",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("facts", _DOCUMENT, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )


def downgrade() -> None:
    # Whoever refers to another goes first; indexes go with their tables.
    for table in ("idempotency", "job_needs", "job_labels", "datasets", "jobs", "workers", "api_keys", "tenants"):
        op.drop_table(table)
