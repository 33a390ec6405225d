"""Project: the modules of one's own that a script imports, as files of a bundle.

One's own is what lies neither in the standard library nor among the installed packages; those the sandbox has, or has not. Nothing is
imported to find a module, so nothing of it runs here: its source is read, and what that imports in turn comes along, with the
`__init__.py` of every package above it. Other files of a package stay where they are.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
import tokenize
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from fumehood.client.errors import NotSendable
from fumehood.client.inputs import BUNDLE_ENTRIES_MAX
from fumehood.client.source import modules_imported

_INSTALLED = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]


def is_own(module: str) -> bool:
    """Is it of the user's project? Not, where there is no such module."""
    spec = _spec(module)
    return spec is not None and _own(spec)


class Project:
    """`files`: what is to be packed, by its name in the bundle. Modules whose top-level name is in `held` are in the bundle already."""

    def __init__(self, held: Iterable[str] = ()) -> None:
        self.files: dict[str, Path] = {}
        self._held, self._met = frozenset(held), set[str]()

    def add(self, module: str, user: str) -> None:
        """Take a module of one's own, the packages above it, and what they import; any other is left out.

        Raises:
            NotSendable: there is no source of it, or there are too many.
        """
        waiting = [(module, user)]
        while waiting:
            module, user = waiting.pop()
            parts = module.split(".")
            if parts[0] in self._held:
                continue
            for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
                if name not in self._met:
                    self._met.add(name)
                    waiting += [(found, f"your module {name!r}") for found in self._take(name, user)]

    def _take(self, name: str, user: str) -> list[str]:
        spec = _spec(name)
        if spec is None or not _own(spec) or spec.origin is None:
            return []  # something else, or a package without a file of its own
        path, is_package = Path(spec.origin), spec.submodule_search_locations is not None
        if path.suffix != ".py" or not path.is_file():
            raise NotSendable(
                f"{user} uses your own module {name!r} ({path}), of which there is no source that could travel; "
                "send it along with bundle=, a directory or a zip that holds it"
            )
        self.files[name.replace(".", "/") + ("/__init__.py" if is_package else ".py")] = path
        if len(self.files) > BUNDLE_ENTRIES_MAX:
            raise NotSendable(f"{user} brings more than {BUNDLE_ENTRIES_MAX:,} modules of your own; send them in a stored bundle")
        try:
            with tokenize.open(path) as file:
                tree = ast.parse(file.read())
        except (SyntaxError, ValueError):
            return []  # whoever imports it is told so there
        return list(modules_imported(tree, name if is_package else name.rpartition(".")[0]))


def _spec(name: str) -> ModuleSpec | None:
    loaded = sys.modules.get(name)
    if loaded is not None:
        spec = getattr(loaded, "__spec__", None)
        file = getattr(loaded, "__file__", None)
        if isinstance(spec, ModuleSpec) and (spec.has_location or spec.submodule_search_locations is not None):
            return spec
        places = getattr(loaded, "__path__", None)
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=places) if file else None
    parent = name.rpartition(".")[0]
    try:
        if not parent:
            return importlib.util.find_spec(name)
        above = _spec(parent)
        places = above.submodule_search_locations if above is not None else None
        return PathFinder.find_spec(name, list(places)) if places is not None else None
    except (ImportError, ValueError):
        return None


def _own(spec: ModuleSpec) -> bool:
    files = [spec.origin] if spec.origin is not None and spec.has_location else list(spec.submodule_search_locations or ())
    return bool(files) and not any(_is_installed(Path(file)) for file in files)


def _is_installed(file: Path) -> bool:
    file = file.resolve()
    return bool({"site-packages", "dist-packages"} & set(file.parts)) or any(file.is_relative_to(place) for place in _INSTALLED)
