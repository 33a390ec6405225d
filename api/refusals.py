"""What the audit log is told of a request that the store has noted nothing of: refusals, and calls that changed nothing."""

from __future__ import annotations

import time
from collections import Counter

from fumehood.audit import Call, Entry

REFUSED_PER_MINUTE = 60
"""Entries on refused keys, of one tenant and of nobody: the log must not be filled by who may do nothing."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Refusals:
    def __init__(self) -> None:
        self._minute, self._written = 0, Counter[str]()

    def entry(self, call: Call, method: str, status: int) -> Entry | None:
        """None where there is nothing to write: a read that was allowed, or what the store has noted already."""
        refused = status in (401, 403)
        if not call.action or (call.noted and status < 400) or (not refused and method in SAFE_METHODS):
            return None
        if (refused or status == 429) and not self._may_write(call.by_tenant or ""):
            return None
        who = {"by_tenant": call.by_tenant, "by_key": call.by_key, "address": call.address}
        target = call.target[:80] if call.target else None
        return Entry(at=0.0, action=call.action, result="ok" if status < 400 else str(status), tenant=call.by_tenant, target=target, **who)

    def _may_write(self, tenant: str) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._written = minute, Counter()
        self._written[tenant] += 1
        return self._written[tenant] <= REFUSED_PER_MINUTE
