"""The reader of scripts: the only place of the service that parses anything a tenant wrote but JSON, in a helper process.

`fumehood check` asks the same of it, here and inside a sandbox, so it also has to read with any Python from 3.11 on.

Run by path (`python -I -S script_reader.py`), so it imports the standard library only. Stdin and stdout are one socket.
A question is a JSON object behind its length (four bytes, big endian); the answer is one line of JSON: a finding or null.
It may die of any script; then nothing is known about that script, and the next one gets a new helper.
"""

from __future__ import annotations

import ast
import json
import resource
import struct
import sys
from typing import Any

MEMORY_BYTES = 512 * 2**20
ENTRY_POINT = "azureml_main"
CONTEXT = "context"
DATASETS_MAX = 2
CLIP = 120  # characters of a source line that are shown

# Where one of these names occurs, the module's names can change in ways that reading does not show.
DYNAMIC = {
    "__builtins__", "__dict__", "__import__", "__setattr__", "_getframe", "compile", "delattr", "eval", "exec", "f_globals",
    "globals", "import_module", "importlib", "inspect", "locals", "modules", "runpy", "setattr", "vars",
}  # fmt: skip


def examine(source: str, datasets: int, bundle: bool) -> dict[str, Any] | None:
    """What is certainly wrong with a script: `{"detail", "line", "column", "caret"}`, or None. Doubt is never a finding."""
    text = source.encode()  # bytes, as the runner compiles them: a coding cookie counts
    try:
        compile(text, "script.py", "exec", dont_inherit=True)
        tree = ast.parse(text, "script.py")
    except SyntaxError as error:
        return _syntax(error)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return _entry_point(tree, datasets, bundle)


def _syntax(error: SyntaxError) -> dict[str, Any]:
    line, column = error.lineno or 1, max(error.offset or 1, 1)
    text = (error.text or "").rstrip("\r\n\f")
    begin = max(0, column - 1 - CLIP // 2)
    shown = text[begin : begin + CLIP]
    # The caret stands below its character also behind a tab.
    pad = "".join("\t" if character == "\t" else " " for character in shown[: column - 1 - begin])
    detail = f"line {line}, column {column}: {error.msg}"
    return {"detail": detail, "line": line, "column": column, "caret": f"{shown}\n{pad}^"}


def _entry_point(tree: ast.Module, datasets: int, bundle: bool) -> dict[str, Any] | None:
    bindings: list[ast.AST] = []
    called: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called.add(id(node.func))
        if _is_dynamic(node, bundle):
            return None
        if _binds(node):
            bindings.append(node)
    if not bindings:
        expected = f"def {ENTRY_POINT}(dataframe1 = None, dataframe2 = None):"
        return {"detail": f"the script never defines {ENTRY_POINT}; expected a function, `{expected}`"}
    for node in ast.walk(tree):
        # A name that is handed around, deleted or written into may be anything by the end.
        if isinstance(node, ast.Name) and node.id == ENTRY_POINT and id(node) not in called:
            return None
    top = {id(statement) for statement in tree.body}
    if any(id(node) not in top for node in bindings):
        return None
    return _definition(max(bindings, key=lambda node: getattr(node, "lineno", 0)), datasets)


def _definition(node: ast.AST, datasets: int) -> dict[str, Any] | None:
    if getattr(node, "decorator_list", None):
        return None
    place = {"line": getattr(node, "lineno", 1), "column": getattr(node, "col_offset", 0) + 1}
    if isinstance(node, ast.ClassDef):
        return {"detail": f"{ENTRY_POINT} is a class; expected a function", **place}
    if isinstance(node, ast.AsyncFunctionDef):
        return {"detail": f"{ENTRY_POINT} is an async function; expected a plain `def`", **place}
    if isinstance(node, ast.FunctionDef):
        # What `init()` returned is passed under this name, wherever it stands.
        positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        takes = len(positional) - positional.count(CONTEXT)
        without_default = positional[: len(positional) - len(node.args.defaults)]
        required = len(without_default) - without_default.count(CONTEXT)
        if required > DATASETS_MAX:
            return {"detail": f"{ENTRY_POINT} has {required} required parameters; there are at most {DATASETS_MAX} datasets", **place}
        if takes < datasets and node.args.vararg is None:
            connected = "1 is connected" if datasets == 1 else f"{datasets} are connected"
            return {"detail": f"{ENTRY_POINT} takes {takes} dataset{'' if takes == 1 else 's'}, but {connected}", **place}
    return None


def _is_dynamic(node: ast.AST, bundle: bool) -> bool:
    match node:
        case ast.ImportFrom(names=names) if any(alias.name == "*" for alias in names):
            return True
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            # A module of the bundle may reach back into the script.
            return bundle or any(DYNAMIC & set(alias.name.split(".")) for alias in names)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in DYNAMIC
        case ast.Constant(value=str() as text):
            return text == ENTRY_POINT
    return False


def _binds(node: ast.AST) -> bool:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name == ENTRY_POINT
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return name == ENTRY_POINT
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return any((alias.asname or alias.name.split(".")[0]) == ENTRY_POINT for alias in names)
        case ast.Global(names=names):
            return ENTRY_POINT in names
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
            return name == ENTRY_POINT
        case ast.MatchMapping(rest=name):
            return name == ENTRY_POINT
    return getattr(node, "name", None) == ENTRY_POINT


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(header := questions.read(4)) == 4:
        question = json.loads(questions.read(struct.unpack(">I", header)[0]))
        answer = examine(question["source"], question["datasets"], question["bundle"])
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
