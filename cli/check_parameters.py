"""Parameters against the signature of azureml_main, as far as reading decides; the rest shows at run time."""

from __future__ import annotations

import ast
import difflib
import keyword
from collections.abc import Iterator, Mapping
from typing import Any

ENTRY_POINT = "azureml_main"
CONTEXT = "context"
# As the runner holds them against a simple annotation: annotation → JSON types it takes, and how they are called.
TAKES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "an int"),
    "float": ((int, float), "a float"),
    "str": ((str,), "a str"),
    "bool": ((bool,), "a bool"),
}


def faults(source: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, what is wrong). Nothing where the function is decorated, bound twice or otherwise not plain to see."""
    for name in parameters:
        if not name.isidentifier() or keyword.iskeyword(name):
            yield name, "is no Python identifier"
    function = _function(source)
    if function is None:
        return
    arguments = function.args
    known = {argument.arg: argument for argument in arguments.kwonlyargs if argument.arg != CONTEXT}
    has_context = CONTEXT in {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for name, value in parameters.items():
        if name == CONTEXT and has_context:
            yield name, "is what the script's init() returns; no job can give it"
        elif name in {argument.arg for argument in arguments.args}:
            yield name, "is for a dataset; to take it as a job parameter, put `*,` before it"
        elif name not in known and arguments.kwarg is None:
            near = difflib.get_close_matches(name, known, n=1)
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            yield name, f"{ENTRY_POINT} takes no such parameter; " + (f"did you mean {near[0]!r}?" if near else takes)
        elif name in known and (wanted := _annotation(known[name])) is not None:
            types, called = TAKES[wanted]
            if type(value) not in types:
                yield name, f"must be {called}; found {value!r:.60}"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None and argument.arg not in parameters and argument.arg != CONTEXT:
            yield argument.arg, f"{ENTRY_POINT} needs it, and --param {argument.arg}=… does not stand"


def _function(source: str) -> ast.FunctionDef | None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    # Whatever names it but a call may bind it to something else.
    named = [node for node in ast.walk(tree) if id(node) not in called and ENTRY_POINT in _names(node)]
    match named:
        case [ast.FunctionDef(decorator_list=[]) as function] if function in tree.body:
            return function
    return None


def _names(node: ast.AST) -> set[object]:
    return {getattr(node, attribute, None) for attribute in ("name", "id", "asname")}


def _annotation(argument: ast.arg) -> str | None:
    match argument.annotation:
        case ast.Name(id=name) | ast.Constant(value=str() as name) if name in TAKES:
            return name
    return None
