"""What a tenant's blobs hold: counted by the database itself, whichever way a row comes, changes or goes.

Of what was stored before, datasets are counted. Jobs and batches of then count as nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Table → what a row of it holds.
_HELD = {"jobs": "{row}stored_bytes", "batches": "{row}stored_bytes", "datasets": "{row}bytes + coalesce({row}table_bytes, 0)"}
_COLUMNS = {"jobs": "stored_bytes", "batches": "stored_bytes", "datasets": "bytes, table_bytes"}
_ADD = "INSERT INTO holdings (tenant, bytes) VALUES (NEW.tenant, {bytes}) ON CONFLICT (tenant) DO UPDATE SET bytes = {own} + excluded.bytes"


def upgrade() -> None:
    for table in ("jobs", "batches"):
        op.add_column(table, sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "holdings",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_holdings"),
    )
    held = _HELD["datasets"].format(row="")
    op.execute(f"INSERT INTO holdings (tenant, bytes) SELECT tenant, CAST(sum({held}) AS BIGINT) FROM datasets GROUP BY tenant")
    for table in _HELD:
        for statement in _sqlite(table) if op.get_bind().dialect.name == "sqlite" else _postgres(table):
            op.execute(statement)


def _sqlite(table: str) -> list[str]:
    new, old = (_HELD[table].format(row=row) for row in ("NEW.", "OLD."))
    return [
        f"CREATE TRIGGER hold_{table} AFTER INSERT ON {table} WHEN {new} <> 0 BEGIN {_ADD.format(bytes=new, own='bytes')}; END",
        f"CREATE TRIGGER release_{table} AFTER DELETE ON {table} WHEN {old} <> 0 "
        f"BEGIN UPDATE holdings SET bytes = bytes - ({old}) WHERE tenant = OLD.tenant; END",
        f"CREATE TRIGGER rehold_{table} AFTER UPDATE OF {_COLUMNS[table]} ON {table} WHEN {new} <> {old} "
        f"BEGIN {_ADD.format(bytes=f'{new} - ({old})', own='bytes')}; END",
    ]


def _postgres(table: str) -> list[str]:
    """Of many rows at once the sum is added: each change of one row would be a version of it."""
    held, new, old = (_HELD[table].format(row=row) for row in ("", "NEW.", "OLD."))
    summed = f"SELECT tenant, CAST(sum({held}) AS BIGINT) AS bytes FROM moved GROUP BY tenant HAVING sum({held}) <> 0 ORDER BY tenant"
    hold = f"INSERT INTO holdings (tenant, bytes) {summed} ON CONFLICT (tenant) DO UPDATE SET bytes = holdings.bytes + excluded.bytes"
    release = f"UPDATE holdings SET bytes = holdings.bytes - gone.bytes FROM ({summed}) AS gone WHERE holdings.tenant = gone.tenant"
    return [
        _function(f"hold_{table}", hold),
        _function(f"release_{table}", release),
        _function(f"rehold_{table}", _ADD.format(bytes=f"{new} - ({old})", own="holdings.bytes")),
        f"CREATE TRIGGER hold_{table} AFTER INSERT ON {table} REFERENCING NEW TABLE AS moved "
        f"FOR EACH STATEMENT EXECUTE FUNCTION fumehood_hold_{table}()",
        f"CREATE TRIGGER release_{table} AFTER DELETE ON {table} REFERENCING OLD TABLE AS moved "
        f"FOR EACH STATEMENT EXECUTE FUNCTION fumehood_release_{table}()",
        f"CREATE TRIGGER rehold_{table} AFTER UPDATE OF {_COLUMNS[table]} ON {table} FOR EACH ROW "
        f"WHEN ({new} <> {old}) EXECUTE FUNCTION fumehood_rehold_{table}()",
    ]


def _function(name: str, statement: str) -> str:
    return f"CREATE FUNCTION fumehood_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$"


def downgrade() -> None:
    postgres = op.get_bind().dialect.name != "sqlite"
    for table in _HELD:
        for name in (f"hold_{table}", f"release_{table}", f"rehold_{table}"):
            op.execute(f"DROP TRIGGER {name} ON {table}" if postgres else f"DROP TRIGGER {name}")
            if postgres:
                op.execute(f"DROP FUNCTION fumehood_{name}()")
    op.drop_table("holdings")
    for table in ("jobs", "batches"):
        op.drop_column(table, "stored_bytes")
