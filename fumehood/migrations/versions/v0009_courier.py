"""Webhooks: where a job's end is told, what was told, and what it is signed with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_DOCUMENT = sa.JSON(none_as_null=True)
_INDEXES = (["state", "tenant", "due_at"], ["tenant", "seq"], ["tenant", "state", "seq"], ["tenant", "about", "seq"], ["ended_at"])


def upgrade() -> None:
    for table in ("jobs", "batches"):
        op.add_column(table, sa.Column("callback_url", sa.String))
    op.create_table(
        "deliveries",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("about", sa.String, nullable=False),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("payload", _DOCUMENT),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("tries", _DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_deliveries"),
        sa.UniqueConstraint("id", name="uq_deliveries_id"),
        sqlite_autoincrement=True,
    )
    for columns in _INDEXES:
        op.create_index(f"ix_deliveries_{'_'.join(columns)}", "deliveries", columns)
    op.create_table(
        "webhook_secrets",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ends_at", sa.Float),
        sa.PrimaryKeyConstraint("tenant", "number", name="pk_webhook_secrets"),
    )


def downgrade() -> None:
    op.drop_table("webhook_secrets")
    op.drop_table("deliveries")
    for table in ("jobs", "batches"):
        op.drop_column(table, "callback_url")
