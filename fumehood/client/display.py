"""Display: a result as a notebook shows it. Every name, cell and message is a stranger's, and escaped."""

from __future__ import annotations

import html as markup
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fumehood.client.figures import Figure
from fumehood.text import duration, harmless, one_line, size

ROWS_SHOWN = 10
COLUMNS_SHOWN = 20
FIGURES_SHOWN = 20
FIGURE_BYTES_MAX = 20 * 2**20
TABLE_BYTES_MAX = 16 * 2**20
"""Larger tables are not fetched to be shown."""
NOTES_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What was fetched to be shown: the first rows, the figures, and a remark on what was not."""

    head: Any = None
    figures: list[Figure] = field(default_factory=list)
    hint: str = ""


def line(record: dict[str, Any]) -> str:
    """`job_… succeeded: 8 rows × 2 columns, 1 figure, 0.52 s`"""
    parts = [shape(record[port]) + (" (second table)" if port == "result2" else "") for port in ("result", "result2") if record.get(port)]
    parts += [
        f"{count} {what.removesuffix('s') if count == 1 else what}" for what in ("figures", "artifacts") if (count := record.get(what))
    ]
    if record.get("cached_from"):
        parts.append(f"as {record['cached_from']['job']} left it")
    elif record.get("usage"):
        parts.append(duration(record["usage"]["wall_seconds"]))
    state = str(record.get("state"))
    reason = f" ({record['reason']})" if record.get("reason") not in (None, "ok", state) else ""
    return one_line(f"{record.get('id')} {state}{reason}") + (f": {', '.join(parts)}" if parts else "")


def shape(table: dict[str, Any]) -> str:
    rows, columns = table.get("rows"), len(table.get("columns") or [])
    return f"{'?' if rows is None else f'{rows:,}'} row{'s' * (rows != 1)} × {columns:,} column{'s' * (columns != 1)}"


def html(record: dict[str, Any], glance: Glance) -> str:
    # The two other classes keep MathJax from reading a stranger's cells as formulas, which may hold links.
    return f'<div class="fumehood-result tex2jax_ignore mathjax_ignore">{"".join(_blocks(record, glance))}</div>'


def _blocks(record: dict[str, Any], glance: Glance) -> Iterator[str]:
    if glance.head is not None:
        yield _table(glance.head)
    sent = 0
    for number, figure in enumerate(glance.figures):
        sent += len(figure.bytes)
        if number == FIGURES_SHOWN or sent > FIGURE_BYTES_MAX:
            yield _small(f"… and {len(glance.figures) - number} more figures in .figures")
            break
        yield f"<div>{figure.html()}</div>"
    notes = [note for note in record.get("notes") or [] if isinstance(note, dict)]
    for note in notes[:NOTES_SHOWN]:
        yield _small(f"note: {one_line(note.get('text') or note.get('kind'))}")
    if glance.hint:
        yield _small(glance.hint)
    yield _small(line(record))
    if record.get("erasure"):
        gone = record["erasure"]
        what = "no container was ever made" if gone.get("container") is None else f"container {str(gone['container'])[:80]}"
        yield _small(f"erased: {what}; {gone['files']} files, {size(gone['bytes'])}; looked for and found gone at {gone['erased_at']}")


def _small(text: str) -> str:
    return f'<div style="opacity:.7;font-size:smaller">{markup.escape(one_line(text))}</div>'


def _table(head: Any) -> str:
    """As pandas shows it where there is one, else as plain text."""
    head = head.select(list(range(min(head.num_columns, COLUMNS_SHOWN))))
    try:
        from fumehood.client.tables import frame_of

        return harmless(frame_of(head).to_html(escape=True, border=0, max_rows=ROWS_SHOWN))
    except Exception:  # a value that pandas cannot show must not keep the rest from being shown
        return f"<pre>{markup.escape(harmless(str(head)[:10_000]))}</pre>"
