"""A batch knows how long its joined table is, which its tenant holds; a key, which one was made in its place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("joined_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("api_keys", sa.Column("replaced_by", sa.String))


def downgrade() -> None:
    op.drop_column("api_keys", "replaced_by")
    op.drop_column("batches", "joined_bytes")
