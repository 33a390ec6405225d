"""Functions: what is sent for a Python function, as text that one can read.

    from fumehood.client.functions import script_of

    script = script_of(fit)
    print(script.text)              # imports, constants, helpers, the function, and `azureml_main = fit`
    script.save("there")            # script.py, and bundle.zip where modules of one's own come along

The function keeps its source, decorators included, with what it uses: what is imported where it is written, functions, classes and plain
constants beside it, and modules of one's own project as a bundle. Whatever cannot travel so is refused by its name. Nothing is pickled.
"""

from __future__ import annotations

import inspect
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

from fumehood.client.errors import NotSendable
from fumehood.client.inputs import top_names
from fumehood.client.luggage import ENTRY_POINT, Luggage, alias, an_instance
from fumehood.client.project import Project
from fumehood.client.source import Origin

FILE_NAME, BUNDLE_NAME = "script.py", "bundle.zip"
DATASETS_MAX = 2
CONTEXT, BEFORE = "context", "init"
"""A parameter of this name gets what the function `init` beside it returned."""

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """What is sent: the script's `text`, and the `modules` of one's own that go with it, files by their names in the bundle.

    `origins`: for each line of `text` the file or cell it was taken from, where it was taken from one.
    """

    text: str
    name: str = FILE_NAME
    origins: tuple[Origin | None, ...] = field(default=(), repr=False)
    modules: Mapping[str, Path] = field(default_factory=dict)

    def save(self, directory: str | Path) -> None:
        """Write it as `script.py`, with `bundle.zip` where modules go along: for `fumehood run --local`, and for reading."""
        place = Path(directory)
        place.mkdir(parents=True, exist_ok=True)
        (place / self.name).write_text(self.text, encoding="utf-8")
        if self.modules:
            write_bundle(place / BUNDLE_NAME, self.modules)


def script_of(function: Callable[..., Any], *, bundle: Any = None) -> Script:
    """The script of a function that was written with `def`, in a file or in a notebook's cell.

    bundle: what is sent along, as for `run`; modules that it holds are taken from there. One that is stored already is taken to hold all.

    Raises:
        NotSendable: names what cannot travel, and says what to do.
    """
    what = f"{getattr(function, '__name__', type(function).__name__)!r}"
    bare = _checked(function, what)
    taken = Luggage(bare)
    taken.pack(bare.__name__, function, f"{what} cannot be sent")
    beside = bare.__globals__.get(BEFORE)
    if CONTEXT in inspect.signature(bare).parameters and isinstance(beside, FunctionType):
        taken.meet(BEFORE, beside, what)
    held = top_names(bundle)
    project = Project(held or ())
    for module, user in taken.modules.items() if held is not None else ():
        project.add(module, user)
    return _joined(taken, bare.__name__, project.files)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those that a call may give: not `context`, which is the script's own affair."""
    return [one for one in inspect.signature(inspect.unwrap(function)).parameters.values() if one.name != CONTEXT]


def write_bundle(target: Path, modules: Mapping[str, Path], *, beside: Path | None = None) -> None:
    """A zip of modules, together with what the zip `beside` holds. The same files give the same bytes, whenever they are packed."""
    if beside is not None:
        shutil.copyfile(beside, target)
    with zipfile.ZipFile(target, "w" if beside is None else "a") as bundle:
        for name, path in sorted(modules.items()):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            bundle.writestr(entry, path.read_bytes())


def _checked(given: Any, what: str) -> FunctionType:
    if inspect.isclass(given) or not callable(given):
        raise NotSendable(f"the script is {an_instance(given)}; expected a function, the path of a script, or its text")
    if inspect.ismethod(given):
        raise NotSendable(f"{what} is a method; write a function that makes the object it needs")
    function = inspect.unwrap(given)
    if not isinstance(function, FunctionType):
        raise NotSendable(f"the script is {an_instance(given)}; expected a function that was written with `def`")
    if function.__name__ == "<lambda>":
        raise NotSendable("a lambda has no source of its own; write it with `def`")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise NotSendable(f"{what} is an async function; write `def`, and use asyncio.run() inside")
    if inspect.isgeneratorfunction(function):
        raise NotSendable(f"{what} is a generator (it says `yield`); expected a function that returns a DataFrame, or two")
    required = [one.name for one in parameters_of(function) if one.kind in _POSITIONAL and one.default is one.empty]
    if len(required) > DATASETS_MAX:
        raise NotSendable(
            f"{what} has {len(required)} required parameters ({', '.join(required)}); there are at most {DATASETS_MAX} tables: "
            "what is no table belongs behind `*,`"
        )
    return function


def _joined(taken: Luggage, name: str, modules: Mapping[str, Path]) -> Script:
    lines: list[str] = ["from __future__ import annotations"] if taken.lazy else []
    lines += sorted(taken.imports)
    lines += [*([""] if lines and taken.constants else []), *(f"{name} = {text}" for name, text in taken.constants.items())]
    origins: list[Origin | None] = [None] * len(lines)
    for piece in [*taken.in_order(), *([alias(ENTRY_POINT, name)] if name != ENTRY_POINT else [])]:
        space = 2 if lines else 0
        lines += [""] * space + list(piece.lines)
        origins += [None] * space + list(piece.origins)
    return Script(text="\n".join(lines) + "\n", origins=tuple(origins), modules=modules)
