"""Fair share: whose turn it is, and the order within a tenant's queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_QUEUED, _WAITING, _RUNNING = (sa.text(condition) for condition in ("state = 'queued'", "queued > 0", "running > 0"))


def upgrade() -> None:
    op.add_column("tenants", sa.Column("state", sa.String, nullable=False, server_default="active"))
    op.add_column("tenants", sa.Column("weight", sa.Float, nullable=False, server_default="1"))
    op.add_column("tenants", sa.Column("quota", sa.JSON(none_as_null=True)))
    op.add_column("jobs", sa.Column("rank", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("place", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("charged", sa.Float))
    op.create_index("ix_jobs_queue", "jobs", ["tenant", "lane", "rank", "place", "seq"], sqlite_where=_QUEUED, postgresql_where=_QUEUED)
    op.create_table(
        "shares",
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("lane", sa.String, nullable=False),
        sa.Column("queued", sa.Integer, nullable=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.Column("in_line", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("virtual_time", sa.Float, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("mean_seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "lane", name="pk_shares"),
    )
    waiting = ["lane", "in_line", "virtual_time", "place"]
    op.create_index("ix_shares_waiting", "shares", waiting, sqlite_where=_WAITING, postgresql_where=_WAITING)
    op.create_index("ix_shares_running", "shares", ["lane"], sqlite_where=_RUNNING, postgresql_where=_RUNNING)
    op.create_table(
        "lanes",
        sa.Column("lane", sa.String, nullable=False),
        sa.Column("virtual_time", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("lane", name="pk_lanes"),
    )
    # Whoever has something to do begins at the same time.
    op.execute(
        "INSERT INTO shares (tenant, lane, queued, running, in_line, virtual_time, place, mean_seconds) "
        "SELECT tenant, lane, SUM(CASE WHEN state = 'queued' THEN 1 ELSE 0 END), SUM(CASE WHEN state = 'running' THEN 1 ELSE 0 END), "
        "TRUE, 0, MIN(seq), 1 "
        "FROM jobs WHERE lane IN ('jobs', 'errands') AND state IN ('queued', 'running') GROUP BY tenant, lane"
    )
    op.execute("UPDATE jobs SET place = seq WHERE lane IN ('jobs', 'errands') AND state = 'queued'")


def downgrade() -> None:
    op.drop_column("tenants", "quota")
    op.drop_column("tenants", "weight")
    op.drop_column("tenants", "state")
    op.drop_table("lanes")
    op.drop_table("shares")
    op.drop_index("ix_jobs_queue", "jobs")
    op.drop_column("jobs", "charged")
    op.drop_column("jobs", "place")
    op.drop_column("jobs", "rank")
