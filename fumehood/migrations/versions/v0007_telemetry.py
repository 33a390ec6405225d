"""The span that a job was submitted in, and what each worker has counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String))
    op.add_column("workers", sa.Column("tally", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    op.drop_column("workers", "tally")
    op.drop_column("jobs", "traceparent")
