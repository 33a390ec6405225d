"""The hook of mkdocs.yml: what a page asks for by `<!-- generated: NAME -->` is written by the code that it describes.

Run from the root of the checkout (`make docs` does), so that the code can be imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(Path(__file__).parent), str(ROOT)) if path not in sys.path]

import code_tables  # noqa: E402
import command_line  # noqa: E402
import http_api  # noqa: E402
import python_api  # noqa: E402

GENERATED: dict[str, Callable[[], str]] = {
    "settings": code_tables.settings,
    "limits": code_tables.limits,
    "reasons": code_tables.reasons,
    "problems": code_tables.problems,
    "formats": code_tables.formats,
    "packages": code_tables.packages,
    "walls": code_tables.walls,
    "http": http_api.reference,
    "commands": command_line.reference,
    "python": python_api.reference,
}
_MARK = re.compile(r"^<!-- generated: (\S+) -->$", re.M)
_COMMENT = re.compile(r"<!-- (not run:|ends with ).*?-->\n*", re.S)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with what it asks for, and without what it says to tests only.

    Raises:
        KeyError: it asks for something that is not in `GENERATED`.
    """
    return _MARK.sub(lambda mark: GENERATED[mark[1]](), _COMMENT.sub("", markdown))
