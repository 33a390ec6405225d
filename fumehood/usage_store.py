"""Usage in the job store: asked for by day or for a whole period, page after page."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, cast, func, select, tuple_

from fumehood.errors import BadField, BadRequest
from fumehood.pages import bad_cursor
from fumehood.records import Records
from fumehood.schema import USAGE
from fumehood.usage import KEPT_DAYS, TOTAL, Amount, Work, as_date, day_number

ROWS_MAX = 1000
"""Of a page."""
DAYS_MAX = KEPT_DAYS
"""Of a period."""
AMOUNTS = tuple(field.name for field in fields(Amount))


class By(StrEnum):
    DAY = "day"
    PERIOD = "period"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What was used: on a `day` or, where that is None, in the whole period; by jobs of a label, or by all where `label` is None."""

    day: date | None
    label: str | None
    work: Work
    amount: Amount


class Usages(Records):
    """The part of `JobStore` that is asked what was used."""

    def usage(
        self,
        tenant: str,
        *,
        first: date,
        last: date,
        label: str | None = None,
        by: By = By.DAY,
        after: str | None = None,
        limit: int = ROWS_MAX,
    ) -> tuple[list[Row], str | None]:
        """By rising day, then label value: `label` is a label's name, and a job without it is in no row. The second value is the
        cursor (opaque) of the next page.

        Raises:
            BadRequest: the period ends before it begins, or has more than DAYS_MAX days; a bad cursor.
        """
        days = (last - first).days + 1
        if not 1 <= days <= DAYS_MAX:
            told = "ends before it begins" if days < 1 else f"has {days:,} days"
            fault = BadField("/query/to", f"the period {first} to {last} {told}; expected 1 to {DAYS_MAX} days")
            raise BadRequest("the period cannot be used", errors=(fault,))
        limit = max(1, min(limit, ROWS_MAX))
        query, place = _by_day() if by is By.DAY else _by_period()
        query = query.where(USAGE.c.tenant == tenant, USAGE.c.label_name == (TOTAL[0] if label is None else label))
        query = query.where(USAGE.c.day.between(day_number(first), day_number(last)))
        if after is not None:
            types = [column.type for column in place]
            query = query.where(tuple_(*place) > tuple_(*_read_cursor(after, by), types=types))
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(*place).limit(limit + 1)).all()
        rows = [
            Row(
                day=as_date(row.day) if by is By.DAY else None,
                label=None if label is None else row.label_value,
                work=Work(row.work),
                amount=Amount(**{name: row._mapping[name] for name in AMOUNTS}),
            )
            for row in found[:limit]
        ]
        following = _write_cursor([found[limit - 1]._mapping[column.name] for column in place]) if len(found) > limit else None
        return rows, following


def _by_day() -> tuple[Select[Any], list[Any]]:
    return select(USAGE), [USAGE.c.day, USAGE.c.label_value, USAGE.c.work]


def _by_period() -> tuple[Select[Any], list[Any]]:
    place = [USAGE.c.label_value, USAGE.c.work]
    # The sum of whole numbers is a decimal in PostgreSQL.
    sums = [cast(func.sum(USAGE.c[name]), USAGE.c[name].type).label(name) for name in AMOUNTS]
    return select(*place, *sums).group_by(*place), place


def _write_cursor(place: list[Any]) -> str:
    # No label holds a line's end.
    return base64.urlsafe_b64encode("\n".join(map(str, place)).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, by: By) -> list[Any]:
    """Raises BadRequest."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        *day, value, work = text.split("\n")
        if len(day) != (by is By.DAY) or not all(number.isascii() and number.isdecimal() and len(number) <= 9 for number in day):
            raise ValueError
        return [*map(int, day), value, work]
    except (ValueError, binascii.Error) as error:
        raise bad_cursor() from error
