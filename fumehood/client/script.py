"""Script: what `run` is given, as the text that the sandbox gets.

A path and a text are sent as they are. Of a function, the source is sent, called `azureml_main`, with what it needs: modules it
uses become import lines, functions and classes beside it come along by their source, plain constants as literals. Whatever cannot
travel so is refused before anything is sent.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from fumehood.client.errors import NotSendable
from fumehood.client.luggage import ENTRY_POINT, Luggage, alias, an_instance
from fumehood.client.source import Origin, Piece, Unreadable, as_entry_point, names_needed, piece_of

SCRIPT_BYTES_MAX = 2**20
FILE_NAME = "script.py"

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """`origins`: for each line of `text` the file or cell it was taken from, where it was taken from one."""

    text: str
    name: str = FILE_NAME
    origins: tuple[Origin | None, ...] = ()


def script_of(given: str | Path | Callable[..., Any], *, with_bundle: bool = False) -> Script:
    """`given`: a function, a path, or source text (what holds a newline). `with_bundle`: modules of one's own may come with it.

    Raises:
        NotSendable: says what is wrong, by name, and what to do.
    """
    if isinstance(given, str) and ("\n" in given or given.lstrip().startswith("def ")):
        return _checked(Script(text=given))
    if isinstance(given, (str, Path)):
        path = Path(given).expanduser()
        try:
            return _checked(Script(text=path.read_bytes().decode("utf-8-sig"), name=path.name))
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise NotSendable(f"the script {str(path)!r} cannot be read: {what}") from None
    return _checked(_of_function(given, with_bundle))


def check_call(given: Any, parameters: Mapping[str, Any], datasets: int) -> None:
    """Compare the call with a function's signature; of a text the service knows more.

    Raises:
        NotSendable: a parameter is unknown, missing or no JSON; or there are more tables than the function takes.
    """
    for name, value in parameters.items():
        try:
            json.dumps(value, allow_nan=False, default=plain_number)
        except (TypeError, ValueError) as error:
            kind = type(value).__name__
            raise NotSendable(
                f"the parameter {name!r} is a {kind} and cannot be sent as JSON ({error}); pass tables as df1 or df2"
            ) from None
    if not inspect.isfunction(given):
        return
    known = list(inspect.signature(inspect.unwrap(given)).parameters.values())
    keywords = [parameter.name for parameter in known if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    positional = [parameter for parameter in known if parameter.kind in _POSITIONAL]
    if datasets > len(positional) and not any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in known):
        raise NotSendable(f"{given.__name__} takes {len(positional)} tables; {datasets} were given")
    for name in parameters:
        if name in (parameter.name for parameter in positional):
            raise NotSendable(f"{given.__name__} takes {name!r} as a table; to take it as a parameter, write `*,` before it")
        if name not in keywords and not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known):
            near = difflib.get_close_matches(name, keywords, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its parameters are {', '.join(keywords) or 'none'} (those behind `*,`)"
            raise NotSendable(f"{given.__name__} takes no parameter called {name!r}; {hint}")
    for parameter in known:
        required = parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
        if required and parameter.name not in parameters:
            raise NotSendable(f"{given.__name__} needs the parameter {parameter.name!r}; give it as {parameter.name}=…")


def plain_number(value: Any) -> Any:
    """A number of NumPy's as Python's own."""
    if callable(getattr(value, "item", None)) and getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"expected text, numbers, booleans, None, lists and dictionaries; found {type(value).__name__}")


def _checked(script: Script) -> Script:
    size = len(script.text.encode(errors="replace"))
    if size > SCRIPT_BYTES_MAX:
        raise NotSendable(f"the script is {size:,} bytes; the limit is {SCRIPT_BYTES_MAX:,}: put modules and data into a bundle or a table")
    return script


def _of_function(given: Any, with_bundle: bool) -> Script:
    what = f"{getattr(given, '__name__', type(given).__name__)!r}"
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
    try:
        written = piece_of(function)
    except Unreadable as error:
        raise NotSendable(f"{what} cannot be sent: {error}") from None
    taken = Luggage(function, with_bundle=with_bundle)
    if function.__name__ != ENTRY_POINT and ENTRY_POINT in names_needed(written, lazy_annotations=taken.lazy):
        raise NotSendable(f"{what} uses another function called {ENTRY_POINT}; give that one another name")
    entry = as_entry_point(written, ENTRY_POINT)
    taken.pack(entry, what, function)
    return _joined(taken, [*taken.definitions, entry, *(alias(name, ENTRY_POINT) for name in taken.own_names if name != ENTRY_POINT)])


def _joined(taken: Luggage, pieces: list[Piece]) -> Script:
    lines: list[str] = ["from __future__ import annotations"] if taken.lazy else []
    lines += sorted(taken.imports) + [f"{name} = {text}" for name, text in taken.constants.items()]
    origins: list[Origin | None] = [None] * len(lines)
    for piece in pieces:
        space = 2 if lines else 0
        lines += [""] * space + list(piece.lines)
        origins += [None] * space + list(piece.origins)
    return Script(text="\n".join(lines) + "\n", origins=tuple(origins))
