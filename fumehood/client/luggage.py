"""Luggage: what a function uses from around it, packed so that it can travel.

Modules become import lines; functions and classes of the same file or notebook their source, with what they use in turn; plain
constants become literals. Anything else is refused by its name.
"""

from __future__ import annotations

import builtins
import inspect
import math
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from fumehood.client.errors import NotSendable
from fumehood.client.source import Piece, Unreadable, attribute_chains, lazy_annotations, names_needed, piece_of

ENTRY_POINT = "azureml_main"
CONSTANT_CHARACTERS_MAX = 64 * 1024
CONSTANT_DEPTH_MAX = 20

_OF_EVERY_MODULE = ("__name__", "__file__", "__doc__")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_BRACKETS: dict[type, tuple[str, str]] = {tuple: ("(", ")"), list: ("[", "]"), set: ("{", "}"), frozenset: ("frozenset([", "])")}
_TABLES = ("DataFrame", "Series", "Table", "RecordBatch", "LazyFrame", "ndarray")
_INSTALLED = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]


class Luggage:
    """Filled by `pack`; `seen` holds each name that was looked up, with the object it stands for."""

    def __init__(self, function: FunctionType, *, with_bundle: bool) -> None:
        self.function, self.with_bundle = function, with_bundle
        self.module = function.__module__
        self.lazy = lazy_annotations(function)
        self.seen: dict[str, Any] = {}
        self.imports: set[str] = set()
        self.constants: dict[str, str] = {}
        self.definitions: list[Piece] = []
        self.own_names: list[str] = []
        """Names by which the function calls itself."""

    def pack(self, piece: Piece, user: str, owner: Any) -> None:
        """Take along what `piece` looks up outside of itself: the source of `owner`, called `user` in messages.

        Raises:
            NotSendable: names what cannot travel, and says what to do instead.
        """
        around = {**self.function.__globals__, **(_closure(owner) if isinstance(owner, FunctionType) else {})}
        for name in sorted(names_needed(piece, lazy_annotations=self.lazy)):
            if name in around:
                self._meet(name, around[name], user)
            elif not hasattr(builtins, name) and name not in _OF_EVERY_MODULE:
                raise NotSendable(f"{user} uses {name!r}, which is not defined here")
        for first, *chain in attribute_chains(piece):
            if isinstance(self.seen.get(first), ModuleType):
                self._submodules(self.seen[first], chain)

    def _meet(self, name: str, value: Any, user: str) -> None:
        if name not in self.seen:
            self.seen[name] = value
            self._take(name, value, user)
        elif self.seen[name] is not value:
            raise NotSendable(f"{user} and another function mean different things by {name!r}; give one of them another name")

    def _take(self, name: str, value: Any, user: str) -> None:
        bare = _bare(value)
        if bare is self.function:
            self.own_names.append(name)
        elif isinstance(value, ModuleType):
            self._refuse_own(value.__name__, name, user)
            self.imports.add(_import_line(value, name))
        elif (literal := literal_of(value)) is not None:
            self.constants[name] = literal
        elif isinstance(bare, (type, FunctionType)) and bare.__module__ == self.module:
            self._define(name, value, user)
        elif (found := _found_as(value)) is not None:
            module, own = found
            self._refuse_own(module, name, user)
            self.imports.add(f"from {module} import {own}" + (f" as {name}" if own != name else ""))
        else:
            raise NotSendable(f"{user} uses {name!r}, {an_instance(value)}, which cannot travel with it; {_advice(value)}")

    def _define(self, name: str, value: Any, user: str) -> None:
        if ENTRY_POINT in (name, value.__name__):
            raise NotSendable(f"{user} uses another function called {ENTRY_POINT}; give that one another name")
        try:
            piece = piece_of(value)
        except Unreadable as error:
            raise NotSendable(f"{user} uses {name!r}, but {error}") from None
        self.seen.setdefault(piece.name, value)
        self.pack(piece, repr(name), _bare(value))
        self.definitions.append(piece)
        if piece.name != name:
            self.definitions.append(alias(name, piece.name))

    def _refuse_own(self, module: str, name: str, user: str) -> None:
        """A module that nobody installed is not in the image either; it may come in a bundle."""
        top = module.partition(".")[0]
        found = sys.modules.get(top)
        file = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), None)
        if file is not None and not self.with_bundle and not _is_installed(Path(file)):
            raise NotSendable(
                f"{user} uses {name!r} of your own module {top!r} ({file}), which the sandbox does not have; "
                "send it along with bundle=, a directory or a zip that holds it"
            )

    def _submodules(self, module: ModuleType, chain: list[str]) -> None:
        """`import xml` alone does not bring `xml.etree`."""
        path = module.__name__
        found: Any = module
        for part in chain:
            path = f"{path}.{part}"
            inner = sys.modules.get(path)
            if inner is None or getattr(found, part, None) is not inner:
                return
            self.imports.add(f"import {path}")
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


def _is_installed(file: Path) -> bool:
    file = file.resolve()
    return bool({"site-packages", "dist-packages"} & set(file.parts)) or any(file.is_relative_to(place) for place in _INSTALLED)
