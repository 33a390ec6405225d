"""Luggage: what a function uses from around it, packed so that it can travel.

Modules become import lines; functions and classes of the same file or notebook their source, with what they use in turn; plain
constants become literals. Anything else is refused by its name. Nothing is pickled: the script is text that one can read.
"""

from __future__ import annotations

import ast
import builtins
import cmath
import inspect
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from fumehood.client.errors import NotSendable
from fumehood.client.project import is_own
from fumehood.client.source import (
    Piece,
    Unreadable,
    attribute_chains,
    full_name,
    imports_of_module,
    lazy_annotations,
    modules_imported,
    names_at_once,
    names_needed,
    piece_of,
    without_dots,
)

ENTRY_POINT = "azureml_main"
CONSTANT_CHARACTERS_MAX = 64 * 1024
CONSTANT_DEPTH_MAX = 20
INTEGER_BITS_MAX = 14_000  # Python writes no more than 4,300 digits

_OF_EVERY_MODULE = ("__name__", "__file__", "__doc__")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_BRACKETS: dict[type, tuple[str, str]] = {tuple: ("(", ")"), list: ("[", "]"), set: ("{", "}"), frozenset: ("frozenset([", "])")}
_TABLES = ("DataFrame", "Series", "Table", "RecordBatch", "LazyFrame", "ndarray")
_NOTHING = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """`needs`: the names that it looks up outside of itself; `at_once`: those of them that must be there when it is defined."""

    piece: Piece
    needs: set[str]
    at_once: set[str]
    aliases: list[Piece]

    @property
    def place(self) -> tuple[int, int]:
        """Where it was written: number of the cell, and line."""
        file, line = next((origin for origin in self.piece.origins if origin is not None), ("", 0))
        cell = re.search(r"\[(\d+)\]", file)
        return int(cell[1]) if cell else 0, line


class Luggage:
    """What `function` needs, and itself. `seen` holds each name that was looked up, with the object it stands for.

    Raises:
        NotSendable: names what cannot travel, and says what to do instead.
    """

    def __init__(self, function: FunctionType) -> None:
        self.function, self.module = function, function.__module__
        self.package = str(function.__globals__.get("__package__") or "")
        self.lazy = lazy_annotations(function)
        self.seen: dict[str, Any] = {}
        self.imports: set[str] = set()
        self.modules: dict[str, str] = {}
        """Full names of what is imported, and who uses it."""
        self.constants: dict[str, str] = {}
        self.definitions: dict[str, Definition] = {}
        self._imports_there = list(imports_of_module(self.module))

    def pack(self, name: str, value: Any, user: str) -> None:
        """Take a function or class of this module along, under its own name and as `name`, with all that it uses."""
        try:
            piece = without_dots(piece_of(value), self.package)
        except Unreadable as error:
            raise NotSendable(f"{user}, but {error}") from None
        bare = _bare(value)
        self._refuse_another_entry(piece.name, bare, user)
        if _bare(self.seen.setdefault(piece.name, value)) is not bare:
            raise NotSendable(f"{user}, and there is another {piece.name!r}; give one of them another name")
        if piece.name not in self.definitions:
            self._refuse_wrapped(piece, value, user)
            needs, at_once = (find(piece, lazy_annotations=self.lazy) for find in (names_needed, names_at_once))
            self.definitions[piece.name] = Definition(piece=piece, needs=needs, at_once=at_once & needs, aliases=[])
            self._pack_needs(piece, needs, repr(piece.name), bare)
        if name != piece.name:
            self.definitions[piece.name].aliases.append(alias(name, piece.name))

    def in_order(self) -> list[Piece]:
        """The definitions as they were written, but for what has to be there sooner."""
        placed: dict[str, None] = {}
        whole: set[str] = set()
        found = {other.name: name for name, one in self.definitions.items() for other in one.aliases} | {n: n for n in self.definitions}

        def place(name: str, everything: bool) -> None:
            if name in (whole if everything else placed):
                return
            if everything:
                whole.add(name)
            one = self.definitions[name]
            for need in sorted(one.needs if everything else one.at_once):
                if need in found:
                    place(found[need], True)
            placed.setdefault(name)

        for name in sorted(self.definitions, key=lambda name: self.definitions[name].place):
            place(name, False)
        return [piece for name in placed for piece in (self.definitions[name].piece, *self.definitions[name].aliases)]

    def _pack_needs(self, piece: Piece, needs: set[str], user: str, owner: Any) -> None:
        around = {**self.function.__globals__, **(_closure(owner) if isinstance(owner, FunctionType) else {})}
        for name in sorted(needs):
            if name in around:
                self.meet(name, around[name], user)
            elif not hasattr(builtins, name) and name not in _OF_EVERY_MODULE:
                raise NotSendable(f"{user} uses {name!r}, which is not defined here")
        for first, *chain in attribute_chains(piece):
            if isinstance(self.seen.get(first), ModuleType):
                self._submodules(self.seen[first], chain, user)
        for module in modules_imported(piece.tree, self.package):
            self.modules.setdefault(module, user)

    def meet(self, name: str, value: Any, user: str) -> None:
        self._refuse_another_entry(name, _bare(value), f"{user} uses {name!r}")
        if name not in self.seen:
            self.seen[name] = value
            self._take(name, value, user)
        elif self.seen[name] is not value and _bare(self.seen[name]) is not _bare(value):
            raise NotSendable(f"{user} and another function mean different things by {name!r}; give one of them another name")

    def _take(self, name: str, value: Any, user: str) -> None:
        bare = _bare(value)
        if isinstance(value, ModuleType) and value.__name__ != "__main__":
            self._import(_import_line(value, name), value.__name__, user)
        elif isinstance(bare, (type, FunctionType)) and bare.__module__ == self.module:
            self.pack(name, value, f"{user} uses {name!r}")
        # A constant of one's own modules needs no module; one of a library (math.pi) reads better by its name.
        elif (written := self._as_written(name, value)) is not None and not is_own(written[0]):
            self._import_name(*written, name, user)
        elif (literal := literal_of(value)) is not None:
            self.constants[name] = literal
        elif (found := written or _found_as(value)) is not None and found[0] != self.module:
            self._import_name(*found, name, user)
        else:
            raise NotSendable(f"{user} uses {name!r}, {an_instance(value)}, which cannot travel with it; {_advice(value)}")

    def _as_written(self, name: str, value: Any) -> tuple[str, str] | None:
        """Module and name by which the author imported this very object."""
        for node in self._imports_there:
            for one in node.names if isinstance(node, ast.ImportFrom) else ():
                own = name if one.name == "*" else one.name
                module = full_name(node, self.package) if isinstance(node, ast.ImportFrom) else ""
                if (one.asname or own) == name and _names_in(module).get(own, _NOTHING) is value:
                    return module, own
        return None

    def _import_name(self, module: str, own: str, name: str, user: str) -> None:
        self._import(f"from {module} import {own}" + (f" as {name}" if own != name else ""), module, user)

    def _import(self, line: str, module: str, user: str) -> None:
        self.imports.add(line)
        self.modules.setdefault(module, user)

    def _refuse_another_entry(self, name: str, bare: Any, user: str) -> None:
        if name == ENTRY_POINT and bare is not self.function:
            raise NotSendable(f"{user}, another {ENTRY_POINT} than what is sent; give that one another name")

    def _refuse_wrapped(self, piece: Piece, value: Any, user: str) -> None:
        """What the text of a function would not say: a wrapper that is not written above it, or one that hides it."""
        decorated = inspect.isclass(value) or bool(piece.definition.decorator_list)
        same = decorated and self.function.__globals__.get(piece.name, value) is value
        if _bare(value) is not value and not same:
            raise NotSendable(f"{user}, which is {piece.name!r} wrapped by a call; write the decorator above its `def`")
        if decorated and inspect.isfunction(value) and not same:
            raise NotSendable(f"{user}, which a decorator of {piece.name!r} hides; give that decorator functools.wraps")
        registered = getattr(value, "registry", None)  # of functools.singledispatch
        if isinstance(registered, MappingProxyType) and len(registered) > 1:
            raise NotSendable(f"{user}, whose registered functions cannot be found in its source; call them by name")

    def _submodules(self, module: ModuleType, chain: list[str], user: str) -> None:
        """`import xml` alone does not bring `xml.etree`."""
        path = module.__name__
        found: Any = module
        for part in chain:
            path = f"{path}.{part}"
            inner = sys.modules.get(path)
            if inner is None or getattr(found, part, None) is not inner:
                return
            self._import(f"import {path}", path, user)
            found = inner


def alias(name: str, other: str) -> Piece:
    return Piece(name, (f"{name} = {other}",), (None,))


def literal_of(value: Any) -> str | None:
    """The value as source, where it is made of plain things and not too long."""
    text = _rendered(value, CONSTANT_DEPTH_MAX)
    return text if text is not None and len(text) <= CONSTANT_CHARACTERS_MAX else None


def _rendered(value: Any, depth: int) -> str | None:
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return f'float("{value}")'
    if (kind is complex and not cmath.isfinite(value)) or (kind is int and value.bit_length() > INTEGER_BITS_MAX):
        return None
    if kind in _PLAIN:
        return repr(value)
    if depth == 0 or (kind not in _BRACKETS and kind is not dict):
        return None
    parts = [_rendered(part, depth - 1) for part in ([part for pair in value.items() for part in pair] if kind is dict else value)]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    if kind is dict:
        return "{" + ", ".join(f"{name}: {part}" for name, part in zip(whole[::2], whole[1::2], strict=True)) + "}"
    if kind is set and not whole:
        return "set()"
    if kind in (set, frozenset):
        whole.sort()  # the same text for the same set, whatever its order in this process
    before, after = _BRACKETS[kind]
    return before + ", ".join(whole) + ("," if kind is tuple and len(whole) == 1 else "") + after


def an_instance(value: Any) -> str:
    kind = type(value)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__.partition('.')[0]}."
    return f"a {module}{kind.__qualname__}"


def _advice(value: Any) -> str:
    if type(value).__name__ in _TABLES:
        return "make it a parameter of the function, and give it to the call as df1 or df2"
    if type(value) in (*_BRACKETS, dict, str, bytes):
        return "it is too large or holds more than plain values: give it as a table or in a bundle"
    return "make it inside the function, or pass what it is made of as a parameter: `*, name` in the function, name=… in the call"


def _bare(value: Any) -> Any:
    return inspect.unwrap(value) if callable(value) else value


def _closure(function: FunctionType) -> Mapping[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return found


def _names_in(module: str) -> dict[str, Any]:
    return getattr(sys.modules.get(module), "__dict__", {})


def _import_line(module: ModuleType, name: str) -> str:
    full = "os.path" if module is sys.modules.get("os.path") else module.__name__
    return f"import {full}" if full == name else f"import {full} as {name}"


def _found_as(value: Any) -> tuple[str, str] | None:
    """Module and name that give this very object: the shortest module, as its users import it."""
    own = getattr(value, "__name__", None)
    home = getattr(_bare(value), "__module__", None) or type(value).__module__
    if not isinstance(own, str) or not isinstance(home, str) or home == "__main__":
        return None
    parts = home.split(".")
    for path in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
        if getattr(sys.modules.get(path), own, None) is value:
            return path, own
    return None
