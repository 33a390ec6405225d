"""Run by the page's Python, apart from the tests: the cells of a page, one after the other, in one namespace, as a notebook would.

Reads one JSON line a cell, `{"code", "name"}`; answers with one, `{"output", "error"}`. The value of a last line is shown;
`await` works outside of functions.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import linecache
import sys
import traceback
from typing import Any


def run(code: str, name: str, names: dict[str, Any], loop: asyncio.AbstractEventLoop) -> dict[str, str | None]:
    said, error = io.StringIO(), None
    # So that `inspect.getsource` finds a function of the cell, as it does in a notebook.
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            body = ast.parse(code, name).body
            last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
            _do(ast.Module(body, []), "exec", name, names, loop)
            if isinstance(last, ast.Expr):
                value = _do(ast.Expression(last.value), "eval", name, names, loop)
                if value is not None:
                    print(repr(value))
        except Exception:
            error = traceback.format_exc()
    return {"output": said.getvalue(), "error": error}


def _do(tree: ast.AST, mode: str, name: str, names: dict[str, Any], loop: asyncio.AbstractEventLoop) -> Any:
    value = eval(compile(tree, name, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), names)
    return loop.run_until_complete(value) if inspect.iscoroutine(value) else value


def main() -> None:
    sys.path[0] = ""  # as in a notebook, modules that lie beside it can be imported
    answers, loop, names = sys.stdout, asyncio.new_event_loop(), {"__name__": "__main__"}
    for line in sys.stdin:
        cell = json.loads(line)
        print(json.dumps(run(cell["code"], cell["name"], names, loop)), file=answers, flush=True)
    loop.close()


if __name__ == "__main__":
    main()
