"""Columns: what all tables of the job store are made of."""

from __future__ import annotations

import re

from sqlalchemy import JSON, BigInteger, Dialect, Index, Integer, MetaData, String, TypeDecorator, text

METADATA = MetaData(
    # Named, because SQLite and Alembic can only change a constraint that has a name.
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in a column that is called exactly INTEGER.
Sequence = BigInteger().with_variant(Integer, "sqlite")
Document = JSON(none_as_null=True)

# NUL, which PostgreSQL's text cannot hold, and half a surrogate pair, which UTF-8 cannot.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def index_where(name: str, condition: str, *columns: str) -> Index:
    """An index of some rows. A statement uses it where it says the condition in the same words."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


def due(table: str) -> Index:
    """What of a tenant is to be looked at next for what has expired; without the many rows where nothing will be."""
    return index_where(f"ix_{table}_due", "expires_at IS NOT NULL", "tenant", "expires_at")


def clean_text(value: str) -> str:
    """As `Text` writes it."""
    return _UNSTORABLE.sub("\ufffd", value)


class Text(TypeDecorator[str]):
    """Text of every origin, the same in every database: what none can hold is written, and looked for, as U+FFFD. Documents
    hold their text with escapes, and need no such thing."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)
