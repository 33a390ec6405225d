"""Text of strangers as a terminal may have it, and numbers as a person reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fumehood.job import QUEUE_COUNTED

# C0, DEL, C1, what turns the direction of writing round, line separators, half surrogate pairs; not newline and tab.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """`text` with everything that a terminal would obey spelled out, `\\x1b` for an escape. Newlines and tabs stay."""
    return _HARMFUL.sub(lambda match: _spelled(match.group()), text)


def one_line(text: object) -> str:
    """The same for a name or a cell: newlines and tabs are spelled out too."""
    return harmless(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def _spelled(character: str) -> str:
    code = ord(character)
    return {"\r": "\\r"}.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def timestamp(seconds: float | None) -> str | None:
    """RFC 3339, UTC, with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            break
        count /= 1024
    if unit == "bytes":
        return f"{count:,.0f} byte{'s' * (count != 1)}"
    return f"{count:,.1f} {unit}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def places(ahead: int) -> str:
    """A place in the queue, which is counted only so far."""
    return str(ahead) if ahead < QUEUE_COUNTED else f"{QUEUE_COUNTED:,} or more"
