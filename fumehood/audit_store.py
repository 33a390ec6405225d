"""The audit log in the job store: written beside what it tells of, read by page, forgotten by age alone.

That entries are never changed, and that only old ones go, is the database's own rule (the triggers of revision 0006): an entry may be
deleted where it is older than `audit_horizon` says; the horizon only moves forward, never into the last day, and each move is itself
an entry, which the database writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from fumehood.audit import CALL, Entry
from fumehood.database import BUSY_SECONDS, Database
from fumehood.job import SHOWN
from fumehood.pages import Run, read_page
from fumehood.quota import Defaults
from fumehood.schema import AUDIT, AUDIT_HORIZON

OK = "ok"
DAY_SECONDS = 86_400.0
_FORGOTTEN_AT_ONCE = 1000
_FIELDS = tuple(Entry.__dataclass_fields__)


class AuditLog:
    """The part of `JobStore` that remembers who did what. `defaults` hold where a tenant's own documents say nothing."""

    def __init__(
        self,
        url: str,
        *,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
        defaults: Defaults | None = None,
    ) -> None:
        self._database = Database(url, busy_seconds=busy_seconds)
        self._clock = clock
        self._defaults = defaults or Defaults()

    def _note(self, connection: Connection, target: str, *, tenant: str | None = None) -> None:
        """That the call which is being handled changes `target`, a thing of `tenant` (else of its own), in this transaction."""
        call = CALL.get()
        if call is None:
            return
        who = {"by_tenant": call.by_tenant, "by_key": call.by_key, "address": call.address}
        whose = {"tenant": tenant or call.by_tenant, "target": target}
        connection.execute(insert(AUDIT), {"at": self._clock(), "action": call.action, "result": OK, **who, **whose})
        call.noted = True

    def _note_job(self, connection: Connection, row: Row[Any]) -> None:
        """As `_note`; errands are the service's own."""
        if row.kind in SHOWN:
            self._note(connection, row.id)

    def note(self, entry: Entry) -> None:
        """An entry on its own: of what changed nothing, or was refused. Its `at` is the store's where it is 0."""
        with self._database.writing() as connection:
            self._note_entry(connection, entry)

    def _note_entry(self, connection: Connection, entry: Entry) -> None:
        values: dict[str, Any] = {name: getattr(entry, name) for name in _FIELDS}
        connection.execute(insert(AUDIT), values | {"at": entry.at or self._clock()})

    def list_audit(self, *, tenant: str | None = None, before: str | None = None, limit: int = 50) -> tuple[list[Entry], str | None]:
        """Newest first, those on things of `tenant` alone where it is given; the second value is the cursor (opaque) of the next
        page. Raises BadRequest on a bad cursor."""
        run: Run = [] if tenant is None else [(AUDIT.c.tenant, tenant)]
        with self._database.reading() as connection:
            rows, cursor = read_page(connection, select(AUDIT), run=run, seq=AUDIT.c.seq, before=before, limit=limit, documents=[])
        return [Entry(**{name: row._mapping[name] for name in _FIELDS}) for row in rows], cursor

    def forget_audit(self, *, days: float) -> int:
        """Forget entries older than so many days, a bounded number; how many. Begins once a day: each beginning is an entry."""
        oldest_kept = self._clock() - days * DAY_SECONDS
        with self._database.writing() as connection:
            horizon = connection.execute(select(AUDIT_HORIZON.c.before)).scalar_one()
            oldest = connection.execute(select(func.min(AUDIT.c.at))).scalar_one()
            if oldest is None or oldest >= oldest_kept:
                return 0
            if oldest >= horizon:
                if oldest >= oldest_kept - DAY_SECONDS:
                    return 0
                connection.execute(update(AUDIT_HORIZON).values(before=oldest_kept))
                horizon = oldest_kept
            old = select(AUDIT.c.seq).where(AUDIT.c.at < horizon).order_by(AUDIT.c.at).limit(_FORGOTTEN_AT_ONCE)
            return connection.execute(delete(AUDIT).where(AUDIT.c.seq.in_(old))).rowcount
