"""What the gate says no with."""

from __future__ import annotations

import json
from typing import Any

SHOWN_CHARACTERS = 120


class Refused(Exception):
    """The sentence says what was asked and what is allowed; it goes to the worker and into the log."""

    def __init__(self, detail: str, *, status: int = 403) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


def message(detail: str) -> bytes:
    """In the engine's own form, which its clients show."""
    return json.dumps({"message": f"gate: {detail}"}).encode()


def shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
