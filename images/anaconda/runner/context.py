"""`init()`, which a script may define, and what it returns: the entry point's `context`."""

import inspect
from types import ModuleType

from .failure import type_name
from .refused import Refused

INIT = "init"
NAME = "context"
MISSING = object()
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameter_of(parameters: list[inspect.Parameter]) -> inspect.Parameter | None:
    """The one that gets the context: it is called so, wherever it stands."""
    return next((parameter for parameter in parameters if parameter.name == NAME and parameter.kind not in VARIADIC), None)


class Init:
    """The script's `init`, if it has one. It is called when its value is wanted, at most once."""

    def __init__(self, value: object = MISSING):
        self._value = value
        self._was_called = False
        self._returned: object = None

    @classmethod
    def of(cls, script: ModuleType) -> "Init":
        """What the script's top level bound to the name `init`, by whatever means."""
        return cls(vars(script).get(INIT, MISSING))

    def is_there(self) -> bool:
        return callable(self._value)

    def is_left_out(self) -> bool:
        return self.is_there() and not self._was_called

    def context(self, parameter: inspect.Parameter) -> object:
        """What `parameter` gets: what `init()` returned the only time that it is called; without `init` its default, or None.

        Raises:
            Refused: `bad_entry_point`, if `init` cannot be called without arguments. What `init` itself raises, it raises.
        """
        if self._value is MISSING:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
        if not self._was_called:
            self._check()
            self._was_called = True
            self._returned = self._value()
        return self._returned

    def _check(self) -> None:
        if not self.is_there():
            raise Refused("bad_entry_point", f"{INIT} is {type_name(self._value)}, not a function; write `def {INIT}():`.")
        if is_async(self._value) or is_async(getattr(type(self._value), "__call__", None)):
            raise Refused("bad_entry_point", f"{INIT} is an async function; write `def`, and use asyncio.run() inside.")
        try:
            parameters = inspect.signature(self._value).parameters.values()
        except (TypeError, ValueError):
            # A function written in C may not say what it takes.
            return
        required = [one.name for one in parameters if one.default is inspect.Parameter.empty and one.kind not in VARIADIC]
        if required:
            what = f"{len(required)} required parameter{'s' if len(required) > 1 else ''} ({', '.join(required)})"
            raise Refused("bad_entry_point", f"{INIT} has {what}; it is called without any: write `def {INIT}():`.")


def is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
