"""Rates: how many requests a tenant may send, told in every answer as the IETF's `RateLimit` header fields have it.

One token bucket for each tenant, in the memory of the process: it holds what a second brings (one request at least), so that a
tenant that was silent may send a second's worth at once. A request has asked the database for its key by then; asking Redis too would
cost another round trip each time, and would fail with it. The service has one API process. Where an operator runs several, each of
them counts alone, and the tenant may have so many times its rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import MutableHeaders

from fumehood.errors import QuotaExceeded
from fumehood.tenant import Tenant

POLICY = "requests"
QUOTA = "requests_per_second"
SCOPE_KEY = "fumehood.rate"
BUCKETS_MAX = 10_000
"""Beyond, those that are full are forgotten: a new one is full, too."""
FULL_SECONDS_MAX = 100.0
"""So long a bucket takes at most until it is full: one of the lowest rate that a quota may have."""


@dataclass(slots=True)
class Bucket:
    tokens: float
    filled_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What an answer says of the rate."""

    limit: int
    """Requests in `window_seconds`."""
    window_seconds: int
    left: int
    full_seconds: int
    """Until all of them are there again."""


class Rates:
    """Of all tenants that this process has seen. Belongs to the event loop: nothing here waits."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def take(self, scope: MutableMapping[str, Any], tenant: Tenant) -> None:
        """Count a request. Raises QuotaExceeded where it is one too many; that one does not count."""
        rate = tenant.quota.requests_per_second
        most, now = max(1.0, rate), self._clock()
        bucket = self._buckets.get(tenant.id) or self._new(tenant.id, most, now)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        enough = bucket.tokens >= 1.0
        bucket.tokens -= enough
        scope[SCOPE_KEY] = Told(
            limit=int(most),
            window_seconds=math.ceil(int(most) / rate),
            left=int(bucket.tokens),
            full_seconds=math.ceil((most - bucket.tokens) / rate),
        )
        if not enough:
            raise QuotaExceeded(
                f"too many requests with keys of this tenant; the limit is {rate:g} a second",
                quota=QUOTA,
                limit=rate,
                value=rate,
                retry_after_seconds=max(1, math.ceil((1.0 - bucket.tokens) / rate)),
            )

    def _new(self, tenant: str, most: float, now: float) -> Bucket:
        if len(self._buckets) >= BUCKETS_MAX:
            self._buckets = {name: one for name, one in self._buckets.items() if now - one.filled_at < FULL_SECONDS_MAX}
        bucket = self._buckets[tenant] = Bucket(most, now)
        return bucket


def tell(scope: MutableMapping[str, Any], headers: MutableHeaders) -> None:
    """Where the caller is known, every answer says how many requests are left, beside what it may say of another quota."""
    told = scope.get(SCOPE_KEY)
    if told is not None:
        _add(headers, "RateLimit-Policy", f'"{POLICY}";q={told.limit};w={told.window_seconds}')
        _add(headers, "RateLimit", f'"{POLICY}";r={told.left};t={told.full_seconds}')


def told_of(error: QuotaExceeded) -> dict[str, str]:
    """The header fields of a quota that is used up; those of the rate are in every answer."""
    if error.quota == QUOTA:
        return {}
    return {
        "RateLimit-Policy": f'"{error.quota}";q={int(error.limit)}',
        "RateLimit": f'"{error.quota}";r=0;t={error.retry_after_seconds}',
    }


def _add(headers: MutableHeaders, name: str, item: str) -> None:
    there = headers.get(name)
    headers[name] = f"{item}, {there}" if there else item
