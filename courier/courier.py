"""Courier: takes what is due, sends it, and writes down what came of it. Any number of them may stand beside each other."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from courier.failed import Failed
from courier.resolving import Resolve, resolve
from courier.sending import Answer, post, trust
from fumehood.callback import target_of
from fumehood.delivery import Delivery, Trouble, Try
from fumehood.delivery_store import Share
from fumehood.errors import FumehoodError
from fumehood.job_store import JobStore
from fumehood.log import said
from fumehood.settings import Settings
from fumehood.webhook import headers_of

log = structlog.get_logger(__name__)

SHARE = Share(of_tenant=4, of_host=2)
LOOK_SECONDS = 1.0
"""How long what is due waits at most for a courier that has nothing to do."""
TIDY_SECONDS = 60.0
STORE_AWAY_SECONDS = 5.0
# Beyond the time of a try: to write down what came of it, also to a store that was away for a moment.
LEASE_MARGIN_SECONDS = 45.0
JITTER = 0.2
RETRY_AFTER_SECONDS_MAX = 86_400.0
# «Later», in the receiver's own words.
LATER = frozenset({429, 503})


class Courier:
    """`run()` until `stop()`."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        *,
        ask: Resolve = resolve,
        chance: Callable[[], float] = random.random,
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        """`ask` and `chance` stand in for the system's resolver and for luck (tests); `pulse` is called as long as it lives.

        Raises OSError where the certificates cannot be read.
        """
        self._store = store
        self._seconds = settings.webhook_seconds
        self._slots = settings.webhook_slots
        self._pauses_seconds = settings.webhook_pauses_seconds
        self._kept_seconds = settings.webhook_log_days * 86_400
        self._allowed = settings.webhook_allowed
        self._tls = trust(str(settings.webhook_ca_file) if settings.webhook_ca_file else None)
        self._ask, self._chance, self._pulse = ask, chance, pulse
        self._after = ""
        self._tidied_at = float("-inf")
        self._under_way: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    def stop(self) -> None:
        """Take nothing more; `run` returns when what is under way has ended, each within the time of a try."""
        self._over.set()

    async def run(self) -> None:
        while not self._over.is_set():
            pause_seconds = LOOK_SECONDS
            try:
                if await self.look():
                    pause_seconds = 0.0
            except FumehoodError as error:
                log.error("courier cannot look", error=said(error))
                pause_seconds = STORE_AWAY_SECONDS
            self._pulse()
            await self._wait(pause_seconds)
        await asyncio.gather(*self._under_way)

    async def look(self) -> int:
        """Release, claim and begin to send, once; how many were begun. Raises StoreUnavailable."""
        await asyncio.to_thread(self._store.release_batches)
        await self._tidy()
        claimed = await asyncio.to_thread(
            self._store.claim_deliveries,
            room=self._slots - len(self._under_way),
            share=SHARE,
            lease_seconds=self._seconds + LEASE_MARGIN_SECONDS,
            after=self._after,
        )
        for delivery in claimed:
            self._after = delivery.tenant
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return len(claimed)

    async def _wait(self, seconds: float) -> None:
        """Until a place is free that was not, or it is time to look again, or over."""
        over = asyncio.create_task(self._over.wait())
        full = len(self._under_way) >= self._slots
        waits = {over, *(self._under_way if full else ())}
        await asyncio.wait(waits, timeout=LOOK_SECONDS if full else seconds, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()

    async def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return
        # A full step may have left more of them.
        if await asyncio.to_thread(self._store.forget_deliveries, older_than_seconds=self._kept_seconds) == 0:
            self._tidied_at = time.monotonic()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            result, answer = await self._try(delivery)
            again_in_seconds = self._again_in(delivery, result, answer)
            kept = await asyncio.to_thread(self._store.settle_delivery, delivery, result, again_in_seconds=again_in_seconds)
        except FumehoodError as error:
            # The lease runs out, and the delivery is taken up again.
            log.error("delivery not settled", delivery=delivery.id, tenant=delivery.tenant, error=said(error))
        except Exception as error:
            log.error("delivery failed by a mistake of ours", delivery=delivery.id, tenant=delivery.tenant, exc_info=error)
        else:
            trouble = result.trouble.value if result.trouble else None
            told = {"status": result.status, "trouble": trouble, "attempt": delivery.attempt, "again_in_seconds": again_in_seconds}
            log.info("delivery tried" if kept else "delivery is another's now", delivery=delivery.id, tenant=delivery.tenant, **told)

    async def _try(self, delivery: Delivery) -> tuple[Try, Answer | None]:
        if delivery.attempt > len(self._pauses_seconds) + 1:
            # Couriers ended in the middle of it each time.
            return Try(at=time.time(), trouble=Trouble.INTERRUPTED), None
        secrets = await asyncio.to_thread(self._store.webhook_secrets, delivery.tenant)
        at, began = time.time(), time.monotonic()
        answer, trouble = None, None
        try:
            # Judged once more: what the operator allows may have changed since.
            target = target_of(delivery.url, self._allowed)
            headers = headers_of(delivery.id, delivery.body, secrets.all, sent_at=at)
            answer = await post(
                target, headers, delivery.body, ask=self._ask, allowed=self._allowed, tls=self._tls, within_seconds=self._seconds
            )
            trouble = _trouble_of(answer.status)
        except ValueError:
            trouble = Trouble.ADDRESS_REFUSED
        except Failed as failed:
            trouble = failed.trouble
        milliseconds = round(1000 * (time.monotonic() - began), 1)
        return Try(at=at, status=answer.status if answer else None, trouble=trouble, milliseconds=milliseconds), answer

    def _again_in(self, delivery: Delivery, result: Try, answer: Answer | None) -> float | None:
        """After how long it is tried again; None for never."""
        if result.trouble in (None, Trouble.GONE) or delivery.attempt > len(self._pauses_seconds):
            return None
        pause_seconds = self._pauses_seconds[delivery.attempt - 1] * (1 + JITTER * self._chance())
        if answer is not None and answer.status in LATER and answer.retry_after_seconds is not None:
            pause_seconds = max(pause_seconds, min(answer.retry_after_seconds, RETRY_AFTER_SECONDS_MAX))
        return pause_seconds


def _trouble_of(status: int) -> Trouble | None:
    if 200 <= status < 300:
        return None
    return Trouble.GONE if status == 410 else Trouble.STATUS
