"""Script: what `run` is given, as the text that the sandbox gets.

A path and a text are sent as they are, a function as `fumehood.client.functions` writes it. What does not fit is refused before
anything is sent.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fumehood.client import functions
from fumehood.client.errors import NotSendable
from fumehood.client.functions import Script

SCRIPT_BYTES_MAX = 2**20

Given = str | Path | Callable[..., Any]
"""A function, a path, or source text (what holds a newline)."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def script_of(given: Given, *, bundle: Any = None) -> Script:
    """`bundle`: what comes along as `run` is given it.

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
    return _checked(functions.script_of(given, bundle=bundle))


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
    known = functions.parameters_of(given)
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
