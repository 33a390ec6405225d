"""Items of a batch get their jobs late, and again; a batch may end with its first failure.

What was stored before has all its jobs. Downwards, items without a job cannot be told: their batches go.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_UNMADE_ITEM = sa.text("job IS NULL AND state IS NULL")
_UNMADE_BATCH = sa.text("unmade > 0")
_BATCHES: dict[str, dict[str, Any]] = {
    "on_failure": {"type_": sa.String(), "nullable": False, "server_default": "continue"},
    "stopped_by": {"type_": sa.Integer()},
    "attempts_max": {"type_": sa.Integer(), "nullable": False, "server_default": "3"},
    "place": {"type_": sa.BigInteger(), "nullable": False, "server_default": "0"},
    "unmade": {"type_": sa.Integer(), "nullable": False, "server_default": "0"},
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("unfolds", sa.Boolean(create_constraint=False)))
    for name, column in _BATCHES.items():
        op.add_column("batches", sa.Column(name, **column))
    op.create_index("ix_batches_unmade", "batches", ["tenant"], sqlite_where=_UNMADE_BATCH, postgresql_where=_UNMADE_BATCH)
    with op.batch_alter_table("batch_items") as table:
        table.add_column(sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
        table.alter_column("job", existing_type=sa.String(), nullable=True)
    op.create_index("ix_batch_items_unmade", "batch_items", ["batch", "number"], sqlite_where=_UNMADE_ITEM, postgresql_where=_UNMADE_ITEM)
    op.create_table(
        "batch_needs",
        sa.Column("batch", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("port", sa.String(), nullable=False),
        sa.Column("dataset", sa.String()),
        sa.Column("source_job", sa.String()),
        sa.PrimaryKeyConstraint("batch", "number", "port", name="pk_batch_needs"),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"], name="fk_batch_needs_batch"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name="fk_batch_needs_dataset"),
        sa.ForeignKeyConstraint(["source_job"], ["jobs.id"], name="fk_batch_needs_source_job"),
    )
    op.create_index("ix_batch_needs_dataset", "batch_needs", ["dataset"])
    op.create_index("ix_batch_needs_source_job", "batch_needs", ["source_job"])


def downgrade() -> None:
    op.drop_table("batch_needs")
    op.drop_index("ix_batch_items_unmade", "batch_items")
    # Those without a job are few, or of a batch that ended before they got one.
    op.execute("DELETE FROM batch_items WHERE job IS NULL")
    op.execute(
        "UPDATE shares SET queued = (SELECT count(*) FROM jobs WHERE jobs.tenant = shares.tenant AND jobs.lane = shares.lane "
        "AND jobs.state = 'queued')"
    )
    with op.batch_alter_table("batch_items") as table:
        table.alter_column("job", existing_type=sa.String(), nullable=False)
        table.drop_column("retries")
    op.drop_index("ix_batches_unmade", "batches")
    for name in _BATCHES:
        op.drop_column("batches", name)
    op.drop_column("jobs", "unfolds")
