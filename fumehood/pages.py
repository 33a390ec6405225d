"""Pages: newest first, behind an opaque cursor, bounded in rows and in bytes."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, String, cast, func

from fumehood.errors import BadField, BadRequest
from fumehood.limits import MIB

PAGE_ROWS = 200
PAGE_BYTES = 16 * MIB
"""A page ends early when its documents are so long: 200 jobs may hold more than a process has memory for."""

_SEQ_MAX = 2**63 - 1


def write_cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> int:
    """The number below which a page begins. Raises BadRequest."""
    if cursor is None:
        return _SEQ_MAX
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        if not text.isdecimal() or len(text) > 19 or int(text) > _SEQ_MAX:
            raise ValueError
        return int(text)
    except (ValueError, binascii.Error) as error:
        raise BadRequest("the cursor is not usable", errors=(BadField("/cursor", "expected the `next` of an earlier page"),)) from error


def read_page(
    connection: Connection,
    query: Select[Any],
    *,
    seq: ColumnElement[int],
    before: str | None,
    limit: int,
    documents: list[ColumnElement[Any]],
) -> tuple[list[Row[Any]], str | None]:
    """At most `limit` rows of `query` below the cursor, by falling `seq` (a column of an index that the query uses).

    The page is shorter, and still has a next one, where its `documents` would be longer than PAGE_BYTES. Raises BadRequest
    on a bad cursor.
    """
    limit = max(1, min(limit, PAGE_ROWS))
    length = sum((func.coalesce(func.length(cast(document, String)), 0) for document in documents), start=func.coalesce(0, 0))
    query = query.add_columns(length.label("document_bytes"), seq.label("position"))
    page: list[Row[Any]] = []
    size = 0
    # A few rows at a time: the page may end long before the last of them.
    found = connection.execution_options(yield_per=10).execute(query.where(seq < read_cursor(before)).order_by(seq.desc()).limit(limit + 1))
    for row in found:
        size += row.document_bytes
        if len(page) == limit or (page and size > PAGE_BYTES):
            found.close()
            return page, write_cursor(page[-1].position)
        page.append(row)
    return page, None
