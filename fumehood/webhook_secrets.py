"""The secrets that messages to tenants are signed with, in the job store: made when one is needed, changed without a gap."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from fumehood.records import Records
from fumehood.webhook import new_secret
from fumehood.webhook_schema import WEBHOOK_SECRETS

OVERLAP_SECONDS = 24 * 3600.0
"""How long a secret is signed with after it was changed."""
SECRETS_KEPT = 3
"""At once, the newest included: whoever changes more often than that means it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Secrets:
    newest: str
    since: float
    former: tuple[str, ...] = ()
    """Signed with as well, for a while."""
    former_until: float | None = None

    @property
    def all(self) -> tuple[str, ...]:
        return (self.newest, *self.former)


class WebhookSecrets(Records):
    """The part of `JobStore` that knows what a tenant's messages are signed with."""

    def webhook_secrets(self, tenant: str) -> Secrets:
        """What the tenant's messages are signed with; the first one is made when it is asked for. Raises Suspended where the
        tenant is being deleted, and has none."""
        with self._database.reading() as connection:
            found = _read(connection, tenant, self._clock())
        if found is not None:
            return found
        with self._database.writing() as connection:
            self._admit(connection, tenant)
            self._add(connection, 0, tenant)
            made = _read(connection, tenant, self._clock())
        assert made is not None
        return made

    def rotate_webhook_secret(self, tenant: str) -> Secrets:
        """A new one; the one before it is signed with as well, for OVERLAP_SECONDS. Raises Suspended."""
        now = self._clock()
        here = WEBHOOK_SECRETS.c.tenant == tenant
        with self._database.writing() as connection:
            self._admit(connection, tenant)
            newest = connection.execute(select(func.max(WEBHOOK_SECRETS.c.number)).where(here)).scalar_one()
            number = 0 if newest is None else int(newest) + 1
            until = here & (WEBHOOK_SECRETS.c.number < number) & WEBHOOK_SECRETS.c.ends_at.is_(None)
            connection.execute(update(WEBHOOK_SECRETS).where(until).values(ends_at=now + OVERLAP_SECONDS))
            # Those that nothing is signed with any more, and all but the last few.
            spent = (WEBHOOK_SECRETS.c.number <= number - SECRETS_KEPT) | (WEBHOOK_SECRETS.c.ends_at <= now)
            connection.execute(delete(WEBHOOK_SECRETS).where(here, spent))
            self._add(connection, number, tenant)
            made = _read(connection, tenant, self._clock())
        assert made is not None
        return made

    def _add(self, connection: Connection, number: int, of: str) -> None:
        values = {"tenant": of, "number": number, "secret": new_secret(), "created_at": self._clock(), "ends_at": None}
        self._database.insert_or_get(connection, WEBHOOK_SECRETS, values, unique=("tenant", "number"))


def _read(connection: Connection, tenant: str, now: float) -> Secrets | None:
    mine = select(WEBHOOK_SECRETS).where(WEBHOOK_SECRETS.c.tenant == tenant).order_by(WEBHOOK_SECRETS.c.number.desc())
    rows = connection.execute(mine).all()
    if not rows:
        return None
    former = [row for row in rows[1:] if (row.ends_at or 0) > now]
    return Secrets(
        newest=rows[0].secret,
        since=rows[0].created_at,
        former=tuple(row.secret for row in former),
        former_until=max((row.ends_at for row in former), default=None),
    )
