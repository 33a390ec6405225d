"""Deliveries in the job store: claimed fairly, settled once, listed, sent again."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, TextClause, bindparam, delete, exists, func, select, text, update

from fumehood.batch_store import find_batch, read_batch
from fumehood.delivery import TRIES_KEPT, Delivery, DeliveryState, Trouble, Try, payload_of_batch
from fumehood.errors import Conflict, NotFound
from fumehood.job import State
from fumehood.pages import read_page
from fumehood.records import Records
from fumehood.schema import JOBS, TENANTS
from fumehood.tenant import TenantState
from fumehood.webhook_schema import DELIVERIES

_STEP = 200
_PENDING, _SENDING = DeliveryState.PENDING.value, DeliveryState.SENDING.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How many deliveries may be under way at once: of one tenant, and of those to one server. Counted over all couriers, and now and
    then one more where two of them look in the same moment."""

    of_tenant: int
    of_host: int


class Deliveries(Records):
    """The part of `JobStore` that knows who is to be told."""

    # the courier -----------------------------------------------------------------------------------------------------
    def claim_deliveries(self, *, room: int, share: Share, lease_seconds: float, after: str = "") -> list[Delivery]:
        """What is due, `room` of them at most: pending → sending, attempt + 1, fence + 1, for as long as the lease.

        Of a tenant that is not active nothing is sent. The others take turns, the one behind `after` first; of each what has waited
        longest, but for servers that have their share under way. What a courier did not settle within its lease is pending again,
        with a try that says so.
        """
        with self._database.reading() as connection:
            now = self._clock()
            tenants = set(connection.execute(_tenants_due(), {"now": now}).scalars())
            lapsed = connection.execute(_lapsed(), {"now": now}).first() is not None
        if not (tenants or lapsed) or room < 1:
            return []
        claimed: list[Delivery] = []
        with self._database.writing() as connection:
            tenants |= self._take_back(connection, now)
            tenants -= set(connection.execute(_held_up(), {"tenants": list(tenants)}).scalars())
            of_tenant: Counter[str] = Counter()
            of_host: Counter[tuple[str, str]] = Counter()
            for tenant, host, count in connection.execute(_under_way()).all():
                of_tenant[tenant] += count
                of_host[tenant, host] += count
            turns = deque(sorted(tenants, key=lambda tenant: (tenant <= after, tenant)))
            while turns and len(claimed) < room:
                tenant = turns.popleft()
                full = [host for (owner, host), count in of_host.items() if owner == tenant and count >= share.of_host]
                row = None
                if of_tenant[tenant] < share.of_tenant:
                    row = connection.execute(_next(), {"of_tenant": tenant, "now": now, "full": full}).one_or_none()
                if row is None:
                    continue
                values = {"state": _SENDING, "attempt": row.attempt + 1, "fence": row.fence + 1, "due_at": now + lease_seconds}
                claimed.append(_from_row(_change(connection, row.seq, values)))
                of_tenant[tenant] += 1
                of_host[tenant, row.host] += 1
                turns.append(tenant)
        return claimed

    def settle_delivery(self, delivery: Delivery, result: Try, *, again_in_seconds: float | None) -> bool:
        """Write down what came of a try; the delivery ends where it came, or where it is not to be tried again. False where it is not
        this courier's any more: the lease ran out, or whoever asked for it has forgotten it."""
        with self._database.writing() as connection:
            row = connection.execute(_by_id(True), {"of_id": delivery.id, "of_tenant": delivery.tenant}).one_or_none()
            if row is None or row.fence != delivery.fence or row.state != _SENDING:
                return False
            now = self._clock()
            values: dict[str, Any] = {"tries": _with(row.tries, result), "ended_at": now}
            if result.trouble is None:
                values["state"] = DeliveryState.DELIVERED.value
            elif again_in_seconds is None:
                values["state"] = DeliveryState.FAILED.value
            else:
                values |= {"state": _PENDING, "due_at": now + again_in_seconds, "ended_at": None}
            _change(connection, row.seq, values)
        return True

    def release_batches(self, *, limit: int = 100) -> int:
        """Messages of batches that have ended meanwhile: held → pending. How many."""
        with self._database.reading() as connection:
            ended = connection.execute(_held_of_ended(), {"at_most": limit}).all()
        released = 0
        for row in ended:
            with suppress(NotFound), self._database.writing() as connection:  # It may be forgotten since.
                # Who tells items to run again has this lock, too, and finds either the message held or the batch's end told.
                find_batch(connection, row.tenant, row.about, lock=True)
                batch = read_batch(connection, row.tenant, row.about)
                if batch.final:
                    values = {"state": _PENDING, "payload": payload_of_batch(batch), "due_at": self._clock()}
                    here = (DELIVERIES.c.seq == row.seq, DELIVERIES.c.state == DeliveryState.HELD.value)
                    released += connection.execute(update(DELIVERIES).where(*here).values(values)).rowcount
        return released

    def forget_deliveries(self, *, older_than_seconds: float) -> int:
        """Some of those that ended so long ago. How many."""
        old = DELIVERIES.c.ended_at < self._clock() - older_than_seconds
        with self._database.reading() as connection:
            query = select(DELIVERIES.c.seq).where(old).order_by(DELIVERIES.c.ended_at).limit(_STEP)
            some = connection.execute(query).scalars().all()
        if not some:
            return 0
        with self._database.writing() as connection:
            # Looked at once more: it may have been told to be sent again.
            return connection.execute(delete(DELIVERIES).where(DELIVERIES.c.seq.in_(some), old)).rowcount

    # the front desk --------------------------------------------------------------------------------------------------
    def list_deliveries(
        self, tenant: str, *, state: str | None = None, about: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[Delivery], str | None]:
        """Newest first, those in `state` or about one job or batch alone where they are given; the second value is the cursor (opaque)
        of the next page. Raises BadRequest on a bad cursor."""
        run: list[Any] = [(DELIVERIES.c.tenant, tenant)]
        query = select(DELIVERIES)
        if about is not None:
            run.append((DELIVERIES.c.about, about))
            query = query.where(DELIVERIES.c.state == state) if state is not None else query
        elif state is not None:
            run.append((DELIVERIES.c.state, state))
        documents: list[Any] = [DELIVERIES.c.payload, DELIVERIES.c.tries]
        with self._database.reading() as connection:
            rows, cursor = read_page(connection, query, run=run, seq=DELIVERIES.c.seq, before=before, limit=limit, documents=documents)
        return [_from_row(row) for row in rows], cursor

    def get_delivery(self, tenant: str, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        with self._database.reading() as connection:
            return _from_row(_found(connection, tenant, delivery_id))

    def replay_delivery(self, tenant: str, delivery_id: str) -> Delivery:
        """Send it again, from the beginning of its schedule; one that waits for its next try does not wait any longer.

        Raises NotFound; Conflict where it is being sent right now, or its batch has not ended.
        """
        with self._database.writing() as connection:
            row = _found(connection, tenant, delivery_id, lock=True)
            if row.state in (_SENDING, DeliveryState.HELD.value):
                why = "is being sent" if row.state == _SENDING else "waits for the end of its batch"
                raise Conflict(f"delivery {delivery_id} {why}; only one that is not under way can be sent again")
            values = {"state": _PENDING, "attempt": 0, "fence": row.fence + 1, "due_at": self._clock(), "ended_at": None}
            return _from_row(_change(connection, row.seq, values))

    # -----------------------------------------------------------------------------------------------------------------
    def _take_back(self, connection: Connection, now: float) -> set[str]:
        """What couriers did not settle in their time is due again; whose it is."""
        tenants = set()
        for row in connection.execute(_lapsed().with_for_update(skip_locked=True), {"now": now}).all():
            lost = Try(at=row.due_at, trouble=Trouble.INTERRUPTED)
            _change(connection, row.seq, {"state": _PENDING, "fence": row.fence + 1, "due_at": now, "tries": _with(row.tries, lost)})
            tenants.add(row.tenant)
        return tenants


# rows and statements -----------------------------------------------------------------------------------------------------


def _found(connection: Connection, tenant: str, delivery_id: str, *, lock: bool = False) -> Row[Any]:
    row = connection.execute(_by_id(lock), {"of_id": delivery_id, "of_tenant": tenant}).one_or_none()
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id!r}")
    return row


def _change(connection: Connection, seq: int, values: dict[str, Any]) -> Row[Any]:
    return connection.execute(update(DELIVERIES).where(DELIVERIES.c.seq == seq).values(values).returning(*DELIVERIES.c)).one()


def _with(tries: list[dict[str, Any]], result: Try) -> list[dict[str, Any]]:
    return [*tries, result.as_dict()][-TRIES_KEPT:]


def _from_row(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        tenant=row.tenant,
        event=row.event,
        about=row.about,
        url=row.url,
        state=DeliveryState(row.state),
        payload=row.payload,
        attempt=row.attempt,
        fence=row.fence,
        due_at=row.due_at,
        created_at=row.created_at,
        ended_at=row.ended_at,
        tries=tuple(Try.from_dict(one) for one in row.tries),
    )


@cache
def _by_id(lock: bool) -> Select[Any]:
    query = select(DELIVERIES).where(DELIVERIES.c.id == bindparam("of_id"), DELIVERIES.c.tenant == bindparam("of_tenant"))
    return query.with_for_update() if lock else query


@cache
def _tenants_due() -> TextClause:
    """From tenant to tenant along the index: it costs as many steps as tenants have something pending, however much each of them has."""
    return text(
        f"""
        WITH RECURSIVE waiting(tenant) AS (
            SELECT min(tenant) FROM deliveries WHERE state = '{_PENDING}'
            UNION ALL
            SELECT (SELECT min(tenant) FROM deliveries WHERE state = '{_PENDING}' AND tenant > waiting.tenant)
            FROM waiting WHERE waiting.tenant IS NOT NULL
        )
        SELECT tenant FROM waiting WHERE tenant IS NOT NULL AND EXISTS (
            SELECT 1 FROM deliveries WHERE state = '{_PENDING}' AND deliveries.tenant = waiting.tenant AND due_at <= :now
        ) AND NOT EXISTS (SELECT 1 FROM tenants WHERE tenants.id = waiting.tenant AND tenants.state <> '{TenantState.ACTIVE.value}')
        """
    )


@cache
def _held_up() -> Select[Any]:
    mine = TENANTS.c.id.in_(bindparam("tenants", expanding=True))
    return select(TENANTS.c.id).where(mine, TENANTS.c.state != TenantState.ACTIVE.value)


@cache
def _next() -> Select[Any]:
    here = (DELIVERIES.c.state == _PENDING, DELIVERIES.c.tenant == bindparam("of_tenant"), DELIVERIES.c.due_at <= bindparam("now"))
    free = DELIVERIES.c.host.not_in(bindparam("full", expanding=True))
    in_turn = (DELIVERIES.c.state, DELIVERIES.c.tenant, DELIVERIES.c.due_at)
    return select(DELIVERIES).where(*here, free).order_by(*in_turn).limit(1).with_for_update(skip_locked=True)


@cache
def _under_way() -> Select[Any]:
    count = func.count().label("count")
    grouped = select(DELIVERIES.c.tenant, DELIVERIES.c.host, count).where(DELIVERIES.c.state == _SENDING)
    return grouped.group_by(DELIVERIES.c.tenant, DELIVERIES.c.host)


@cache
def _lapsed() -> Select[Any]:
    return select(DELIVERIES).where(DELIVERIES.c.state == _SENDING, DELIVERIES.c.due_at <= bindparam("now")).limit(_STEP)


@cache
def _held_of_ended() -> Select[Any]:
    unfinished = (State.QUEUED.value, State.RUNNING.value)
    left = exists().where(JOBS.c.batch == DELIVERIES.c.about, JOBS.c.state.in_(unfinished))
    held = select(DELIVERIES.c.seq, DELIVERIES.c.tenant, DELIVERIES.c.about).where(DELIVERIES.c.state == DeliveryState.HELD.value)
    return held.where(~left).limit(bindparam("at_most"))
