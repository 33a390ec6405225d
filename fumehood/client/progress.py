"""Progress: one line that says how far the run is, on a terminal or in a notebook, and nothing anywhere else."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from fumehood.client.words import Document
from fumehood.text import one_line, places, size

LINE_CHARACTERS = 100
NOTEBOOK_SECONDS = 0.2
"""A notebook is not told more often than this."""


class Line(Protocol):
    def say(self, text: str, share: float | None) -> None:
        """`share` of the work is done, None where nobody knows."""


class Progress:
    """What happens, told to a line."""

    def __init__(self, line: Line | None) -> None:
        self._line = line
        self._sent, self._total, self._log, self._began, self._state = 0, 0, "", time.monotonic(), ""

    @property
    def visible(self) -> bool:
        return self._line is not None

    def begin_upload(self, total: int) -> None:
        self._total = total

    def sent(self, count: int) -> None:
        self._sent = min(self._sent + count, self._total)  # what is sent again is not more
        share = self._sent / self._total if self._total else None
        self._say(f"uploading {size(self._sent)} of {size(self._total)}", share)

    def state(self, record: Document) -> None:
        ahead = record.get("queue_position")
        state = str(record.get("state"))
        words = state if ahead is None else f"{state}, {places(ahead)} ahead"
        if state != self._state.partition(",")[0]:
            self._began = time.monotonic()
        self._state = words
        self._say(words, None)

    def log(self, line: str) -> None:
        self._log = one_line(line)
        self._say(self._state or "running", None)

    def _say(self, words: str, share: float | None) -> None:
        if self._line is not None:
            seconds = "" if share is not None else f" {time.monotonic() - self._began:.0f} s"
            said = f"{words}{seconds}" + (f" · {self._log}" if self._log and share is None else "")
            self._line.say(said if len(said) <= LINE_CHARACTERS else said[: LINE_CHARACTERS - 1] + "…", share)


@contextmanager
def progress(wish: bool | None) -> Iterator[Progress]:
    """`wish`: None where somebody looks (a terminal, a notebook), True and False always and never."""
    if wish is not False and _in_notebook():
        line = _NotebookLine()
        try:
            yield Progress(line)
        finally:
            line.clear()
    elif wish or (wish is None and sys.stderr is not None and sys.stderr.isatty()):
        with _terminal_line() as terminal:
            yield Progress(terminal)
    else:
        yield Progress(None)


def _in_notebook() -> bool:
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return getattr(shell, "kernel", None) is not None


class _NotebookLine:
    def __init__(self) -> None:
        self._handle: Any = None
        self._at = 0.0

    def say(self, text: str, share: float | None) -> None:
        now = time.monotonic()
        if now - self._at < NOTEBOOK_SECONDS:
            return
        self._at = now
        bar = "" if share is None else f'<progress value="{share:.3f}"></progress> '
        self._show({"text/plain": text, "text/html": f"<div>{bar}{html.escape(text)}</div>"})

    def clear(self) -> None:
        if self._handle is not None:
            self._show({"text/plain": "", "text/html": ""})

    def _show(self, data: dict[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)


class _TerminalLine:
    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None)

    def say(self, text: str, share: float | None) -> None:
        self._bars.update(self._task, description=text, total=None if share is None else 1.0, completed=share or 0.0)


@contextmanager
def _terminal_line() -> Iterator[Line]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(file=sys.stderr, markup=False, highlight=False, emoji=False)
    with Progress(BarColumn(20), TextColumn("{task.description}", markup=False), console=console, transient=True) as bars:
        yield _TerminalLine(bars)
