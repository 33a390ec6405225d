"""A key knows which one was made in its place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("replaced_by", sa.String))


def downgrade() -> None:
    op.drop_column("api_keys", "replaced_by")
