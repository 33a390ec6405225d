"""The code blocks of a page, and what the page says about each.

A block is fenced by three backquotes. Right before it may stand, invisible to the reader, `<!-- not run: why -->` or
`<!-- ends with 2 -->` (the exit code of a command that is to fail). After the language, `title="plot.py"` makes it a file.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SHELL, PYTHON, OUTPUT = "sh", "python", "text"
# What is neither run nor compared, but checked where it stands (test_what_is_named.py).
DATA = ("json", "ini", "csv")
LANGUAGES = (SHELL, PYTHON, OUTPUT, *DATA)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*) *(?P<rest>[^\n`]*)\n(?P<text>.*?)^(?P=indent)``` *$", re.S | re.M)
_COMMENT = re.compile(r"<!--\s*((?:(?!-->).)*?)\s*-->\s*\Z", re.S)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    file: str | None = None
    """Name of the file whose content this is."""
    not_run: str | None = None
    """Why nobody runs it."""
    exit_code: int = 0
    expected: tuple[str, ...] = ()
    """What stands below it: excerpts of its output, in their order."""

    @property
    def place(self) -> str:
        return f"{self.page}, line {self.line}"

    @property
    def runs(self) -> bool:
        return self.not_run is None and self.file is None and self.language in (SHELL, PYTHON)


def pages() -> list[Path]:
    """Every page that holds blocks; examples/README.md has a test of its own (tests/examples_page.py)."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.exists() and "```" in page.read_text()]


def blocks_of(page: Path) -> list[Block]:
    return parse(page.read_text(), page.relative_to(ROOT).as_posix())


def parse(markdown: str, page: str) -> list[Block]:
    """The blocks in their order. An output belongs to the block before it and is not one of its own.

    Raises:
        ValueError: a comment before a block is not understood, or an output follows nothing that has one.
    """
    found: list[Block] = []
    output_of: int | None = None
    for match in _FENCE.finditer(markdown):
        place = f"{page}, line {markdown.count(chr(10), 0, match.start()) + 1}"
        text = textwrap.dedent(match["text"])
        title = _TITLE.search(match["rest"])
        if match["language"] == OUTPUT and title is None:
            if output_of is None:
                raise ValueError(f"{place}: output follows no block that could have printed it")
            found[output_of] = replace(found[output_of], expected=(*found[output_of].expected, text))
            continue
        block = Block(
            page=page,
            line=markdown.count("\n", 0, match.start()) + 1,
            language=match["language"],
            text=text,
            file=title[1] if title else None,
            **_marks(_COMMENT.search(markdown[: match.start()]), place),
        )
        found.append(block)
        output_of = len(found) - 1 if block.file is None and block.language in (SHELL, PYTHON) else None
    return found


def _marks(comment: re.Match[str] | None, place: str) -> dict[str, str | int]:
    if comment is None:
        return {}
    said = " ".join(comment[1].split())
    if reason := re.fullmatch(r"not run: (.+)", said):
        return {"not_run": reason[1]}
    if code := re.fullmatch(r"ends with (\d+)", said):
        return {"exit_code": int(code[1])}
    raise ValueError(f"{place}: the comment {said!r} before a block; expected `not run: why` or `ends with N`")
