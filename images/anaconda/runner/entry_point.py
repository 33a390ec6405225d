"""Finding `azureml_main` and deciding what it is called with."""

import difflib
import inspect
import json
import linecache
from types import ModuleType

from . import context, places
from .context import is_async
from .failure import cut, type_name
from .refused import Refused

NAME = "azureml_main"
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
DATASETS_MAX = 2

# Annotation → types that JSON may give for it, exactly: to Python a bool is an int, to an author it is not.
SIMPLE = {int: {int}, float: {int, float}, str: {str}, bool: {bool}}
JSON_NAMES = {bool: "a bool", int: "an int", float: "a float", str: "a str", list: "a list", dict: "a dict", type(None): "null"}


def find(script: ModuleType):
    """The function that the script's top level bound to the name `azureml_main`, by whatever means."""
    names = vars(script)
    if NAME not in names:
        functions = [name for name, value in list(names.items()) if isinstance(name, str) and callable(value)]
        near = difflib.get_close_matches(NAME, functions, n=1, cutoff=0.6)
        raise Refused("bad_entry_point", f"The script defines no function called {NAME}{what_instead(script, near)}")
    function = names[NAME]
    if inspect.isclass(function):
        raise Refused("bad_entry_point", f"{NAME} is a class; write a function with `def {NAME}(...)`.")
    if is_async(function) or is_async(getattr(type(function), "__call__", None)):
        raise Refused("bad_entry_point", f"{NAME} is an async function; write `def`, and use asyncio.run() inside.")
    if not callable(function):
        raise Refused("bad_entry_point", f"{NAME} is {type_name(function)}, not a function.")
    return function


def what_instead(script: ModuleType, near: list[str]) -> str:
    """The end of the sentence that says that there is no entry point."""
    if near:
        return f", but one called {near[0]!r}: rename it."
    if any("__main__" in line for line in linecache.getlines(places.JOB_SCRIPT)):
        return "; `__name__` is 'script' here, so what stands below `if __name__ == \"__main__\":` does not run."
    return f"; write `def {NAME}(dataframe1=None, dataframe2=None):`."


def signature(function) -> list[inspect.Parameter] | None:
    """The function's parameters; None for one written in C that does not say what it takes."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def bind(function, frames: list, values: dict, init: context.Init | None = None) -> tuple[list, dict]:
    """Positional arguments from the connected datasets, keyword arguments from the job's parameters, and the context.

    `frames`: the connected datasets in order of their ports; the first goes to the first parameter, so dataset 2 alone
    lands there too. A required parameter without a dataset gets None. `init` is called last, where the function takes a context.

    Raises:
        Refused: `bad_entry_point` if the datasets do not fit, `bad_parameters` if the values do not.
    """
    parameters = signature(function)
    if parameters is None:
        return list(frames), dict(values)
    given = bind_frames(parameters, frames)
    keywords = bind_values(parameters, values)
    place = context.parameter_of(parameters)
    if place is None:
        return given, keywords
    value = (init or context.Init()).context(place)
    if place.kind is inspect.Parameter.KEYWORD_ONLY:
        return given, keywords | {context.NAME: value}
    return with_context(parameters, given, value), keywords


def initialise(function, init: context.Init) -> None:
    """Let `init` run before `bind` wants what it returns. Raises what `bind` would raise of it."""
    place = context.parameter_of(signature(function) or [])
    if place is not None:
        init.context(place)


def datasets_of(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """The parameters that get datasets, in order."""
    return [parameter for parameter in parameters if parameter.kind in POSITIONAL and parameter.name != context.NAME]


def keywords_of(parameters: list[inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """The parameters that get the job's, by name."""
    return {one.name: one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY and one.name != context.NAME}


def bind_frames(parameters: list[inspect.Parameter], frames: list) -> list:
    """The positional arguments, the context left out."""
    positional = datasets_of(parameters)
    required = [parameter.name for parameter in positional if parameter.default is inspect.Parameter.empty]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    if len(required) > DATASETS_MAX:
        raise Refused(
            "bad_entry_point",
            f"{NAME} has {len(required)} required parameters ({', '.join(required)}); there are at most two datasets. "
            "Give the others defaults, or take job parameters by keyword: put `*,` before them.",
        )
    if len(frames) > len(positional) and not takes_any:
        datasets = "1 dataset is" if len(frames) == 1 else f"{len(frames)} datasets are"
        takes = {0: "no parameters", 1: "1 parameter"}.get(len(positional), f"{len(positional)} parameters")
        beside = " beside its context" if context.parameter_of(parameters) is not None else ""
        raise Refused("bad_entry_point", f"{datasets} connected, but {NAME} takes {takes}{beside}.")
    return [*frames, *[None] * (len(required) - len(frames))]


def with_context(parameters: list[inspect.Parameter], given: list, value: object) -> list:
    """The positional arguments with the context in its place; what stands before it and is not given gets its default."""
    waiting, arguments = list(given), []
    for parameter in (parameter for parameter in parameters if parameter.kind in POSITIONAL):
        if parameter.name == context.NAME:
            return [*arguments, value, *waiting]
        arguments.append(waiting.pop(0) if waiting else parameter.default)
    return arguments


def bind_values(parameters: list[inspect.Parameter], values: dict) -> dict:
    """The keyword arguments: every job parameter reaches a keyword-only name or `**kwargs`."""
    by_name = {parameter.name: parameter for parameter in parameters}
    keywords = keywords_of(parameters)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    for name in values:
        known = by_name.get(name)
        if name == context.NAME and context.parameter_of(parameters) is not None:
            raise Refused("bad_parameters", f"{NAME} gets {name!r} from the script's {context.INIT}(); the job cannot give it.")
        if known is not None and known.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            what = f"The parameter {name!r} stands where {NAME} gets its datasets"
            raise Refused("bad_parameters", f"{what}; to take it from the job, put it behind a star: `*, {name}`.")
        if name not in keywords and not takes_any:
            near = difflib.get_close_matches(name, list(keywords), n=1)
            known_names = f"it takes {', '.join(keywords)}" if keywords else f"to take it, put it behind a star: `*, {name}`"
            hint = f"did you mean {near[0]!r}?" if near else f"{known_names}."
            raise Refused("bad_parameters", f"{NAME} takes no parameter called {name!r}; {hint}")
    lacking = [name for name, parameter in keywords.items() if name not in values and parameter.default is inspect.Parameter.empty]
    if lacking:
        names = f"parameter{'s' if len(lacking) > 1 else ''} {', '.join(map(repr, lacking))}"
        raise Refused("bad_parameters", f"{NAME} needs the {names}, which the job does not give.")
    for name, parameter in keywords.items():
        if name in values:
            check_value(parameter, values[name])
    return dict(values)


def check_value(parameter: inspect.Parameter, value: object) -> None:
    """Compare a value with a simple annotation (`int`, `float`, `str`, `bool`); others are the script's own affair."""
    wanted = simple_of(parameter)
    if wanted is not None and type(value) not in SIMPLE[wanted]:
        got = "null" if value is None else f"{cut(json.dumps(value), 60)}, {JSON_NAMES.get(type(value), type_name(value))}"
        raise Refused("bad_parameters", f"The parameter {parameter.name!r} must be {JSON_NAMES[wanted]}; the job gives {got}.")


def simple_of(parameter: inspect.Parameter) -> type | None:
    """The simple type that it is annotated with. With `from __future__ import annotations` an annotation is its text."""
    return next((kind for kind in SIMPLE if parameter.annotation in (kind, kind.__name__)), None)
