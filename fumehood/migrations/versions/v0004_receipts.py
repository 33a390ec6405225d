"""Receipts that say more and are signed; the keys that sign them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JOBS = sa.table(
    "jobs",
    sa.column("seq", sa.BigInteger),
    sa.column("attempt", sa.Integer),
    sa.column("fence", sa.Integer),
    sa.column("erasure", sa.JSON(none_as_null=True)),
)
_BEFORE = ("container", "files", "bytes", "erased_at")
_STEP = 500


def upgrade() -> None:
    op.create_table(
        "receipt_keys",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("public", sa.String, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_receipt_keys"),
    )
    # What was not kept then, nobody knows now.
    unknown = {"worker": None, "container_id": None, "began_at": None, "key": None, "signature": None}
    _rewrite(lambda row: unknown | {"attempt": row.attempt, "fence": row.fence} | row.erasure)


def downgrade() -> None:
    _rewrite(lambda row: {name: row.erasure[name] for name in _BEFORE})
    op.drop_table("receipt_keys")


def _rewrite(change: Any) -> None:
    connection, last = op.get_bind(), -1
    while True:
        some = sa.select(_JOBS).where(_JOBS.c.seq > last, _JOBS.c.erasure.is_not(None)).order_by(_JOBS.c.seq).limit(_STEP)
        rows = connection.execute(some).all()
        if not rows:
            return
        for row in rows:
            connection.execute(sa.update(_JOBS).where(_JOBS.c.seq == row.seq).values(erasure=change(row)))
        last = rows[-1].seq
