"""Output compared with what a page shows: `…` stands for anything, and what differs each time is masked on both sides."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What no two runs share, and what says more about the machine than about the service.
MASKS: tuple[tuple[str, str], ...] = (
    (r"\x1b\[[0-9;]*m", ""),
    (r"\b(job|ds)_[0-9a-f]{32}\b", r"\1_ID"),
    (r"\bsha256:[0-9a-f]{12,64}\b", "sha256:DIGEST"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?", "TIME"),
    (r"\bfumehood-[0-9a-f]{32}\b", "CONTAINER"),
    (r"\b\d[\d,.]* ?(ms|s|min|h)\b", "DURATION"),
    (r"\b\d[\d,.]* ?([kKMGT]i?B|bytes|B)\b", "SIZE"),
    (r"\s+", " "),
)
ANYTHING = "…"


def masked(line: str) -> str:
    for pattern, instead in MASKS:
        line = re.sub(pattern, instead, line)
    return line.strip()


def difference(shown: Sequence[str], printed: str) -> str | None:
    """None where every excerpt of `shown` stands in `printed`, in their order; else both, to be read side by side.

    Empty lines and spaces do not count; a line that is `…` alone stands for any number of lines.
    """
    found = "".join(f"{line}\n" for line in map(masked, printed.splitlines()) if line)
    for excerpt in shown:
        wanted = [line for line in map(masked, excerpt.splitlines()) if line]
        match = re.search("^" + "".join("(?:.*\n)*?" if line == ANYTHING else _of_line(line) for line in wanted), found, re.M)
        if not wanted or match is None:
            return f"the page shows\n{excerpt}\nand this was printed\n{printed}"
        found = found[match.end() :]
    return None


def _of_line(line: str) -> str:
    return "[^\n]*".join(map(re.escape, line.split(ANYTHING))) + "\n"
