"""Pages: newest first, behind an opaque cursor, bounded in rows and in bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Row, Select, String, and_, cast, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from fumehood.errors import BadField, BadRequest
from fumehood.limits import MIB

PAGE_ROWS = 200
PAGE_BYTES = 16 * MIB
"""A page ends early when its documents are so long: 200 jobs may hold more than a process has memory for."""

SEQ_MAX = 2**63 - 1

Run = Sequence[tuple[ColumnElement[Any], Any]]
"""Neighbours in an index: the columns that it begins with, and the value that each has."""


def write_cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> int:
    """The number below which a page begins. Raises BadRequest."""
    if cursor is None:
        return SEQ_MAX
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        if not text.isdecimal() or len(text) > 19 or int(text) > SEQ_MAX:
            raise ValueError
        return int(text)
    except (ValueError, binascii.Error) as error:
        raise bad_cursor() from error


def bad_cursor() -> BadRequest:
    return BadRequest("the cursor is not usable", errors=(BadField("/cursor", "expected the `next` of an earlier page"),))


class _Within(FunctionElement[bool]):
    """Two ways to say the same, in this order: of SQLite, and of PostgreSQL."""

    type = Boolean()
    name = "within"
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:
        # As it is: a comparison of its truth with 1, which SQLite would be given else, is answered from no index.
        return self


@compiles(_Within)
def _as_equal(element: _Within, compiler: Any, **options: Any) -> str:
    return str(compiler.process(next(iter(element.clauses)), **options))


@compiles(_Within, "postgresql")
def _as_range(element: _Within, compiler: Any, **options: Any) -> str:
    return str(compiler.process(list(element.clauses)[1], **options))


def within(run: Run, seq: ColumnElement[int], before: Any) -> ColumnElement[bool]:
    """The rows of a run whose `seq`, the index's next column, is below `before`.

    What may not happen is that a plan walks the table by its primary key instead: a planner that knows that rows of the run are many
    does so, and reads all that are not of it where they lie at the other end. SQLite has no statistics and takes the index with the
    most that is equal. For PostgreSQL the last column of the run is a range, of one value: that is no constant which the order could
    do without, so the order is that of the index. (To compare rows as wholes would do it too; but PostgreSQL goes on through every
    other run of the same beginning, and SQLite comes to `before` from the newest row.) A run of no column is the whole table.
    """
    if not run:
        return and_(seq < before)
    *first, (column, value) = run
    equal = [each == its for each, its in first]
    return _Within(
        and_(*equal, column == value, seq < before).self_group(),
        and_(*equal, column >= value, column <= value, seq < before).self_group(),
    )


def in_order(run: Run, seq: ColumnElement[int]) -> list[ColumnElement[Any]]:
    return [*(column for column, _ in run), seq]


def read_page(
    connection: Connection,
    query: Select[Any],
    *,
    run: Run,
    seq: ColumnElement[int],
    before: str | None,
    limit: int,
    documents: list[ColumnElement[Any]],
) -> tuple[list[Row[Any]], str | None]:
    """At most `limit` rows of `query` below the cursor, by falling `seq`, out of one `run` of an index (see `within`): the query
    itself says nothing about the columns of the run.

    The page is shorter, and still has a next one, where its `documents` would be longer than PAGE_BYTES. Raises BadRequest
    on a bad cursor.
    """
    limit = max(1, min(limit, PAGE_ROWS))
    length = sum((func.coalesce(func.length(cast(document, String)), 0) for document in documents), start=func.coalesce(0, 0))
    query = query.add_columns(length.label("document_bytes"), seq.label("position")).where(within(run, seq, read_cursor(before)))
    query = query.order_by(*(column.desc() for column in in_order(run, seq))).limit(limit + 1)
    page: list[Row[Any]] = []
    size = 0
    # A few rows at a time: the page may end long before the last of them.
    found = connection.execution_options(yield_per=10).execute(query)
    for row in found:
        size += row.document_bytes
        if len(page) == limit or (page and size > PAGE_BYTES):
            found.close()
            return page, write_cursor(page[-1].position)
        page.append(row)
    return page, None
