"""What tenants have used; and results that are found again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KNOWN = sa.text("cache_key IS NOT NULL")
_WHOLE = ("succeeded", "failed", "cancelled", "cached")
_PARTS = ("cpu_seconds", "gb_seconds", "wall_seconds")


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("label_name", sa.String, nullable=False),
        sa.Column("day", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("label_value", sa.String, nullable=False),
        sa.Column("work", sa.String, nullable=False),
        sa.Column("labels", sa.Integer, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _WHOLE),
        *(sa.Column(name, sa.Float, nullable=False) for name in _PARTS),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("bytes_in", "bytes_out")),
        sa.PrimaryKeyConstraint("tenant", "label_name", "day", "label_value", "work", name="pk_usage"),
    )
    op.create_index("ix_usage_tenant_day", "usage", ["tenant", "day"])
    op.add_column("jobs", sa.Column("cache_key", sa.String))
    op.add_column("jobs", sa.Column("cached_from", sa.JSON(none_as_null=True)))
    op.create_index("ix_jobs_cache_key_state_seq", "jobs", ["cache_key", "state", "seq"], sqlite_where=_KNOWN, postgresql_where=_KNOWN)


def downgrade() -> None:
    op.drop_index("ix_jobs_cache_key_state_seq", "jobs")
    op.drop_column("jobs", "cached_from")
    op.drop_column("jobs", "cache_key")
    op.drop_table("usage")
