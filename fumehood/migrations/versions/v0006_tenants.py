"""Tenants have lifetimes of their own; keys have a name, scopes and an end; who did what is written where it cannot be changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DAY_SECONDS = 86_400
_KEPT = "the audit log is append-only; what is older than its horizon may be forgotten"
_HORIZON = "the horizon of the audit log only moves forward, and never into the last day"

# SQLite: REPLACE deletes without asking the triggers of DELETE, so a row's number may not come again.
_SQLITE = [
    f"CREATE TRIGGER audit_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, '{_KEPT}'); END",
    f"CREATE TRIGGER audit_delete BEFORE DELETE ON audit WHEN OLD.at >= coalesce((SELECT max(before) FROM audit_horizon), 0) "
    f"BEGIN SELECT RAISE(ABORT, '{_KEPT}'); END",
    f"CREATE TRIGGER audit_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq) "
    f"BEGIN SELECT RAISE(ABORT, '{_KEPT}'); END",
    f"CREATE TRIGGER audit_horizon_update BEFORE UPDATE ON audit_horizon "
    f"WHEN NEW.before < OLD.before OR NEW.before > strftime('%s', 'now') - {DAY_SECONDS} BEGIN SELECT RAISE(ABORT, '{_HORIZON}'); END",
    f"CREATE TRIGGER audit_horizon_insert BEFORE INSERT ON audit_horizon BEGIN SELECT RAISE(ABORT, '{_HORIZON}'); END",
    "CREATE TRIGGER audit_horizon_told AFTER UPDATE ON audit_horizon BEGIN "
    "INSERT INTO audit (at, action, result) VALUES (strftime('%s', 'now'), 'forget_audit', 'ok'); END",
]
_POSTGRES = [
    f"""CREATE FUNCTION fumehood_audit_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.at < coalesce((SELECT max(before) FROM audit_horizon), 0) THEN RETURN OLD; END IF;
        END IF;
        RAISE EXCEPTION '{_KEPT}' USING ERRCODE = 'integrity_constraint_violation';
    END $$""",
    f"""CREATE FUNCTION fumehood_audit_horizon() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF NEW.before >= OLD.before AND NEW.before <= extract(epoch FROM clock_timestamp()) - {DAY_SECONDS} THEN
                INSERT INTO audit (at, action, result) VALUES (extract(epoch FROM clock_timestamp()), 'forget_audit', 'ok');
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION '{_HORIZON}' USING ERRCODE = 'integrity_constraint_violation';
    END $$""",
    "CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION fumehood_audit_kept()",
    "CREATE TRIGGER audit_whole BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION fumehood_audit_kept()",
    "CREATE TRIGGER audit_horizon BEFORE INSERT OR UPDATE ON audit_horizon FOR EACH ROW EXECUTE FUNCTION fumehood_audit_horizon()",
    "CREATE TRIGGER audit_horizon_whole BEFORE TRUNCATE ON audit_horizon FOR EACH STATEMENT EXECUTE FUNCTION fumehood_audit_horizon()",
]


def upgrade() -> None:
    op.add_column("tenants", sa.Column("retention", sa.JSON(none_as_null=True)))
    op.add_column("api_keys", sa.Column("name", sa.String, nullable=False, server_default=""))
    op.add_column("api_keys", sa.Column("scopes", sa.String, nullable=False, server_default=""))
    for name in ("expires_at", "revoked_at", "used_at"):
        op.add_column("api_keys", sa.Column(name, sa.Float))
    # Until now there were the operator's own keys alone.
    op.execute("UPDATE api_keys SET scopes = 'admin read submit', name = 'bootstrap'")
    op.create_index("ix_api_keys_tenant_created_at", "api_keys", ["tenant", "created_at"])
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("by_tenant", sa.String),
        sa.Column("by_key", sa.String),
        sa.Column("address", sa.String),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("tenant", sa.String),
        sa.Column("target", sa.String),
        sa.Column("result", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_tenant_seq", "audit", ["tenant", "seq"])
    op.create_table(
        "audit_horizon",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("before", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_horizon"),
    )
    op.execute("INSERT INTO audit_horizon (id, before) VALUES (1, 0)")
    for statement in _SQLITE if _on_sqlite() else _POSTGRES:
        op.execute(statement)
    op.create_table(
        "tenant_erasures",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("requested_at", sa.Float, nullable=False),
        sa.Column("erased", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("receipt", sa.JSON(none_as_null=True)),
        sa.PrimaryKeyConstraint("tenant", name="pk_tenant_erasures"),
    )


def downgrade() -> None:
    op.drop_table("tenant_erasures")
    op.drop_table("audit")
    op.drop_table("audit_horizon")
    if not _on_sqlite():
        op.execute("DROP FUNCTION fumehood_audit_kept()")
        op.execute("DROP FUNCTION fumehood_audit_horizon()")
    op.drop_index("ix_api_keys_tenant_created_at", "api_keys")
    for name in ("used_at", "revoked_at", "expires_at", "scopes", "name"):
        op.drop_column("api_keys", name)
    op.drop_column("tenants", "retention")


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
