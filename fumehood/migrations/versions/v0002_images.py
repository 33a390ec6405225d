"""Images and what is in them; datasets by name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "images",
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("python", sa.String),
        sa.Column("packages", sa.JSON(none_as_null=True)),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_images"),
    )
    op.create_index("ix_datasets_tenant_name_seq", "datasets", ["tenant", "name", "seq"])


def downgrade() -> None:
    op.drop_index("ix_datasets_tenant_name_seq", "datasets")
    op.drop_table("images")
