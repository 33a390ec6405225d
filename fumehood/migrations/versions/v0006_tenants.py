"""Tenants have lifetimes of their own; keys have a name, scopes and an end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

def upgrade() -> None:
    op.add_column("tenants", sa.Column("retention", sa.JSON(none_as_null=True)))
    op.add_column("api_keys", sa.Column("name", sa.String, nullable=False, server_default=""))
    op.add_column("api_keys", sa.Column("scopes", sa.String, nullable=False, server_default=""))
    for name in ("expires_at", "revoked_at", "used_at"):
        op.add_column("api_keys", sa.Column(name, sa.Float))
    # Until now there were the operator's own keys alone.
    op.execute("UPDATE api_keys SET scopes = 'admin read submit', name = 'bootstrap'")
    op.create_index("ix_api_keys_tenant_created_at", "api_keys", ["tenant", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_api_keys_tenant_created_at", "api_keys")
    for name in ("used_at", "revoked_at", "expires_at", "scopes", "name"):
        op.drop_column("api_keys", name)
    op.drop_column("tenants", "retention")
