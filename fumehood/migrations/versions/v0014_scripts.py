"""Hosted scripts: their versions and aliases, and what of them a job still reads.

What they hold counts for their tenant, by triggers as in revision 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_DOCUMENT = sa.JSON(none_as_null=True)
_NEEDS = ("job_needs", "batch_needs")
_TRIGGERS = ("hold_script_versions", "release_script_versions")


def upgrade() -> None:
    op.create_table(
        "scripts",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("numbers", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_scripts"),
        sa.UniqueConstraint("tenant", "name", name="uq_scripts_tenant_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_scripts_tenant_seq", "scripts", ["tenant", "seq"])
    op.create_table(
        "script_versions",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("script", _SEQUENCE, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("inputs", _DOCUMENT, nullable=False),
        sa.Column("digests", _DOCUMENT, nullable=False),
        sa.Column("parameters", _DOCUMENT),
        sa.Column("limits", _DOCUMENT, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.Float),
        sa.Column("schemas", _DOCUMENT),
        sa.Column("has_init", sa.Boolean(create_constraint=False), nullable=False, server_default=sa.false()),
        sa.Column("image", sa.String),
        sa.Column("reason", sa.String),
        sa.Column("message", sa.String, nullable=False, server_default=""),
        sa.Column("error", _DOCUMENT),
        sa.PrimaryKeyConstraint("seq", name="pk_script_versions"),
        sa.UniqueConstraint("id", name="uq_script_versions_id"),
        sa.UniqueConstraint("script", "number", name="uq_script_versions_script_number"),
        sa.ForeignKeyConstraint(["script"], ["scripts.seq"], name="fk_script_versions_script"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_script_versions_job", "script_versions", ["job"])
    op.create_index("ix_script_versions_tenant", "script_versions", ["tenant"])
    op.create_index("ix_script_versions_script_state_number", "script_versions", ["script", "state", "number"])
    op.create_table(
        "script_aliases",
        sa.Column("script", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("targets", _DOCUMENT, nullable=False),
        sa.Column("previous", _DOCUMENT, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("script", "name", name="pk_script_aliases"),
        sa.ForeignKeyConstraint(["script"], ["scripts.seq"], name="fk_script_aliases_script"),
    )
    op.create_table(
        "prepared",
        sa.Column("sandbox", sa.String, nullable=False),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("sandbox", name="pk_prepared"),
    )
    for column in ("worker", "tenant", "version"):
        op.create_index(f"ix_prepared_{column}", "prepared", [column])
    # SQLite writes these anew: they have few rows, those of what has not ended.
    for needs in _NEEDS:
        with op.batch_alter_table(needs) as table:
            table.add_column(sa.Column("version", sa.String))
            table.create_foreign_key(f"fk_{needs}_version", "script_versions", ["version"], ["id"])
    op.create_index("ix_job_needs_version_port", "job_needs", ["version", "port"])
    op.create_index("ix_batch_needs_version", "batch_needs", ["version"])
    for statement in _sqlite() if op.get_bind().dialect.name == "sqlite" else _postgres():
        op.execute(statement)


def _sqlite() -> list[str]:
    return [
        "CREATE TRIGGER hold_script_versions AFTER INSERT ON script_versions WHEN NEW.stored_bytes <> 0 BEGIN "
        "INSERT INTO holdings (tenant, bytes) VALUES (NEW.tenant, NEW.stored_bytes) "
        "ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes; END",
        "CREATE TRIGGER release_script_versions AFTER DELETE ON script_versions WHEN OLD.stored_bytes <> 0 BEGIN "
        "UPDATE holdings SET bytes = bytes - OLD.stored_bytes WHERE tenant = OLD.tenant; END",
    ]


def _postgres() -> list[str]:
    summed = (
        "SELECT tenant, CAST(sum(stored_bytes) AS BIGINT) AS bytes FROM moved GROUP BY tenant HAVING sum(stored_bytes) <> 0 ORDER BY tenant"
    )
    hold = f"INSERT INTO holdings (tenant, bytes) {summed} ON CONFLICT (tenant) DO UPDATE SET bytes = holdings.bytes + excluded.bytes"
    release = f"UPDATE holdings SET bytes = holdings.bytes - gone.bytes FROM ({summed}) AS gone WHERE holdings.tenant = gone.tenant"
    return [
        _function("hold_script_versions", hold),
        _function("release_script_versions", release),
        "CREATE TRIGGER hold_script_versions AFTER INSERT ON script_versions REFERENCING NEW TABLE AS moved "
        "FOR EACH STATEMENT EXECUTE FUNCTION fumehood_hold_script_versions()",
        "CREATE TRIGGER release_script_versions AFTER DELETE ON script_versions REFERENCING OLD TABLE AS moved "
        "FOR EACH STATEMENT EXECUTE FUNCTION fumehood_release_script_versions()",
    ]


def _function(name: str, statement: str) -> str:
    return f"CREATE FUNCTION fumehood_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$"


def downgrade() -> None:
    postgres = op.get_bind().dialect.name != "sqlite"
    # Jobs on versions mean nothing to an older version.
    of_checks = "(SELECT id FROM jobs WHERE kind IN ('check', 'score'))"
    op.execute(f"DELETE FROM job_needs WHERE version IS NOT NULL OR job_id IN {of_checks}")
    op.execute("DELETE FROM batch_needs WHERE version IS NOT NULL")
    op.execute(f"DELETE FROM idempotency WHERE job_id IN (SELECT id FROM script_versions) OR job_id IN {of_checks}")
    op.execute("DELETE FROM jobs WHERE kind IN ('check', 'score')")
    for state in ("queued", "running"):
        op.execute(
            f"UPDATE shares SET {state} = (SELECT count(*) FROM jobs WHERE jobs.tenant = shares.tenant AND jobs.lane = shares.lane "
            f"AND jobs.state = '{state}')"
            + (" + (SELECT coalesce(sum(unmade), 0) FROM batches WHERE batches.tenant = shares.tenant)" if state == "queued" else "")
            + " WHERE lane = 'jobs'"
        )
    op.execute("DELETE FROM script_versions")
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON script_versions" if postgres else f"DROP TRIGGER {name}")
        if postgres:
            op.execute(f"DROP FUNCTION fumehood_{name}()")
    op.drop_index("ix_job_needs_version_port", "job_needs")
    op.drop_index("ix_batch_needs_version", "batch_needs")
    for needs in _NEEDS:
        with op.batch_alter_table(needs) as table:
            table.drop_constraint(f"fk_{needs}_version", type_="foreignkey")
            table.drop_column("version")
    for table_name in ("prepared", "script_aliases", "script_versions", "scripts"):
        op.drop_table(table_name)
