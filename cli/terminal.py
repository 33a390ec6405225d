"""The terminal: what a script says must not move the cursor, and what the command says can be read when it is piped."""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from fumehood.text import duration, harmless, one_line, size

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "LogWriter",
    "Screened",
    "columns",
    "complain",
    "console",
    "duration",
    "harmless",
    "one_line",
    "prepare",
    "say",
    "size",
    "symbol",
]

PIPE_COLUMNS = 160
# What a line editor needs of a terminal: colours, moves, deletions. Everything else is left out for a reason: questions, which the
# terminal answers as if typed; titles and the clipboard; modes, which would outlive the session.
_ALLOWED = re.compile(r"(\x1b\[[0-9;]{0,32}[A-HJKPXm@]|[\r\x07\x08])")
_UNFINISHED = re.compile(r"\x1b(\[[0-9;]{0,32})?\Z")


def prepare() -> None:
    """Characters that the terminal's encoding does not have are spelled out; they must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """A line about what happens, on stderr: stdout is for what was asked for."""
    for line in text.splitlines():
        sys.stderr.write(f"-- {harmless(line)}\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    print(f"fumehood: {harmless(text)}", file=sys.stderr, flush=True)


def symbol(good: bool) -> str:
    """A tick or a cross, or words where the encoding has neither."""
    return mark("✓", "ok  ") if good else mark("✗", "FAIL")


def mark(mark: str, word: str) -> str:
    """`mark`, or `word` where the encoding has no such character."""
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return word
    return mark


def console(stream: TextIO | None = None) -> Console:
    """A Rich console that takes text as it is; into a pipe it is wide and plain."""
    from rich.console import Console

    stream = stream or sys.stdout
    plain = Console(file=stream, markup=False, highlight=False, emoji=False)
    if not plain.is_terminal:
        plain.width = PIPE_COLUMNS
    return plain


def columns(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns on stdout, one row a line, however long."""
    from rich.cells import cell_len

    table = [list(names), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(row[n]) for row in table) for n in range(len(names))]
    for row in table:
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(padded).rstrip())


class LogWriter:
    """The log as it comes: onto a terminal without what a terminal obeys, into a pipe as it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._return_held = False
        self._line_open = False

    def write(self, text: str) -> None:
        if self._terminal:
            text = harmless(self._returns_as_newlines(text))
        if text:
            self._stream.write(text)
            self._stream.flush()
            self._line_open = not text.endswith("\n")

    def end_line(self) -> None:
        """Begin a new line where the log left one unfinished."""
        if self._line_open:
            self._stream.write("\n")
            self._stream.flush()
            self._line_open = False

    def _returns_as_newlines(self, text: str) -> str:
        """A lone carriage return (progress bars) could write over what stands there; it becomes a newline."""
        text = "\r" + text if self._return_held else text
        self._return_held = text.endswith("\r")
        return text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")


class Screened:
    """What the terminal of a sandbox shows, so that a script can write and move the cursor on this one, and no more."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def take(self, data: bytes) -> str:
        text = self._held + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text)
        self._held = unfinished.group() if unfinished else ""
        return _screened(text.removesuffix(self._held))

    def rest(self) -> str:
        """At the end: what began like something that is allowed."""
        held, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return _screened(held)


def _screened(text: str) -> str:
    return "".join(part if n % 2 else harmless(part) for n, part in enumerate(_ALLOWED.split(text)))
