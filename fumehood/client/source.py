"""Source: the text of a function or class as its author wrote it, with the place it was taken from.

For a function of a file, of a notebook's cell or of an indented block. What cannot be read is `Unreadable`, with the reason.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import re
import symtable
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

FUTURE_ANNOTATIONS = 0x1000000  # the flag of code below `from __future__ import annotations`

Origin = tuple[str, int]
"""File or cell, and line."""


class Unreadable(Exception):
    """Its text says why."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of source at the top level of a module, and where each came from."""

    name: str
    lines: tuple[str, ...]
    origins: tuple[Origin | None, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def definition(self) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef:
        found = next(node for node in ast.walk(self.tree) if isinstance(node, DEFINITIONS))
        return found


_RUN_WHERE_THEY_STAND = ("lambda", "listcomp", "setcomp", "dictcomp", "genexpr")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def piece_of(thing: Any) -> Piece:
    """The source of a function (below its decorators' wrappers) or a class, decorators included.

    Raises:
        Unreadable: there is no source, or it is no `def` or `class` (a lambda).
    """
    thing = inspect.unwrap(thing)
    if inspect.isclass(thing) and thing.__module__ == "__main__" and (cell := _class_in_a_cell(thing.__name__)):
        lines, first, place = cell
    else:
        try:
            lines, first = inspect.getsourcelines(thing)
            place = _shown(inspect.getsourcefile(thing) or "?")
        except (OSError, TypeError) as error:
            raise Unreadable("its source cannot be read (write it with `def` or `class`, in a file or in a notebook's cell)") from error
    block = "".join(line if line.endswith("\n") else line + "\n" for line in lines)
    origins: list[Origin | None] = [(place, first + n) for n in range(len(lines))]
    plain = textwrap.dedent(block)
    wrapped = "if True:\n" + block
    indented = block[:1] in " \t"
    # Taking the indentation away must not change a text that runs over several lines.
    if indented and _body(plain) != _body(wrapped):
        plain, origins = wrapped, [None, *origins]
    piece = Piece(thing.__name__, tuple(plain.rstrip("\n").split("\n")), tuple(origins))
    try:
        definition = piece.definition
    except (SyntaxError, StopIteration):
        raise Unreadable("it is no function that was written with `def`") from None
    if definition.name != thing.__name__:
        raise Unreadable("it is no function that was written with `def`")
    return piece


def without_dots(piece: Piece, package: str) -> Piece:
    """The same, with `from .x import y` as `from package.x import y`: a script is in no package.

    Raises:
        Unreadable: such an import leads out of the package, or runs over several lines before its name.
    """
    lines = list(piece.lines)
    for node in ast.walk(piece.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            line = lines[node.lineno - 1].encode()
            written = re.match(rb"from\s*\.[.\s]*[\w.]*\s*(?=import\b)", line[node.col_offset :])
            full = full_name(node, package)
            if written is None or not full:
                raise Unreadable(f"its relative import ({line.decode().strip()}) cannot be understood outside of its package")
            changed = line[: node.col_offset] + f"from {full} ".encode() + line[node.col_offset + written.end() :]
            lines[node.lineno - 1] = changed.decode()
    return Piece(piece.name, tuple(lines), piece.origins)


def names_needed(piece: Piece, *, lazy_annotations: bool) -> set[str]:
    """The names that the piece looks up outside of itself, when it is defined or when it runs."""
    top = _symbols(piece, lazy_annotations)
    defined = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return {name for table in _tables(top) for name in _looked_up(table)} - defined


def attribute_chains(piece: Piece) -> Iterator[list[str]]:
    """`xml.etree.ElementTree` as `["xml", "etree", "ElementTree"]`, for every such expression."""
    for node in ast.walk(piece.tree):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if chain and isinstance(node, ast.Name):
            yield [node.id, *chain]


def lazy_annotations(function: FunctionType) -> bool:
    """Are annotations never evaluated where this function was written?"""
    return bool(function.__code__.co_flags & FUTURE_ANNOTATIONS) or sys.version_info >= (3, 14)


def names_at_once(piece: Piece, *, lazy_annotations: bool) -> set[str]:
    """Of these, the ones that are looked up as soon as it is defined: by decorators, defaults, bases and the body of a class."""
    return {name for table in _tables(_symbols(piece, lazy_annotations), at_once=True) for name in _looked_up(table)}


def modules_imported(tree: ast.AST, package: str) -> Iterator[str]:
    """What the code may import, by full names: `from a import b` gives `a` and `a.b`, which may be a module or something of `a`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (base := full_name(node, package)):
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def full_name(node: ast.ImportFrom, package: str) -> str:
    """The module that `from … import` means, empty where a relative one leads out of every package."""
    try:
        return importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    except ImportError:
        return ""


def imports_of_module(module: str) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports as they are written in a loaded module, or in the cells of the notebook, the last one first."""
    shell = _notebook()
    if module == "__main__" and shell is not None:
        texts = [str(cell) for cell in shell.user_ns.get("In", ())]
    else:
        file = getattr(sys.modules.get(module), "__file__", None)
        texts = ["".join(linecache.getlines(file))] if file else []
    for text in reversed(texts):
        try:
            found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
        except (SyntaxError, ValueError):
            continue
        yield from reversed(found)


def _symbols(piece: Piece, lazy_annotations: bool) -> symtable.SymbolTable:
    tree = piece.tree
    if lazy_annotations:
        tree = ast.fix_missing_locations(_WithoutAnnotations().visit(tree))
    return symtable.symtable(ast.unparse(tree), "script", "exec")


def _tables(table: symtable.SymbolTable, *, at_once: bool = False) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        if not at_once or child.get_type() != "function" or child.get_name() in _RUN_WHERE_THEY_STAND:
            yield from _tables(child, at_once=at_once)


def _looked_up(table: symtable.SymbolTable) -> Iterator[str]:
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (at_top or symbol.is_global()) and not (at_top and symbol.is_assigned()):
            yield symbol.get_name()


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant("")
        self.generic_visit(node)
        return node


def _body(text: str) -> str | None:
    """The definition, wherever it stands; None where it is no Python."""
    try:
        return next((ast.dump(node) for node in ast.walk(ast.parse(text)) if isinstance(node, DEFINITIONS)), None)
    except SyntaxError:
        return None


def _shown(path: str) -> str:
    """A file by its name, a notebook's cell as its reader knows it."""
    shell = _notebook()
    named = shell.compile.format_code_name(path) if shell is not None and hasattr(shell.compile, "format_code_name") else None
    return " ".join(named) if named else Path(path).name


def _class_in_a_cell(name: str) -> tuple[list[str], int, str] | None:
    """The newest cell that defines the class: `inspect` finds no classes of a notebook on every Python."""
    shell = _notebook()
    cells = list(shell.user_ns.get("In", ())) if shell is not None else []
    for number in range(len(cells) - 1, 0, -1):
        try:
            body = ast.parse(cells[number]).body
        except (SyntaxError, ValueError):
            continue
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                return cells[number].splitlines()[first - 1 : node.end_lineno], first, f"Cell In[{number}]"
    return None


def _notebook() -> Any:
    """The IPython shell that this runs in, or None."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None
