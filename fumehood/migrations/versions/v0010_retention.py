"""Lifetimes of jobs, batches and datasets; pinned datasets; when what expired did.

What was stored before has no lifetime and stays until it is deleted; a dataset gets one when it is uploaded again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON(none_as_null=True)
_COLUMNS: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "jobs": {"retention": _DOCUMENT, "expires_at": sa.Float(), "log_gone_at": sa.Float(), "results_gone_at": sa.Float()},
    "batches": {"retention": _DOCUMENT, "expires_at": sa.Float(), "gone_at": sa.Float()},
    "datasets": {"kept_seconds": sa.Float(), "expires_at": sa.Float()},
}


def upgrade() -> None:
    some = sa.text("expires_at IS NOT NULL")
    op.add_column("datasets", sa.Column("pinned", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.false()))
    for table, columns in _COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))
        op.create_index(f"ix_{table}_due", table, ["tenant", "expires_at"], sqlite_where=some, postgresql_where=some)
    op.create_table(
        "tombstones",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("gone_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_tombstones"),
    )
    op.create_index("ix_tombstones_gone_at", "tombstones", ["gone_at"])


def downgrade() -> None:
    # A batch that is half taken away would be found again.
    half = "(SELECT id FROM batches WHERE gone_at IS NOT NULL)"
    op.execute(f"DELETE FROM batch_items WHERE batch IN {half}")
    op.execute(f"DELETE FROM jobs WHERE batch IN {half}")
    op.execute("DELETE FROM batches WHERE gone_at IS NOT NULL")
    op.drop_table("tombstones")
    for table, columns in _COLUMNS.items():
        op.drop_index(f"ix_{table}_due", table)
        for name in columns:
            op.drop_column(table, name)
    op.drop_column("datasets", "pinned")
