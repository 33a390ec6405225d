"""Words: what the HTTP surface says, and how a part of an address is written."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

Document = dict[str, Any]


def quoted(identifier: str) -> str:
    """One part of a path, whatever it holds."""
    return quote(identifier, safe="")


def script_path(name: str, *rest: object) -> str:
    """Where a published script is, or what is below it."""
    return "/".join(["/v1/scripts", quoted(name), *(quoted(str(one)) for one in rest)])


def is_final(record: Document) -> bool:
    return record.get("state") in ("succeeded", "failed", "cancelled")
