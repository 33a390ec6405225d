"""/v1/usage: what the tenant has used, by day and label."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api.answers import binary, headers, link_next, problems
from api.auth import TenantDep, known_parameters
from api.content import accept_of, attachment, choose_media, is_head
from api.cursors import CursorsDep
from api.desk import DeskDep
from api.drafts import LABEL_KEY
from api.usage_schemas import UsagePage
from api.usage_tables import arrow_of, record_of
from fumehood.dataset import FORMATS
from fumehood.errors import BadField, BadRequest
from fumehood.usage_store import DAYS_MAX, ROWS_MAX, By, Row

router = APIRouter(prefix="/v1/usage", tags=["usage"], dependencies=[Depends(known_parameters)])

JSON = "application/json"
DAYS_DEFAULT = 30
TABLE_ROWS_MAX = 100_000
FORMAT_OF_MEDIA = {FORMATS[format][0][0]: format for format in ("arrow", "arrow-stream")}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page, or a table.",
        "headers": headers("Link", "Vary", "Content-Disposition"),
        "content": binary(*FORMAT_OF_MEDIA),
    }
}


@router.get("", summary="What was used", response_model=UsagePage, responses={**_PAGE, **problems(406)})
async def read_usage(
    request: Request,
    response: Response,
    desk: DeskDep,
    tenant: TenantDep,
    cursors: CursorsDep,
    first: Annotated[
        str | None, Query(alias="from", description=f"First day, such as 2025-01-31, in UTC; else {DAYS_DEFAULT} days with the last one.")
    ] = None,
    last: Annotated[str | None, Query(alias="to", description=f"Last day, else today; {DAYS_MAX} days in all at most.")] = None,
    by: Annotated[By, Query(description="`day`: a row for each day. `period`: one for all of them.")] = By.DAY,
    label: Annotated[
        str | None, Query(max_length=63, description="A label's name: a row for each value. Jobs without this label are in none.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=ROWS_MAX, description="Rows of a page; an Arrow table has all rows.")] = ROWS_MAX,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next` of the page before.")] = None,
) -> Any:
    """Of the jobs and conversions that have ended, those that were deleted since among them; each counts on the day on which it ended.
    Nothing of an attempt that was handed back is counted, nor the time and memory of a run that failed by the service's fault.

    Kept for 400 days. `Accept` chooses: JSON, in pages, or one Arrow table, as a file or a stream."""
    begin, end = _period(first, last)
    if label is not None and not LABEL_KEY.fullmatch(label):
        fault = BadField("/query/label", f"the name {label[:80]!r} cannot be used; expected that of a label")
        raise BadRequest("a label cannot be used", errors=(fault,))
    ask = partial(desk.store.usage, tenant.id, first=begin, last=end, label=label, by=by)
    response.headers["Vary"] = "Accept"
    media = choose_media(accept_of(request), [JSON, *FORMAT_OF_MEDIA])
    if media != JSON:
        told = {"Vary": "Accept", "Content-Disposition": attachment(f"usage-{begin}-{end}{FORMATS[FORMAT_OF_MEDIA[media]][1][0]}")}
        table = b"" if is_head(request) else await desk.parse(_table, ask, FORMAT_OF_MEDIA[media])
        return Response(table, media_type=media, headers=told)
    rows, following = await desk.ask(ask, after=cursors.open(cursor), limit=limit)
    following = cursors.seal(following)
    period = {"from": begin.isoformat(), "to": end.isoformat()}
    link_next(response, "/v1/usage", following, {**period, "by": by.value, "label": label, "limit": limit})
    return UsagePage(**period, by=by, label=label, items=[record_of(row) for row in rows], next=following)


def _table(ask: Callable[..., tuple[list[Row], str | None]], format: str) -> bytes:
    """All rows, as one table. Blocks.

    Raises:
        BadRequest: there are more than a table may have.
    """
    rows, following = ask()
    while following is not None:
        if len(rows) >= TABLE_ROWS_MAX:
            fault = BadField("/query/from", f"there are more than {TABLE_ROWS_MAX:,} rows; ask for fewer days, or by period")
            raise BadRequest("the table would be too long", errors=(fault,))
        more, following = ask(after=following)
        rows += more
    return arrow_of(rows, format)


def _period(first: str | None, last: str | None) -> tuple[date, date]:
    """Raises BadRequest where one is no day."""
    faults: list[BadField] = []
    end = _day("to", last, faults) or datetime.now(UTC).date()
    begin = _day("from", first, faults) or end - timedelta(days=min(DAYS_DEFAULT, end.toordinal()) - 1)
    if faults:
        raise BadRequest("the period cannot be used", errors=tuple(faults))
    return begin, end


def _day(name: str, text: str | None, faults: list[BadField]) -> date | None:
    try:
        if text is not None and _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    if text is not None:
        faults.append(BadField(f"/query/{name}", f"{text[:40]!r} is no day; expected one such as 2025-01-31"))
    return None
