"""Audit: who did what, to what, from where, and how it ended. Entries are written once, and the database keeps them as they are."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class Call:
    """The request that is being handled, filled in as it becomes known. What the store changes for it is noted in the same transaction."""

    address: str
    by_tenant: str | None = None
    by_key: str | None = None
    """The public part of the key that was shown."""
    action: str = ""
    """The operation's name in the OpenAPI document."""
    target: str | None = None
    noted: bool = False
    """The store has written an entry; it counts where the call succeeded, because only then was it committed."""


CALL: ContextVar[Call | None] = ContextVar("fumehood_audit_call", default=None)
"""None outside of requests: what a worker tidies up is nobody's call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    at: float
    action: str
    result: str
    """`ok`, or the problem's slug."""
    by_tenant: str | None = None
    by_key: str | None = None
    address: str | None = None
    tenant: str | None = None
    """Whose thing it is."""
    target: str | None = None
